//! Recognizes amounts, durations, sizes and times by field names, units and currencies. Their digits are then
//! not mistaken for telephone numbers.

/// Words in field names that mark a telephone number. The value of such a field is never a measure.
const PHONE_WORDS: [&str; 9] =
    ["phone", "number", "caller", "called", "mobile", "tel", "telephone", "whatsapp", "fax"];
/// Words in field names that mark a quantity.
const QUANTITIES: [&str; 21] = [
    "secs",
    "seconds",
    "sec",
    "ms",
    "millis",
    "milliseconds",
    "micros",
    "ns",
    "duration",
    "latency",
    "elapsed",
    "cost",
    "price",
    "credits",
    "amount",
    "charge",
    "fee",
    "bytes",
    "size",
    "tokens",
    "usage",
];
/// Words in field names that mark a time.
const TIMES: [&str; 12] = [
    "time",
    "timestamp",
    "unix",
    "date",
    "at",
    "epoch",
    "since",
    "until",
    "expires",
    "iat",
    "exp",
    "created",
];
/// Units of amounts with seven digits and more, as they are written. Not words that may follow a telephone number in a
/// sentence, such as `Ms`, `s`, `h` or `day`.
const UNITS: [&str; 17] = [
    "ms", "sec", "secs", "second", "seconds", "mins", "minute", "minutes", "hour", "hours", "byte", "bytes",
    "kB", "MB", "KiB", "MiB", "credits",
];
const CURRENCIES: [&str; 14] =
    ["usd", "eur", "gbp", "sgd", "jpy", "cny", "inr", "aud", "cad", "chf", "hkd", "brl", "dollars", "euros"];
const CURRENCY_SIGNS: [char; 6] = ['$', '€', '£', '¥', '₹', '₩'];

/// Whether the field `key` with the value `digits` is an amount, a duration, a size or a time.
pub(super) fn is_measure(key: &str, digits: &str) -> bool {
    let words: Vec<_> = words(key).collect();
    let any = |known: &[&str]| words.iter().any(|word| known.contains(&word.as_str()));
    !any(&PHONE_WORDS) && (any(&QUANTITIES) || (any(&TIMES) && is_unix_time(digits)))
}

/// Whether `digits` are Unix seconds, or milliseconds, between September 2001 and the end of 2099.
fn is_unix_time(digits: &str) -> bool {
    let seconds = match digits.len() {
        10 => digits,
        13 => &digits[..10],
        _ => return false,
    };
    seconds.parse().is_ok_and(|seconds: u64| (1_000_000_000..4_102_444_800).contains(&seconds))
}

/// The words of a field name: `startTime_unix` has three.
fn words(key: &str) -> impl Iterator<Item = String> + '_ {
    let mut rest = key;
    std::iter::from_fn(move || {
        rest = rest.trim_start_matches(|c: char| !c.is_ascii_alphanumeric());
        let mut before = '\0';
        let end = rest.find(|c: char| {
            let ends = !c.is_ascii_alphanumeric() || (c.is_ascii_uppercase() && before.is_ascii_lowercase());
            before = c;
            ends
        });
        let (word, after) = rest.split_at(end.unwrap_or(rest.len()));
        rest = after;
        (!word.is_empty()).then(|| word.to_ascii_lowercase())
    })
}

/// The name of the field at the end of `before`, if its value follows: `"at": `, `at=` or `at: "`, for example.
pub(super) fn key_before(before: &str) -> Option<&str> {
    let before = before.trim_end_matches(['"', '\\', ' ']);
    let before = before.strip_suffix(['=', ':'])?.trim_end_matches(['"', '\\', ' ']);
    let is_name = |c: char| c.is_ascii_alphanumeric() || c == '_' || c == '-';
    let name = &before[before.trim_end_matches(is_name).len()..];
    (!name.is_empty()).then_some(name)
}

/// Whether a unit follows the number.
pub(super) fn has_unit(after: &str) -> bool {
    UNITS.contains(&first_word(after))
}

/// Whether a currency precedes or follows the number.
pub(super) fn has_currency(before: &str, after: &str) -> bool {
    let before = before.strip_suffix(' ').unwrap_or(before);
    let last = &before[before.trim_end_matches(|c: char| c.is_ascii_alphabetic()).len()..];
    before.ends_with(CURRENCY_SIGNS)
        || after.strip_prefix(' ').unwrap_or(after).starts_with(CURRENCY_SIGNS)
        || CURRENCIES.contains(&last.to_ascii_lowercase().as_str())
        || CURRENCIES.contains(&first_word(after).to_ascii_lowercase().as_str())
}

/// The word that follows after one space, or an empty text.
fn first_word(after: &str) -> &str {
    let rest = after.strip_prefix(' ').unwrap_or_default();
    &rest[..rest.find(|c: char| !c.is_ascii_alphanumeric()).unwrap_or(rest.len())]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn field_name_decides_whether_digits_are_a_number() {
        #[rustfmt::skip]
        let table = [
            ("event_timestamp",       "1790000000",     true),
            ("start_time_unix_secs",  "1790000000",     true),
            ("createdAt",             "1790000000123",  true),
            ("call_duration_secs",    "1234567",        true),
            ("cost",                  "12345678",       true),
            ("timestamp",             "6581234567",     false),
            ("callback_phone_time",   "1790000000",     false),
            ("external_number",       "1790000000",     false),
            ("n",                     "6581234567",     false),
            ("",                      "6581234567",     false),
        ];
        for (key, digits, expected) in table {
            assert_eq!(is_measure(key, digits), expected, "{key}");
        }
        for before in [r#"{"at": "#, "x&at=", r#"{\"at\":\""#, "at: "] {
            assert_eq!(key_before(before), Some("at"), "{before}");
        }
        assert_eq!(key_before("call me at "), None);
    }
}
