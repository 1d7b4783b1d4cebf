//! What the simulated API answers, and which conversations have a fate of their own.

use std::time::Duration;

/// The answer to one request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Answer {
    /// The call has not connected yet.
    Initiated,
    /// The call is going on.
    InProgress,
    /// The call is over, its analysis is not.
    Processing,
    /// Everything is there: transcript, metadata, analysis.
    Done,
    /// The conversation failed; there will never be a transcript.
    Failed,
    /// 404 in the vendor's words.
    NotFound,
    /// Any other status in the vendor's words.
    Status(u16),
    /// 429, with `Retry-After` in whole seconds if a time is given.
    RateLimited {
        /// When to come back.
        retry_after: Option<Duration>,
    },
    /// No answer, the connection stays open.
    Hang,
    /// No answer, the connection is closed.
    Reset,
    /// 200 with JSON that breaks off in the middle.
    Garbage,
    /// [`Self::Done`] with a transcript of about so many bytes.
    Huge(usize),
}

const SECOND: Option<Duration> = Some(Duration::from_secs(1));

/// Scripts by the beginning of a conversation's id, for `cargo local send` and for trying by hand.
pub static PREFIXES: [(&str, &[Answer]); 5] = [
    // The usual course: asked too early, asked while the analysis runs, done.
    ("conv_slow_", &[Answer::NotFound, Answer::Processing, Answer::Done]),
    // Refused once by the rate limit.
    ("conv_busy_", &[Answer::RateLimited { retry_after: SECOND }, Answer::Done]),
    // A bad day of the provider.
    ("conv_flaky_", &[Answer::Status(500), Answer::Reset, Answer::Garbage, Answer::Done]),
    // Never has a transcript.
    ("conv_failed_", &[Answer::Failed]),
    // Never known to the provider.
    ("conv_gone_", &[Answer::NotFound]),
];

/// The script that the id's prefix asks for.
pub fn of_prefix(conversation_id: &str) -> Option<&'static [Answer]> {
    PREFIXES.iter().find(|(prefix, _)| conversation_id.starts_with(prefix)).map(|(_, script)| *script)
}
