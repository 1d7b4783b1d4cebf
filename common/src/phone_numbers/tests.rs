use serde_json::json;

use super::*;

#[test]
fn number_is_masked_in_each_notation() {
    #[rustfmt::skip]
    let table = [
        ("+6580000001",                        "+65••••••01"),
        ("6580000001",                         "658•••••01"),
        ("call +6580000001 again",             "call +65••••••01 again"),
        ("+65 8123 4567",                      "+65 •••• ••67"),
        ("+65-8123-4567",                      "+65-••••-••67"),
        ("+65.8123.4567",                      "+65.••••.••67"),
        ("+65 - 8123 - 4567",                  "+65 - •••• - ••67"),
        ("call 6581234567 now",                "call 658•••••67 now"),
        ("6581234567.",                        "658•••••67."),
        ("006581234567 please",                "006•••••••67 please"),
        ("(65) 8123-4567",                     "(65) 8•••-••67"),
        ("+44 (0)20 7946 0958",                "+44 (•)•• •••• ••58"),
        ("+(65) 81234567",                     "+(65) ••••••67"),
        ("08123 4567 x",                       "081•• ••67 x"),
        ("030/1234567",                        "030/•••••67"),
        ("81234567 is mine",                   "812•••67 is mine"),
        ("tel:6581234567",                     "tel:658•••••67"),
        ("tel:+65-8123-4567;ext=1",            "tel:+65-••••-••67;ext=1"),
        ("sip:6581234567@host",                "sip:658•••••67@host"),
        ("sip:+6580000001@host",               "sip:+65••••••01@host"),
        ("whatsapp:+6581234567",               "whatsapp:+65••••••67"),
        ("%2B6581234567",                      "%2B65••••••67"),
        (r#"{"a":"Call:\n6581234567"}"#,        r#"{"a":"Call:\n658•••••67"}"#),
        (r#""{\"a\":\"x\\t6581234567\\n\"}""#,    r#""{\"a\":\"x\\t658•••••67\\n\"}""#),
        (r"x\\\\r6581234567\\u0020",             r"x\\\\r658•••••67\\u0020"),
        ("%252B6581234567",                    "%252B65••••••67"),
        ("%2B65%208123%204567",                "%2B65%20••••%20••67"),
        ("q=65+8123+4567&x=1",                 "q=65+8•••+••67&x=1"),
        ("https://x/?to=6581234567",           "https://x/?to=658•••••67"),
        ("&#43;6581234567",                    "&#43;65••••••67"),
        ("&#x2B;6581234567",                   "&#x2B;65••••••67"),
        (r#"{"to":"\u002b6581234567"}"#,       r#"{"to":"\u002b65••••••67"}"#),
        ("\u{ff0b}\u{ff16}\u{ff15}\u{ff18}\u{ff11}\u{ff12}\u{ff13}\u{ff14}\u{ff15}", "\u{ff0b}65••••45"),
        ("\u{202a}+65\u{a0}8123\u{2011}4567\u{202c}", "\u{202a}+65\u{a0}••••\u{2011}••67\u{202c}"),
        ("6 5 8 1 2 3 4 5 6 7",                "6 5 8 • • • • • 6 7"),
        ("請打6581234567給我",                  "請打658•••••67給我"),
        ("ünïcode +6580000001 ✓",              "ünïcode +65••••••01 ✓"),
        ("6581234567 6581234568",              "658•••••67 658•••••68"),
        ("+6581234567+6581234568",             "+65••••••67+65••••••68"),
        ("6581234567 on 2026-11-28",           "658•••••67 on 2026-11-28"),
        ("6581234567 2026-11-28 17:00",        "658•••••67 2026-11-28 17:00"),
        ("CA+6581234567",                      "CA+65••••••67"),
        ("To=%2B6581234567&From=%2B6581234568", "To=%2B65••••••67&From=%2B65••••••68"),
        ("+1234567",                           "+12•••67"),
        ("1234567",                            "•••••••"),
        ("phone: 1790000000",                  "phone: 179•••••00"),
    ];
    for (text, shown) in table {
        assert_eq!(Numbers::Masked.text(text), shown, "{text}");
        assert_eq!(Numbers::Whole.text(text), text);
    }
}

#[test]
fn digits_that_are_not_a_number_are_kept() {
    for text in [
        "",
        "CA6580000001",
        "CA00000000000000000000000000000001",
        "conv_6580000001",
        "conv_01jxz6580000001",
        "agent_1234567890123",
        "550e8400-e29b-41d4-a716-446655440000",
        "a50e8400-e29b-41d4-a716-446655440000 x",
        "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01",
        "2026-11-28",
        "2026-11-28T17:53:11.123456789Z",
        "2026-11-28 17:53:11 and 28.11.2026",
        "20261128T175311Z",
        "Tue, 22 Sep 2026 12:00:30 +0000",
        "at 12:00:30.1234567",
        "from 192.168.100.200 to 10.20.30.40",
        "2001:db8:1234:5678:9012:3456:7890:1234",
        r#"{"event_timestamp":1790000000,"at": "1790000000123"}"#,
        "timestamp=1790000000&x=1",
        "duration_ms=1234567",
        "took 3600000 ms",
        "$1234567",
        "1234567 EUR",
        "1234567.89",
        "1,234,567.89",
        "0.9876543",
        "1234567890123456",
        "a + b, 1+1, +12",
        "911, 112 and 123456",
        "SIP 503, then 486",
        "+1500 is engaged",
    ] {
        assert_eq!(Numbers::Masked.text(text), text);
    }
}

#[test]
fn identifier_is_masked_only_after_a_plus_sign() {
    for (id, shown) in [
        ("1234567890@10.0.0.1", "1234567890@10.0.0.1"),
        ("8812345678", "8812345678"),
        ("CA+6581234567", "CA+65••••••67"),
    ] {
        assert_eq!(Numbers::Masked.id(id), shown);
    }
}

#[test]
fn value_without_a_number_is_masked_in_a_number_field() {
    for (number, shown) in [
        ("+6580000001", "+65••••••01"),
        ("+65 8000 0001", "+65 •••• ••01"),
        ("911", "•••"),
        ("sip:alice@example.com", "sip••••••••••••••••om"),
        ("", ""),
    ] {
        assert_eq!(Numbers::Masked.number(number), shown);
    }
}

#[test]
fn payload_texts_numbers_and_names_are_masked_and_measures_are_kept() {
    let mut payload = json!({
        "To": "+6580000001", "n": 6_581_234_567_u64, "f": 6_581_234_567.0, "short": 123_456, "part": 1_234_567.25,
        "a": [{ "b": "6580000001" }, 6_580_000_001_u64], "id": "CA1", "start_time_unix_secs": 1_790_000_000,
        "event_timestamp": "1790000000", "call_duration_secs": 1_234_567, "created_at": [1_790_000_000],
        "+6581234567": 1, "+6581234467": 2,
    });
    Numbers::Masked.payload(&mut payload);
    let masked = json!({
        "To": "+65••••••01", "n": "658•••••67", "f": "658•••••67", "short": 123_456, "part": 1_234_567.25,
        "a": [{ "b": "658•••••01" }, "658•••••01"], "id": "CA1", "start_time_unix_secs": 1_790_000_000,
        "event_timestamp": "1790000000", "call_duration_secs": 1_234_567, "created_at": [1_790_000_000],
        "+65••••••67": 1, "+65••••••67 (2)": 2,
    });
    assert_eq!(payload, masked);
}

#[test]
fn find_returns_the_digits_of_a_number() {
    let found: Vec<_> = find("+65 (8123) 4567, 0081234567").map(|found| (found.digits, found.plus)).collect();
    assert_eq!(found, [("6581234567".to_owned(), true), ("0081234567".to_owned(), false)]);
}

#[test]
fn long_texts_are_scanned_in_linear_time() {
    for text in ["1 ".repeat(100_000), "1".repeat(200_000), "+".repeat(200_000), "a-".repeat(100_000)] {
        let started = std::time::Instant::now();
        drop(Numbers::Masked.text(&text));
        assert!(started.elapsed() < std::time::Duration::from_secs(5), "{}", &text[..4]);
    }
}

/// A sender chooses the field names of a payload, so it can send many names that are equal once they are
/// masked.
#[test]
fn equal_masked_names_are_numbered_in_linear_time() {
    let object: serde_json::Map<_, _> =
        (0..100_000_u32).map(|n| (format!("658{n:06}45"), n.into())).collect();
    let mut payload = serde_json::Value::Object(object);
    let began = std::time::Instant::now();
    Numbers::Masked.payload(&mut payload);
    assert!(began.elapsed().as_secs() < 20, "{:?}", began.elapsed());
    let names = payload.as_object().unwrap();
    assert_eq!(names.len(), 100_000, "no value is lost");
    assert!(
        names.contains_key("658••••••45") && names.contains_key("658••••••45 (100000)"),
        "{:?}",
        names.keys().next()
    );
}
