//! Words that senders write in several ways.

use crate::domain::text::MAX_WORD;

/// A word without what makes no difference: white space around it, case, and the separators `-`, `_`, `.`
/// and blank. `Call.No-Answer ` and `call.no_answer` are both `callnoanswer`.
pub(super) fn fold(word: &str) -> String {
    // No word that is understood is longer.
    let word = word.trim().chars().take(MAX_WORD);
    word.filter(|c| !matches!(c, '-' | '_' | '.' | ' ')).flat_map(char::to_lowercase).collect()
}

/// Families of the events that reach the webhook's URL and do not concern a call: how their words begin,
/// and the word in metrics.
const FAMILIES: [(&str, &str); 7] = [
    ("voiceremov", "voice_removal"),
    ("voicelibraryremov", "voice_removal"),
    ("speechtotext", "speech_to_text"),
    ("flows", "flows"),
    ("dubbing", "dubbing"),
    ("agentqa", "agent_qa"),
    ("convaialert", "alerting"),
];

/// Every word in metrics of such a family.
pub const FOREIGN_FAMILIES: [&str; 6] =
    ["voice_removal", "speech_to_text", "flows", "dubbing", "agent_qa", "alerting"];

/// The family of an event word that does not concern a call.
pub(super) fn foreign_family(word: &str) -> Option<&'static str> {
    let word = fold(word);
    FAMILIES.iter().find(|(beginning, _)| word.starts_with(beginning)).map(|(_, family)| *family)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_makes_no_difference_is_left_out_of_a_word() {
        for word in ["call.no_answer", " Call.No-Answer\n", "CALL NO ANSWER", "call.noAnswer"] {
            assert_eq!(fold(word), "callnoanswer", "{word}");
        }
        assert_ne!(fold("call,no_answer"), "callnoanswer");
        assert_eq!(fold(&"x".repeat(10_000_000)).len(), MAX_WORD);
    }

    #[test]
    fn events_that_do_not_concern_a_call_have_a_family() {
        #[rustfmt::skip]
        let table = [
            ("voice_removal_notice",           Some("voice_removal")),
            ("voice_removal_notice_withdrawn", Some("voice_removal")),
            ("voice_removed",                  Some("voice_removal")),
            ("speech_to_text_transcription",   Some("speech_to_text")),
            ("speech_to_text.completed",       Some("speech_to_text")),
            ("flows_template_run",             Some("flows")),
            ("dubbing_completed",              Some("dubbing")),
            ("post_call_transcription_otel",   None),
            ("call.transferred",               None),
        ];
        for (word, family) in table {
            assert_eq!(foreign_family(word), family, "{word}");
        }
        assert!(FAMILIES.iter().all(|(_, family)| FOREIGN_FAMILIES.contains(family)));
    }
}
