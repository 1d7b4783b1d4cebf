//! Times, lengths, counts and statuses in words, as every page writes them. Pure.

use std::time::Duration;

use aftercall_common::phone_numbers::Numbers;
use jiff::Timestamp;

use crate::domain::{call::Status, time::between};

/// How old something is, in its largest unit: `12 s`, `3 min`, `5 h`, `2 d`.
pub fn age(at: Timestamp, now: Timestamp) -> String {
    length(between(at, now))
}

/// A length of time in its largest unit.
pub fn length(time: Duration) -> String {
    match time.as_secs() {
        seconds @ 0..60 => format!("{seconds} s"),
        seconds @ 60..3600 => format!("{} min", seconds / 60),
        seconds @ 3600..86_400 => format!("{} h", seconds / 3600),
        seconds => format!("{} d", seconds / 86_400),
    }
}

/// How long was spoken: `1:05`, `1:02:03`.
pub fn spoken(time: Duration) -> String {
    let seconds = time.as_secs();
    let (hours, minutes, seconds) = (seconds / 3600, seconds / 60 % 60, seconds % 60);
    if hours > 0 { format!("{hours}:{minutes:02}:{seconds:02}") } else { format!("{minutes}:{seconds:02}") }
}

/// A wait: `0.4 s`, `12 s`, `3 min`.
pub fn wait(time: Duration) -> String {
    if time < Duration::from_secs(10) { format!("{:.1} s", time.as_secs_f64()) } else { length(time) }
}

/// `25 Nov 2026, 14:02:03 UTC`.
pub fn moment(at: Timestamp) -> String {
    at.strftime("%-d %b %Y, %H:%M:%S UTC").to_string()
}

/// `14:02:03`.
pub fn clock(at: Timestamp) -> String {
    at.strftime("%H:%M:%S").to_string()
}

/// `25 November 2026`.
pub fn day(at: Timestamp) -> String {
    at.strftime("%-d %B %Y").to_string()
}

/// `1,234,567`.
pub fn count(number: u64) -> String {
    let digits = number.to_string();
    let mut grouped = String::with_capacity(digits.len() + digits.len() / 3);
    for (n, digit) in digits.chars().enumerate() {
        if n > 0 && (digits.len() - n).is_multiple_of(3) {
            grouped.push(',');
        }
        grouped.push(digit);
    }
    grouped
}

/// `12 bytes`, `4.0 KiB`, `1.2 MiB`.
pub fn bytes(bytes: u64) -> String {
    #[expect(clippy::cast_precision_loss, reason = "a size in words")]
    match bytes {
        0..1024 => format!("{bytes} bytes"),
        1024..1_048_576 => format!("{:.1} KiB", bytes as f64 / 1024.0),
        _ => format!("{:.1} MiB", bytes as f64 / 1_048_576.0),
    }
}

/// Most characters shown of a text that a sender wrote, besides what was said and payloads.
pub const MAX_TEXT: usize = 500;

/// The beginning of `text`, of at most `most` characters.
pub fn cut(text: &str, most: usize) -> String {
    match text.char_indices().nth(most) {
        Some((end, _)) => format!("{}…", &text[..end]),
        None => text.to_owned(),
    }
}

/// A text that a sender wrote, as a page shows it: cut, and numbers in it as `numbers` says.
pub fn sent(text: &str, numbers: Numbers) -> String {
    numbers.text(&cut(text, MAX_TEXT)).into_owned()
}

/// An identifier that a sender chose, as a page shows it.
pub fn id(id: &str, numbers: Numbers) -> String {
    numbers.id(&cut(id, MAX_TEXT)).into_owned()
}

/// A status as a person would write it.
pub fn status(status: Option<Status>) -> &'static str {
    match status {
        Some(Status::InitiationFailed) => "initiation failed",
        Some(Status::NoAnswer) => "no answer",
        Some(status) => status.as_str(),
        None => "unknown",
    }
}

/// What a status means to somebody who wants to know whether all is well. Each has a shape and a colour.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Tone {
    /// Under way.
    Going,
    /// Held and over.
    Done,
    /// Nobody was reached.
    Missed,
    /// Something broke.
    Failed,
}

impl Tone {
    /// All of them, in the order in which plots stack them.
    pub const ALL: [Self; 4] = [Self::Done, Self::Going, Self::Missed, Self::Failed];

    /// The tone of a status.
    pub fn of(status: Option<Status>) -> Self {
        match status {
            Some(Status::Initiated | Status::Ringing | Status::Answered) => Self::Going,
            Some(Status::Completed | Status::Ended) => Self::Done,
            Some(
                Status::Busy | Status::NoAnswer | Status::Canceled | Status::Unreachable | Status::Rejected,
            ) => Self::Missed,
            Some(Status::Failed | Status::InitiationFailed) | None => Self::Failed,
        }
    }

    /// Its class in the style sheet.
    pub fn class(self) -> &'static str {
        match self {
            Self::Going => "going",
            Self::Done => "done",
            Self::Missed => "missed",
            Self::Failed => "failed",
        }
    }

    /// Its name.
    pub fn name(self) -> &'static str {
        match self {
            Self::Going => "under way",
            Self::Done => "held",
            Self::Missed => "not reached",
            Self::Failed => "failed",
        }
    }
}

/// The shape in front of a status: its tone's, and for calls under way how far they are.
pub fn glyph(status: Option<Status>) -> &'static str {
    match status {
        Some(Status::Initiated) => "initiated",
        Some(Status::Ringing) => "ringing",
        Some(Status::Answered) => "answered",
        status => Tone::of(status).class(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_words() {
        let seconds = Duration::from_secs;
        assert_eq!(
            [0, 59, 60, 3599, 3600, 86_400].map(|n| length(seconds(n))),
            ["0 s", "59 s", "1 min", "59 min", "1 h", "1 d"]
        );
        assert_eq!([5, 65, 3723].map(|n| spoken(seconds(n))), ["0:05", "1:05", "1:02:03"]);
        assert_eq!(wait(Duration::from_millis(440)), "0.4 s");
        assert_eq!([0, 999, 1000, 1_234_567].map(count), ["0", "999", "1,000", "1,234,567"]);
        assert_eq!([12, 4096, 1_258_291].map(bytes), ["12 bytes", "4.0 KiB", "1.2 MiB"]);
        let at: Timestamp = "2026-11-05T04:02:03.5Z".parse().unwrap();
        assert_eq!(moment(at), "5 Nov 2026, 04:02:03 UTC");
        assert_eq!(age(at, at.checked_sub(jiff::Span::new().seconds(3)).unwrap()), "0 s", "a clock ahead");
    }
}
