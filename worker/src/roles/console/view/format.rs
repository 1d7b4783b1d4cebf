//! Times, durations, counts and texts of senders, as every page writes them. Pure.

use std::time::Duration;

use aftercall_common::phone_numbers::Numbers;
use jiff::Timestamp;

use crate::domain::{call::sip_phrase, time::between};

/// The time from `at` to `now`, in its largest unit: `12 s`, `3 min`, `5 h`, `2 d`.
pub fn age(at: Timestamp, now: Timestamp) -> String {
    duration(between(at, now))
}

/// A duration in its largest unit.
pub fn duration(time: Duration) -> String {
    match time.as_secs() {
        seconds @ 0..60 => format!("{seconds} s"),
        seconds @ 60..3600 => format!("{} min", seconds / 60),
        seconds @ 3600..86_400 => format!("{} h", seconds / 3600),
        seconds => format!("{} d", seconds / 86_400),
    }
}

/// The duration of a conversation: `1:05`, `1:02:03`.
pub fn talk_time(time: Duration) -> String {
    let seconds = time.as_secs();
    let (hours, minutes, seconds) = (seconds / 3600, seconds / 60 % 60, seconds % 60);
    if hours > 0 { format!("{hours}:{minutes:02}:{seconds:02}") } else { format!("{minutes}:{seconds:02}") }
}

/// A delay: `0.4 s`, `12 s`, `3 min`.
pub fn delay(time: Duration) -> String {
    if time < Duration::from_secs(10) { format!("{:.1} s", time.as_secs_f64()) } else { duration(time) }
}

/// `25 Nov 2026, 14:02:03 UTC`.
pub fn moment(at: Timestamp) -> String {
    at.strftime("%-d %b %Y, %H:%M:%S UTC").to_string()
}

/// `25 Nov 14:02:03`, in UTC.
pub fn short_moment(at: Timestamp) -> String {
    at.strftime("%-d %b %H:%M:%S").to_string()
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
    #[expect(clippy::cast_precision_loss, reason = "a size for display")]
    match bytes {
        0..1024 => format!("{bytes} bytes"),
        1024..1_048_576 => format!("{:.1} KiB", bytes as f64 / 1024.0),
        _ => format!("{:.1} MiB", bytes as f64 / 1_048_576.0),
    }
}

/// Most characters that a page shows of a text that a sender wrote. Transcripts and payloads have limits of
/// their own.
pub const MAX_TEXT: usize = 500;

/// The first `max` characters of `text`; `…` marks a text that is longer.
pub fn cut(text: &str, max: usize) -> String {
    match text.char_indices().nth(max) {
        Some((end, _)) => format!("{}…", &text[..end]),
        None => text.to_owned(),
    }
}

/// Characters after the shown ones that are looked at, so that a telephone number is known although only a part of it
/// is shown: more than the longest number has.
const BEYOND: usize = 128;

/// The first `max` characters of `text`, and enough more of it to mask them. Masking a long text is expensive.
pub fn beginning(text: &str, max: usize) -> &str {
    text.char_indices().nth(max + BEYOND).map_or(text, |(end, _)| &text[..end])
}

/// A text that a sender wrote, with at most `max` characters. Telephone numbers are masked if `numbers` says so, and
/// before the text is cut, because a part of a number does not look like one.
pub fn masked(text: &str, max: usize, numbers: Numbers) -> String {
    cut(&numbers.text(beginning(text, max)), max)
}

/// An identifier that a sender chose, as [`masked`].
pub fn masked_id(id: &str, max: usize, numbers: Numbers) -> String {
    cut(&numbers.id(beginning(id, max)), max)
}

/// A text that a sender wrote, as a page shows it: [`masked`].
pub fn sender_text(text: &str, numbers: Numbers) -> String {
    masked(text, MAX_TEXT, numbers)
}

/// A label such as `no_identifier` in words, as [`sender_text`].
pub fn words(label: &str, numbers: Numbers) -> String {
    sender_text(label, numbers).replace('_', " ")
}

/// An identifier that a sender chose, cut and masked like [`sender_text`].
pub fn id(id: &str, numbers: Numbers) -> String {
    masked_id(id, MAX_TEXT, numbers)
}

/// A SIP response code with its phrase, if that is known.
pub fn sip_code(code: &str) -> String {
    sip_phrase(code).map_or_else(|| code.to_owned(), |phrase| format!("{code} {phrase}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_number_at_the_end_of_a_cut_text_is_masked() {
        for before in 0..40 {
            let text = format!("{} +6581234567 {}", "x".repeat(before), "y".repeat(500));
            let shown = [masked(&text, 30, Numbers::Masked), masked_id(&text, 30, Numbers::Masked)];
            for shown in shown {
                assert!(shown.chars().count() <= 31 && !shown.contains("658"), "{before}: {shown}");
            }
        }
        assert_eq!(masked("a +6581234567", 9, Numbers::Whole), "a +658123…");
    }

    #[test]
    fn values_are_written_in_their_largest_unit() {
        let seconds = Duration::from_secs;
        assert_eq!(
            [0, 59, 60, 3599, 3600, 86_400].map(|n| duration(seconds(n))),
            ["0 s", "59 s", "1 min", "59 min", "1 h", "1 d"]
        );
        assert_eq!([5, 65, 3723].map(|n| talk_time(seconds(n))), ["0:05", "1:05", "1:02:03"]);
        assert_eq!(delay(Duration::from_millis(440)), "0.4 s");
        assert_eq!([0, 999, 1000, 1_234_567].map(count), ["0", "999", "1,000", "1,234,567"]);
        assert_eq!([12, 4096, 1_258_291].map(bytes), ["12 bytes", "4.0 KiB", "1.2 MiB"]);
        let at: Timestamp = "2026-11-05T04:02:03.5Z".parse().unwrap();
        assert_eq!(moment(at), "5 Nov 2026, 04:02:03 UTC");
        assert_eq!(
            age(at, at.checked_sub(jiff::Span::new().seconds(3)).unwrap()),
            "0 s",
            "the clock that wrote it is ahead"
        );
    }
}
