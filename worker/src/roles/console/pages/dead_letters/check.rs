//! Checks an edited body before it is sent.

use aftercall_common::json;
use serde::de::IgnoredAny;

use super::{body::MAX_EDITABLE_BYTES, compute::compute};
use crate::{broker::message::origin, domain::event, ingestion, roles::console::view::format};

/// Most characters that are shown of the line with the error.
const MAX_SHOWN: usize = 80;

/// Why an edited body is not sent.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Problem {
    /// What is wrong, as a sentence.
    pub text: String,
    /// The beginning of the line with the error. Empty: the problem has no line.
    pub line: String,
    /// Whether the body may be sent in spite of the problem.
    pub can_be_forced: bool,
}

/// Checks a body for a message of `subject`.
///
/// # Errors
/// The body has not the form that its provider sends, or it would become a dead letter again.
pub async fn check(subject: &str, body: &str) -> Result<(), Problem> {
    let (subject, body) = (subject.to_owned(), body.to_owned());
    compute(move || check_body(&subject, &body)).await
}

fn check_body(subject: &str, body: &str) -> Result<(), Problem> {
    if body.len() > MAX_EDITABLE_BYTES {
        let (has, most) = (format::bytes(body.len() as u64), format::bytes(MAX_EDITABLE_BYTES as u64));
        let text = format!("The body has {has}; an edited body has {most} at most.");
        return Err(Problem { text, line: String::new(), can_be_forced: false });
    }
    if is_form(subject, body) {
        check_form(body)?;
    } else {
        check_json(body)?;
    }
    if origin(subject).is_none() {
        return Ok(()); // A transcript job. Its body is small, and only the worker reads it.
    }
    ingestion::check(subject, body.as_bytes()).map_err(|cause| Problem {
        text: format!(
            "This body would become a dead letter again: {} ({}).",
            cause.detail,
            cause.reason.label().replace('_', " ")
        ),
        line: String::new(),
        can_be_forced: true,
    })
}

fn check_json(body: &str) -> Result<(), Problem> {
    let Err(error) = json::read_object(body.as_bytes()) else { return Ok(()) };
    let what = match serde_json::from_str::<IgnoredAny>(body) {
        Ok(_) => "one JSON object is needed, and this is another value".to_owned(),
        Err(error) => {
            let text = error.to_string();
            text.split(" at line ").next().unwrap_or_default().to_owned()
        }
    };
    Err(at(body, error.line, error.column, &format!("The body is not JSON: {what}")))
}

/// Checks a form, as browsers and Twilio send it: `name=value` pairs, joined by `&`, percent-encoded.
fn check_form(body: &str) -> Result<(), Problem> {
    for (n, c) in body.char_indices() {
        let problem = match c {
            '%' if !is_escape(&body.as_bytes()[n..]) => "% must be followed by two hexadecimal digits",
            c if c.is_whitespace() || c.is_control() => "spaces and line ends must be percent-encoded",
            c if !c.is_ascii() => "characters beyond ASCII must be percent-encoded",
            _ => continue,
        };
        let before = &body[..n];
        let line = before.matches('\n').count() + 1;
        let column = before.rsplit('\n').next().map_or(0, str::len) + 1;
        return Err(at(body, line, column, &format!("The body is not a form: {problem}")));
    }
    Ok(())
}

fn is_escape(bytes: &[u8]) -> bool {
    matches!(bytes, [b'%', high, low, ..] if high.is_ascii_hexdigit() && low.is_ascii_hexdigit())
}

/// A problem at `line` and `column`. The column counts bytes, from 1; people count characters.
fn at(body: &str, line: usize, column: usize, what: &str) -> Problem {
    let found = body.lines().nth(line.saturating_sub(1)).unwrap_or_default();
    let before = found.char_indices().take_while(|(n, _)| *n + 1 < column).count();
    let start = before.saturating_sub(MAX_SHOWN / 2);
    Problem {
        text: format!("{what}, at line {line}, column {}.", before + 1),
        line: found.chars().skip(start).take(MAX_SHOWN).collect(),
        can_be_forced: false,
    }
}

/// Whether a body for messages of `subject` is a form.
pub fn is_form(subject: &str, body: &str) -> bool {
    origin(subject).is_some_and(|origin| event::is_form(origin, body.as_bytes()))
}

#[cfg(test)]
mod tests {
    use super::*;

    const ELEVENLABS: &str = "webhooks.elevenlabs.call-status";
    const TWILIO: &str = "webhooks.twilio.call-status";

    #[test]
    fn a_broken_body_is_refused_with_line_and_column() {
        #[rustfmt::skip]
        let table = [
            (ELEVENLABS, "{\n  \"a\": 1,\n}",                  "line 3, column 1"),
            (ELEVENLABS, "{\"a\": \"\u{e9}\u{e9}\" \"b\"}",   "line 1, column 12"),
            (ELEVENLABS, "{\"a\": 1",                          "line 1, column 7"),
            (ELEVENLABS, "",                                   "line 1, column 1"),
            (ELEVENLABS, "[1]",                                "one JSON object is needed"),
            (ELEVENLABS, "CallSid=CA1&CallStatus=busy",        "line 1, column 1"),
            ("transcripts.due", "{\"conversationId\"}",        "not JSON"),
            (TWILIO,     "CallSid=CA1&To=%4",                  "line 1, column 16"),
            (TWILIO,     "CallSid=CA1&\nTo=1",                  "line 1, column 13"),
            (TWILIO,     "CallSid=CA1&To=\u{e9}",               "line 1, column 16"),
            (TWILIO,     "{\"CallSid\": }",                    "line 1, column 13"),
            (TWILIO,     &"1".repeat(MAX_EDITABLE_BYTES + 1),  "1.0 MiB at most"),
        ];
        for (subject, body, expected) in table {
            let problem = check_body(subject, body).unwrap_err();
            assert!(problem.text.contains(expected), "{body:?}: {}", problem.text);
            assert!(!problem.can_be_forced, "{body:?}");
            assert!(problem.line.chars().count() <= MAX_SHOWN);
        }
    }

    #[test]
    fn a_body_that_would_fail_again_is_sent_only_if_wanted() {
        #[rustfmt::skip]
        let table = [
            (ELEVENLABS, r#"{"event_type":"call.busy","call_id":"CA1"}"#,       None),
            (TWILIO,     "CallSid=CA1&CallStatus=busy&To=%2B12025550123",       None),
            ("transcripts.due", r#"{"conversationId":"c"}"#,                    None),
            (ELEVENLABS, r#"{"event_type":"call.busy"}"#,                       Some("no identifier")),
            (ELEVENLABS, r#"{"event_type":"call.teleported","call_id":"CA1"}"#, Some("unsupported event")),
            (TWILIO,     "CallStatus=busy",                                     Some("no identifier")),
        ];
        for (subject, body, expected) in table {
            match (check_body(subject, body), expected) {
                (Ok(()), None) => {}
                (Err(problem), Some(reason)) => {
                    assert!(problem.text.contains(reason) && problem.can_be_forced, "{}", problem.text);
                }
                (found, _) => panic!("{body}: {found:?}"),
            }
        }
    }
}
