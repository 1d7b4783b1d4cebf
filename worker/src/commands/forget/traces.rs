//! The stored data of a person, and the printed result.

use std::collections::BTreeSet;

use aftercall_common::phone_numbers::Numbers;

/// Most calls of other people that are named.
const MAX_NAMED: usize = 20;

/// The stored data of a person.
#[derive(Debug, Default)]
pub(super) struct Traces {
    /// Sequences of webhooks.
    pub webhooks: Vec<u64>,
    /// Names of large bodies in the object store.
    pub bodies: Vec<String>,
    /// Sequences of transcript jobs.
    pub jobs: Vec<u64>,
    /// Sequences of dead letters.
    pub dead_letters: Vec<u64>,
    /// Sequences of outgoing events.
    pub events: Vec<u64>,
    /// Number of documents.
    pub documents: u64,
    /// Number of recordings.
    pub recordings: u64,
    /// Number of records of deliveries to endpoints.
    pub deliveries: u64,
    /// Messages whose large bodies could not be searched, because the object store did not return them.
    pub unsearched: Vec<String>,
    /// Calls of other people that mention the number.
    pub mentions: BTreeSet<String>,
}

impl Traces {
    /// Number of messages in all streams.
    pub fn messages(&self) -> usize {
        self.webhooks.len() + self.jobs.len() + self.dead_letters.len() + self.events.len()
    }

    /// Whether nothing is stored of the person.
    pub fn is_empty(&self) -> bool {
        self.messages() == 0 && self.documents == 0 && self.deliveries == 0
    }

    /// The result as JSON. `erased`: the data has been erased.
    pub fn json(&self, erased: bool) -> serde_json::Value {
        serde_json::json!({
            "erased": erased, "webhooks": self.webhooks.len(), "bodies": self.bodies.len(),
            "transcriptJobs": self.jobs.len(), "deadLetters": self.dead_letters.len(),
            "outgoingEvents": self.events.len(), "documents": self.documents, "recordings": self.recordings, "deliveries": self.deliveries,
            "unsearched": self.unsearched, "mentionedIn": self.mentions.iter().collect::<Vec<_>>(),
        })
    }

    /// The result as a line of text. `erased`: the data has been erased.
    pub fn summary(&self, erased: bool) -> String {
        format!(
            "{}: {} webhooks, {} large bodies, {} transcript jobs, {} dead letters, {} outgoing events, \
             {} documents, {} recordings, {} deliveries",
            if erased { "erased" } else { "would be erased" },
            self.webhooks.len(),
            self.bodies.len(),
            self.jobs.len(),
            self.dead_letters.len(),
            self.events.len(),
            self.documents,
            self.recordings,
            self.deliveries,
        )
    }

    /// The calls of other people, as a sentence with the ids of the first ones.
    pub fn mention_summary(&self) -> String {
        let named: Vec<_> =
            self.mentions.iter().take(MAX_NAMED).map(|name| Numbers::Masked.text(name)).collect();
        let more = if self.mentions.len() > MAX_NAMED { " …" } else { "" };
        format!("{} calls of others mention the number: {}{more}", self.mentions.len(), named.join(", "))
    }
}
