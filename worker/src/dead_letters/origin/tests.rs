use super::*;

#[test]
fn a_dead_letter_is_redriven_only_to_subjects_of_webhooks_and_jobs() {
    let foreign = |stream: &str, subject: &str| {
        Err(NotRedrivable::Foreign { stream: stream.to_owned(), subject: subject.to_owned() })
    };
    let known = |stream, subject| Ok(Origin { stream, subject, sequence: 7 });
    #[rustfmt::skip]
    let table = [
        ("WEBHOOKS",     "7",  "webhooks.elevenlabs.call-status",  known(WEBHOOKS, subject::ELEVENLABS_CALL_STATUS)),
        ("WEBHOOKS",     "7",  "webhooks.twilio.call-status",      known(WEBHOOKS, subject::TWILIO_CALL_STATUS)),
        ("WEBHOOKS",     "7",  "webhooks.elevenlabs.reconciled",   known(WEBHOOKS, subject::RECONCILED)),
        ("TRANSCRIPTS",  "7",  "transcripts.due",                  known(TRANSCRIPTS, subject::TRANSCRIPT_DUE)),
        ("WEBHOOKS",     "7",  "$JS.API.STREAM.PURGE.WEBHOOKS",    foreign("WEBHOOKS", "$JS.API.STREAM.PURGE.WEBHOOKS")),
        ("WEBHOOKS",     "7",  "agent-calls.place",                foreign("WEBHOOKS", "agent-calls.place")),
        ("WEBHOOKS",     "7",  "dead-letters.status",              foreign("WEBHOOKS", "dead-letters.status")),
        ("WEBHOOKS",     "7",  "webhooks.other",                   foreign("WEBHOOKS", "webhooks.other")),
        ("WEBHOOKS",     "7",  "webhooks.twilio.call-status.x",    foreign("WEBHOOKS", "webhooks.twilio.call-status.x")),
        ("WEBHOOKS",     "7",  "transcripts.due",                  foreign("WEBHOOKS", "transcripts.due")),
        ("TRANSCRIPTS",  "7",  "transcripts.later.conv_1",         foreign("TRANSCRIPTS", "transcripts.later.conv_1")),
        ("DEAD_LETTERS", "7",  "webhooks.twilio.call-status",      foreign("DEAD_LETTERS", "webhooks.twilio.call-status")),
        ("",             "7",  "webhooks.twilio.call-status",      Err(NotRedrivable::NoOrigin)),
        ("WEBHOOKS",     "7",  "",                                 Err(NotRedrivable::NoOrigin)),
        ("WEBHOOKS",     "",   "webhooks.twilio.call-status",      Err(NotRedrivable::NoOrigin)),
        ("WEBHOOKS",     "-1", "webhooks.twilio.call-status",      Err(NotRedrivable::NoOrigin)),
    ];
    for (stream, sequence, subject, expected) in table {
        assert_eq!(origin(stream, sequence, subject), expected, "{stream} {sequence} {subject}");
    }
    let Err(long) = origin("WEBHOOKS", "1", &"x\n".repeat(500)) else { panic!("it is foreign") };
    let shown = long.to_string();
    assert!(shown.len() < 300 && !shown.contains('\n'), "short, and one line: {shown}");
}

#[test]
fn a_redriven_message_keeps_only_headers_of_gateway_and_sender() {
    #[rustfmt::skip]
    let table = [
        (header::RECEIVED_AT,          true),
        (header::SIGNATURE,            true),
        (header::BODY_OBJECT,          true),
        ("aftercall-query",            true),
        (header::CONTENT_TYPE,         true),
        (header::ELEVENLABS_SIGNATURE, true),
        (header::TRACEPARENT,          true),
        (header::DEAD_REASON,          false),
        (header::DEAD_SUBJECT,         false),
        ("aftercall-origin-subject",   false),
        (header::SCHEDULE,             false),
        (header::SCHEDULE_TARGET,      false),
        ("nats-rollup",                false),
        ("Nats-Expected-Stream",       false),
        ("Nats-TTL",                   false),
        ("Authorization",              false),
        ("",                           false),
    ];
    for (name, kept) in table {
        assert_eq!(is_kept(name), kept, "{name}");
    }
}
