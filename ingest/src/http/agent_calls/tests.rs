use aftercall_common::contract::agent_calls::ERROR_CODE_HEADER;
use async_nats::{
    Message, Subject,
    service::{NATS_SERVICE_ERROR, NATS_SERVICE_ERROR_CODE},
};

use super::{
    worker::{MAX_DETAIL, check},
    *,
};

fn answer(pairs: &[(&'static str, &str)], payload: &'static str) -> Message {
    let mut headers = async_nats::HeaderMap::new();
    for (name, value) in pairs {
        headers.insert(*name, *value);
    }
    Message {
        subject: Subject::from_static("inbox"),
        reply: None,
        payload: Bytes::from_static(payload.as_bytes()),
        headers: (!pairs.is_empty()).then_some(headers),
        status: None,
        description: None,
        length: 0,
    }
}

#[test]
fn answers_of_workers_stay_within_the_contract() {
    let parse_answer = |answer| check(answer).and_then(json_of);
    assert_eq!(parse_answer(answer(&[], "{\"callId\":\"c\"}")).unwrap(), "{\"callId\":\"c\"}");
    assert_eq!(parse_answer(answer(&[], "oops")), Err(Rejection::BadAnswer));
    let long = "é".repeat(2000);
    #[rustfmt::skip]
    let table = [
        ("400", Some("no_identifier"),   "say which call", Some((400, "no_identifier"))),
        ("404", None,                    "unknown call",   Some((404, "not_found"))),
        ("429", Some("Not A Code"),      "slow down",      Some((429, "overloaded"))),
        ("502", Some(""),                "",               Some((502, "bad_gateway"))),
        ("503", None,                    &long,            Some((503, "unavailable"))),
        ("500", Some("internal"),        "oops",           None),
        ("200", None,                    "",               None),
        ("zero", None,                   "",               None),
    ];
    for (status, code, detail, expected) in table {
        let mut pairs = vec![(NATS_SERVICE_ERROR_CODE, status), (NATS_SERVICE_ERROR, detail)];
        pairs.extend(code.map(|code| (ERROR_CODE_HEADER, code)));
        match (parse_answer(answer(&pairs, "")), expected) {
            (Err(Rejection::Worker(refusal)), Some((number, code))) => {
                assert_eq!((refusal.status.as_u16(), refusal.code.as_str()), (number, code));
                assert!(detail.starts_with(&refusal.detail) && refusal.detail.chars().count() <= MAX_DETAIL);
            }
            (Err(Rejection::BadAnswer), None) => {}
            (found, expected) => panic!("{status} {code:?}: {found:?}, expected {expected:?}"),
        }
    }
}
