//! The answers of the simulated API for conversations: set by a test, or selected by the prefix of the id.

use std::{
    collections::{HashMap, VecDeque},
    time::Duration,
};

/// The answer to one request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Answer {
    /// The call has not connected yet.
    Initiated,
    /// The call is in progress.
    InProgress,
    /// The call is over; its analysis is not finished.
    Processing,
    /// The conversation is complete: transcript, metadata, analysis.
    Done,
    /// The conversation failed and will never have a transcript.
    Failed,
    /// 404 with the vendor's error body.
    NotFound,
    /// Any other status with the vendor's error body.
    Status(u16),
    /// 429, with `Retry-After` in whole seconds if a time is given.
    RateLimited {
        /// Value of `Retry-After`.
        retry_after: Option<Duration>,
    },
    /// No answer; the connection stays open.
    Hang,
    /// No answer; the connection is closed.
    Reset,
    /// 200 with truncated JSON.
    Garbage,
    /// [`Self::Done`] with a transcript of about this many bytes.
    Huge(usize),
}

const SECOND: Option<Duration> = Some(Duration::from_secs(1));

/// Scripts by the prefix of the conversation id, for `cargo local send` and manual tests.
pub static PREFIXES: [(&str, &[Answer]); 5] = [
    // The first request comes too early, the second during the analysis, the third after it.
    ("conv_slow_", &[Answer::NotFound, Answer::Processing, Answer::Done]),
    // Refused once by the rate limit.
    ("conv_busy_", &[Answer::RateLimited { retry_after: SECOND }, Answer::Done]),
    // An outage of the provider.
    ("conv_flaky_", &[Answer::Status(500), Answer::Reset, Answer::Garbage, Answer::Done]),
    // Never has a transcript.
    ("conv_failed_", &[Answer::Failed]),
    // The provider does not know the conversation.
    ("conv_gone_", &[Answer::NotFound]),
];

/// The script that the prefix of the id selects.
fn of_prefix(conversation_id: &str) -> Option<&'static [Answer]> {
    PREFIXES.iter().find(|(prefix, _)| conversation_id.starts_with(prefix)).map(|(_, script)| *script)
}

/// The scripts that tests have set, and the remaining answers of each conversation.
#[derive(Debug)]
pub(super) struct Scripts {
    /// Script of conversations without one of their own.
    pub default: Vec<Answer>,
    /// Remaining answers by conversation id.
    pub by_id: HashMap<String, VecDeque<Answer>>,
}

impl Default for Scripts {
    fn default() -> Self {
        Self { default: vec![Answer::Done], by_id: HashMap::new() }
    }
}

impl Scripts {
    /// The next answer for the conversation.
    pub fn next(&mut self, conversation_id: &str) -> Answer {
        if let Some(script) = self.by_id.get_mut(conversation_id) {
            let next = if script.len() > 1 { script.pop_front() } else { script.front().copied() };
            return next.unwrap_or(Answer::Done);
        }
        let script = of_prefix(conversation_id).unwrap_or(&self.default);
        let first = script.first().copied().unwrap_or(Answer::Done);
        if script.len() > 1 {
            // A conversation needs an entry only while its script has several answers left.
            let rest = script[1..].iter().copied().collect();
            self.by_id.insert(conversation_id.to_owned(), rest);
        }
        first
    }
}
