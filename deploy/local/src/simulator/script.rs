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

/// The answer to one request for a recording.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum AudioAnswer {
    /// A recording of this many bytes, at this many bytes a second.
    Slow {
        /// Size of the recording.
        bytes: usize,
        /// Bytes a second.
        per_second: usize,
    },
    /// A recording that stops after its first half; the connection stays open.
    Stall {
        /// Size of the recording.
        bytes: usize,
    },
    /// The vendor's error body with this status.
    Status(u16),
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
    /// Remaining answers to requests for recordings, by conversation id.
    pub audio: HashMap<String, VecDeque<AudioAnswer>>,
    /// Number of requests for recordings, by conversation id.
    pub audio_requests: HashMap<String, usize>,
}

impl Default for Scripts {
    fn default() -> Self {
        Self {
            default: vec![Answer::Done],
            by_id: HashMap::new(),
            audio: HashMap::new(),
            audio_requests: HashMap::new(),
        }
    }
}

impl Scripts {
    /// Counts a request for the recording of the conversation, and returns the next scripted answer.
    pub fn next_audio(&mut self, conversation_id: &str) -> Option<AudioAnswer> {
        *self.audio_requests.entry(conversation_id.to_owned()).or_default() += 1;
        let script = self.audio.get_mut(conversation_id)?;
        if script.len() > 1 { script.pop_front() } else { script.front().copied() }
    }

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
