//! Events of ElevenLabs' other products. They reach the URL of the webhook and do not concern a call.

use super::spelling::normalize;

/// How the normalized event types of a family begin, and the family's word in metrics.
const FAMILIES: [(&str, &str); 7] = [
    ("voiceremov", "voice_removal"),
    ("voicelibraryremov", "voice_removal"),
    ("speechtotext", "speech_to_text"),
    ("flows", "flows"),
    ("dubbing", "dubbing"),
    ("agentqa", "agent_qa"),
    ("convaialert", "alerting"),
];

/// Every family, by its word in metrics.
pub const FOREIGN_FAMILIES: [&str; 6] =
    ["voice_removal", "speech_to_text", "flows", "dubbing", "agent_qa", "alerting"];

/// The family of an event type that does not concern a call. `None` for every other event type.
pub(super) fn family(event_type: &str) -> Option<&'static str> {
    let word = normalize(event_type);
    FAMILIES.iter().find(|(beginning, _)| word.starts_with(beginning)).map(|(_, family)| *family)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn event_types_of_other_products_have_a_family() {
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
        for (word, expected) in table {
            assert_eq!(family(word), expected, "{word}");
        }
        assert!(FAMILIES.iter().all(|(_, family)| FOREIGN_FAMILIES.contains(family)));
    }
}
