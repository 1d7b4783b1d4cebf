//! The result of a round, and its text.

use std::{collections::BTreeMap, fmt::Write as _, time::Duration};

use super::fault::Fault;
use crate::disk::Lost;

/// Number of lost and of wrong calls that the text lists.
const SHOWN: usize = 10;

/// Result of a round.
#[derive(Debug, Default)]
pub struct Report {
    /// Webhooks posted, duplicates included.
    pub posted: usize,
    /// Webhooks answered with 200.
    pub accepted: usize,
    /// Webhooks answered with 200 because they were in the spool.
    pub spooled: usize,
    /// Ids of webhooks that were answered with 200 and are not in the stream.
    pub lost: Vec<String>,
    /// Calls whose document does not match their webhooks: id and difference.
    pub wrong: Vec<(String, String)>,
    /// Message ids that are stored more than once.
    pub twice: usize,
    /// Number of messages stored by atomic batches, and number of messages stored one by one.
    pub batched: (usize, usize),
    /// Unsynced data that power cuts removed.
    pub power_cut_loss: Lost,
    /// 1 if messages were still unacknowledged at the end, else 0.
    pub stuck: usize,
    /// Number of dead letters found and expected.
    pub dead: (usize, usize),
    /// Time from the end of each fault until the system had recovered.
    pub recoveries: BTreeMap<Fault, Vec<Duration>>,
}

impl Report {
    /// Whether every webhook was accepted, nothing is lost, wrong or unacknowledged, only poison messages are
    /// dead letters, and every recovery took at most `max_recovery`.
    pub fn is_good(&self, max_recovery: Duration) -> bool {
        self.lost.is_empty()
            && self.wrong.is_empty()
            && self.stuck == 0
            && self.dead.0 == self.dead.1
            && self.accepted == self.posted
            && self.recoveries.values().flatten().all(|took| *took <= max_recovery)
    }

    /// The report as text: a table of faults, then the totals.
    pub fn table(&self) -> String {
        let mut text = String::new();
        let mut line = |cells: [&str; 5]| {
            let [fault, rows, times, median, worst] = cells;
            writeln!(text, "{fault:<18} {rows:<8} {times:>5} {median:>14} {worst:>14}")
                .expect("writing to a String cannot fail");
        };
        line(["FAULT", "ROWS", "TIMES", "RECOVERED IN", "AT MOST"]);
        for (fault, took) in &self.recoveries {
            let mut sorted = took.clone();
            sorted.sort_unstable();
            let seconds = |took: Option<&Duration>| {
                took.map_or_else(String::new, |took| format!("{:.1} s", took.as_secs_f64()))
            };
            let (median, worst) = (seconds(sorted.get(sorted.len() / 2)), seconds(sorted.last()));
            line([fault.name(), fault.rows(), &took.len().to_string(), &median, &worst]);
        }
        let (dead, poison) = self.dead;
        writeln!(
            text,
            "\nposted {}, answered 200 {}, lost {}, wrong {}, stored twice {}, stuck {}, dead letters {dead} of {poison}",
            self.posted,
            self.accepted,
            self.lost.len(),
            self.wrong.len(),
            self.twice,
            self.stuck,
        )
        .expect("writing to a String cannot fail");
        let ((batched, alone), Lost { pages, changes }) = (self.batched, self.power_cut_loss);
        writeln!(
            text,
            "by the spool {}, in batches {batched}, one by one {alone}; power cuts took {pages} unsynced pages and {changes} changes of names",
            self.spooled,
        )
        .expect("writing to a String cannot fail");
        for id in self.lost.iter().take(SHOWN) {
            writeln!(text, "lost: {id}").expect("writing to a String cannot fail");
        }
        for (id, difference) in self.wrong.iter().take(SHOWN) {
            writeln!(text, "wrong: {id}: {difference}").expect("writing to a String cannot fail");
        }
        text
    }
}
