use super::*;

#[test]
fn each_answer_says_whether_the_call_is_dialled() {
    let unknown = || "unknown".to_owned();
    #[rustfmt::skip]
    let table = [
        (200, r#"{"success":true,"message":"","conversation_id":"v","callSid":"c"}"#, "v c".to_owned()),
        (200, r#"{"success":true,"message":"","conversation_id":"v","sip_call_id":"c"}"#, "v c".to_owned()),
        (200, r#"{"success":true,"message":"","conversation_id":null,"callSid":null}"#, "- -".to_owned()),
        (200, r#"{"success":true,"message":"","conversation_id":" ","callSid":""}"#, "- -".to_owned()),
        (200, r#"{"success":true,"message":"\ud83d","conversation_id":" v ","callSid":7}"#, "v 7".to_owned()),
        (200, r#"{"success":false,"message":"no","conversation_id":null,"callSid":null}"#, "call_refused: no".to_owned()),
        (200, r#"{"success":tr"#,                                              unknown()),
        (200, "",                                                              unknown()),
        (400, r#"{"detail":{"status":"x","message":"m"}}"#,                    "call_invalid: m".to_owned()),
        (422, r#"{"detail":[{"loc":["body","to_number"],"msg":"+15"}]}"#,      "call_invalid: to_number".to_owned()),
        (401, r#"{"detail":"text"}"#,                                          "elevenlabs_unauthorized: text".to_owned()),
        (402, "{}",                                                            "payment_required: ".to_owned()),
        (404, "<html>",                                                        "agent_or_number_not_found: ".to_owned()),
        (429, "",                                                              "rate_limited: ".to_owned()),
        (408, "",                                                              unknown()),
        (500, "",                                                              unknown()),
        (503, "",                                                              unknown()),
        (302, "",                                                              unknown()),
    ];
    for (status, body, expected) in table {
        let found = match outcome(StatusCode::from_u16(status).unwrap(), body.as_bytes()) {
            Ok(accepted) => {
                let conversation = accepted.conversation_id.as_ref().map_or("-", ConversationId::as_str);
                format!("{conversation} {}", accepted.call_id.as_ref().map_or("-", CallId::as_str))
            }
            Err(OutboundError::Unknown) => unknown(),
            Err(OutboundError::Refused { class, words }) => format!("{}: {words}", class.refusal().code()),
        };
        assert_eq!(found, expected, "{status} {body}");
    }
}
