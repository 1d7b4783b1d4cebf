//! The parameters of requests that read calls, as a URL writes them. Pure.
//!
//! Invariant: a value is only ever compared with the values of one field. It cannot become an operator of a
//! query.

use jiff::Timestamp;

use super::{
    cursor::{self, FilterDigest},
    error::ReadingError,
};
use crate::{
    domain::{
        call::{Outcome, Status},
        event::one_spelling,
        text::{MAX_PARTY, MAX_REASON},
    },
    roles::api::{
        nearest::{nearest, unknown},
        placing::{MAX_METADATA_TEXT, is_metadata_name},
    },
    store::{
        Include,
        views::{Conditions, Cursor, DIRECTIONS, MetadataText},
    },
};

/// Calls on a page if the request names no number.
pub const DEFAULT_LIMIT: usize = 50;
/// Most calls on a page.
pub const MAX_LIMIT: usize = 200;
/// Most of the caller's own texts in the filters of one list.
const MAX_METADATA: usize = 4;
/// A text with at least this many digits can be a telephone number.
const MIN_NUMBER_DIGITS: usize = 7;
/// The beginning of a parameter that filters by one of the caller's own texts.
const METADATA_PREFIX: &str = "metadata.";
/// The parameters of a list, besides those that begin with `metadata.`.
pub const LIST_PARAMETERS: [&str; 14] = [
    "status",
    "outcome",
    "agentId",
    "batchCallId",
    "campaignId",
    "toNumber",
    "fromNumber",
    "direction",
    "failureReason",
    "since",
    "until",
    "limit",
    "cursor",
    "include",
];
/// The words of `include`.
pub const PARTS: [&str; 3] = ["transcript", "payload", "history"];

/// The request for a page of a list.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ListRequest {
    /// The filters.
    pub conditions: Conditions,
    /// Digest of the filters, for cursors.
    pub filters: FilterDigest,
    /// The page begins after this position.
    pub after: Option<Cursor>,
    /// Most calls on the page.
    pub limit: usize,
    /// Large parts of calls.
    pub include: Include,
}

impl ListRequest {
    /// Reads the query of a URL.
    ///
    /// # Errors
    /// A sentence that names the parameter that is wrong. It has no values, which can be telephone numbers.
    pub fn read(query: &str) -> Result<Self, ReadingError> {
        let parameters = parse(query)?;
        let mut conditions = Conditions::default();
        let (mut limit, mut include, mut cursor) = (DEFAULT_LIMIT, Include::NONE, None);
        let mut filters = Vec::new();
        let mut metadata = 0;
        for (name, value) in &parameters {
            match name.as_str() {
                "limit" => limit = read_limit(value)?,
                "include" => include = read_include(value)?,
                "cursor" => cursor = Some(value),
                _ => filters.push((name.clone(), value.clone())),
            }
            match name.as_str() {
                "limit" | "include" | "cursor" => {}
                "status" => conditions.with("status", words(name, value, &Status::ALL.map(Status::as_str))?),
                "outcome" => {
                    conditions.with("outcome", words(name, value, &Outcome::ALL.map(Outcome::as_str))?);
                }
                "direction" => conditions.with("direction", words(name, value, &DIRECTIONS)?),
                "agentId" => conditions.with("agentId", [text(name, value, MAX_PARTY)?]),
                "batchCallId" => conditions.with("batchCallId", [text(name, value, MAX_PARTY)?]),
                "campaignId" => conditions.with("campaignId", [text(name, value, MAX_PARTY)?]),
                "failureReason" => conditions.with("failureReason", [text(name, value, MAX_REASON)?]),
                "toNumber" => conditions.with("toNumber", spellings(text(name, value, MAX_PARTY)?)),
                "fromNumber" => conditions.with("fromNumber", spellings(text(name, value, MAX_PARTY)?)),
                "since" => conditions.since = Some(time(name, value)?),
                "until" => conditions.until = Some(time(name, value)?),
                _ => {
                    metadata += 1;
                    let own = name.strip_prefix(METADATA_PREFIX).unwrap_or_default();
                    conditions.with_metadata(MetadataText::new(own, text(name, value, MAX_METADATA_TEXT)?));
                }
            }
        }
        if metadata > MAX_METADATA {
            return invalid(format!("at most {MAX_METADATA} parameters may begin with {METADATA_PREFIX}"));
        }
        if conditions.since.zip(conditions.until).is_some_and(|(since, until)| since > until) {
            return invalid("since must not be later than until".to_owned());
        }
        let filters = cursor::digest(filters);
        let after = cursor.map(|text| cursor::decode(text, filters)).transpose()?;
        Ok(Self { conditions, filters, after, limit, include })
    }
}

/// Reads the query of a request for one call: only `include`.
///
/// # Errors
/// See [`ListRequest::read`].
pub fn include_of(query: &str) -> Result<Include, ReadingError> {
    let mut include = Include::NONE;
    let mut is_given = false;
    for (name, value) in form_urlencoded::parse(query.as_bytes()) {
        if name != "include" {
            return invalid(unknown("parameter", &name, ["include"]));
        }
        if std::mem::replace(&mut is_given, true) {
            return invalid("include is given twice".to_owned());
        }
        include = read_include(&value)?;
    }
    Ok(include)
}

/// The parameters of a list, each once. A repeated `status` or `outcome` is joined with commas.
fn parse(query: &str) -> Result<Vec<(String, String)>, ReadingError> {
    let mut parameters: Vec<(String, String)> = Vec::new();
    for (name, value) in form_urlencoded::parse(query.as_bytes()) {
        let is_metadata = name.strip_prefix(METADATA_PREFIX).is_some_and(is_metadata_name);
        if !LIST_PARAMETERS.contains(&&*name) && !is_metadata {
            return invalid(unknown("parameter", &name, LIST_PARAMETERS));
        }
        match parameters.iter_mut().find(|(other, _)| *other == name) {
            Some((_, values)) if matches!(&*name, "status" | "outcome") => {
                values.push(',');
                values.push_str(&value);
            }
            Some(_) => return invalid(format!("{name} is given twice")),
            None => parameters.push((name.into_owned(), value.into_owned())),
        }
    }
    Ok(parameters)
}

fn invalid<T>(reason: String) -> Result<T, ReadingError> {
    Err(ReadingError::Invalid(reason))
}

/// Words of a closed set, separated by commas.
fn words(name: &str, value: &str, known: &[&'static str]) -> Result<Vec<&'static str>, ReadingError> {
    let mut found = Vec::new();
    for word in value.split(',').map(str::trim) {
        match known.iter().find(|known| **known == word) {
            Some(word) if found.contains(word) => {}
            Some(word) => found.push(*word),
            None => {
                let hint = nearest(word, known.iter().copied());
                let hint = hint.map(|word| format!("; did you mean {word:?}?")).unwrap_or_default();
                return invalid(format!("{name} must be one or more of {}{hint}", known.join(", ")));
            }
        }
    }
    Ok(found)
}

fn text(name: &str, value: &str, most: usize) -> Result<String, ReadingError> {
    if value.is_empty() || value.chars().count() > most || value.contains('\0') {
        return invalid(format!("{name} must be a text of 1 to {most} characters"));
    }
    Ok(value.to_owned())
}

/// The spellings under which a telephone number may be stored: with `+` and without, and as it was entered, because earlier
/// versions kept spaces and brackets. A text that is no number, such as a SIP address, has one.
fn spellings(number: String) -> Vec<String> {
    // In a query, `+` means a blank.
    let plain = one_spelling(number.trim_start());
    let digits = plain.trim_start_matches('+');
    if digits.len() < MIN_NUMBER_DIGITS || !digits.bytes().all(|byte| byte.is_ascii_digit()) {
        return vec![number];
    }
    let mut spellings = vec![format!("+{digits}"), digits.to_owned()];
    if number.trim_start().trim_start_matches('+') != digits {
        spellings.push(number);
    }
    spellings
}

fn time(name: &str, value: &str) -> Result<Timestamp, ReadingError> {
    // In a query, `+` means a blank, so the `+` of an offset arrives as one.
    let read = value.parse().or_else(|error| match value.rsplit_once(' ') {
        Some((time, offset)) => format!("{time}+{offset}").parse(),
        None => Err(error),
    });
    read.or_else(|_error: jiff::Error| {
        invalid(format!("{name} must be a time with its offset, such as 2026-11-28T10:00:00Z"))
    })
}

fn read_limit(value: &str) -> Result<usize, ReadingError> {
    let fits = |limit: &usize| (1..=MAX_LIMIT).contains(limit);
    let limit = value.parse().ok().filter(fits);
    limit.map_or_else(|| invalid(format!("limit must be a whole number from 1 to {MAX_LIMIT}")), Ok)
}

fn read_include(value: &str) -> Result<Include, ReadingError> {
    let parts = words("include", value, &PARTS)?;
    let has = |part| parts.contains(&part);
    Ok(Include { transcript: has("transcript"), payload: has("payload"), history: has("history") })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn refusal(query: &str) -> String {
        match ListRequest::read(query) {
            Err(ReadingError::Invalid(reason)) => reason,
            other => panic!("{query}: {other:?}"),
        }
    }

    #[test]
    fn a_wrong_parameter_is_named_without_its_value() {
        #[rustfmt::skip]
        let table = [
            ("statsu=busy",                     "unknown parameter \"statsu\"; did you mean \"status\"?"),
            ("agent_id=8000",                   "unknown parameter \"agent_id\"; did you mean \"agentId\"?"),
            ("status=bussy",                    "did you mean \"busy\"?"),
            ("status=",                         "status must be one or more of initiated, "),
            ("status[$ne]=busy",                "unknown parameter \"status[$ne]\""),
            ("%24where=1",                      "unknown parameter \"$where\""),
            ("outcome=answered,lost",           "outcome must be one or more of answered, "),
            ("direction=up",                    "direction must be one or more of inbound, outbound"),
            ("agentId=",                        "agentId must be a text"),
            ("agentId=a%00",                    "agentId must be a text"),
            ("agentId=a&agentId=b",             "agentId is given twice"),
            ("since=80008000",                  "since must be a time"),
            ("since=2026-11-28T10:00:00",       "since must be a time"),
            ("since=2026-11-29T00:00:00Z&until=2026-11-28T00:00:00Z", "since must not be later than until"),
            ("limit=0",                         "limit must be a whole number from 1 to 200"),
            ("limit=201",                       "limit must be"),
            ("limit=-1",                        "limit must be"),
            ("limit=99999999999999999999999",   "limit must be"),
            ("cursor=8000",                     "cursor must be a nextCursor"),
            ("include=all",                     "include must be one or more of transcript, payload, history"),
            ("metadata.=x",                     "unknown parameter \"metadata.\""),
            ("metadata.a.b=x",                  "unknown parameter \"metadata.a.b\""),
            ("metadata.%24ne=x",                "unknown parameter"),
            ("metadata.a=1&metadata.b=1&metadata.c=1&metadata.d=1&metadata.e=1", "at most 4"),
        ];
        for (query, expected) in table {
            let reason = refusal(query);
            assert!(reason.contains(expected) && !reason.contains("8000"), "{query}: {reason}");
        }
    }

    #[test]
    fn a_number_is_found_in_each_spelling_under_which_it_may_be_stored() {
        for (number, expected) in [
            ("+6580000001", vec!["+6580000001", "6580000001"]),
            (" 6580000001", vec!["+6580000001", "6580000001"]),
            ("+65 8000-0001", vec!["+6580000001", "6580000001", "+65 8000-0001"]),
            ("sip:+6580000001@example.com", vec!["sip:+6580000001@example.com"]),
        ] {
            assert_eq!(spellings(number.to_owned()), expected);
        }
    }

    #[test]
    fn every_parameter_is_read() {
        let others =
            "agentId=a&batchCallId=b&campaignId=c&failureReason=r&fromNumber=sip%3Ax&direction=inbound";
        let query = format!(
            "status=busy,failed&status=busy&outcome=unknown&toNumber=+6580000001&metadata.order_id=7&{others}\
             &since=2026-11-28T10:00:00%2B01:00&until=2026-11-28T10:00:00+00:30&limit=200&include=history,payload"
        );
        let request = ListRequest::read(&query).unwrap();
        let mut expected = Conditions::default();
        expected.with("status", ["busy", "failed"]);
        expected.with("outcome", ["unknown"]);
        expected.with("toNumber", ["+6580000001", "6580000001"]);
        expected.with_metadata(MetadataText::new("order_id", "7"));
        for (field, value) in [("agentId", "a"), ("batchCallId", "b"), ("campaignId", "c")] {
            expected.with(field, [value]);
        }
        expected.with("failureReason", ["r"]);
        expected.with("fromNumber", ["sip:x"]);
        expected.with("direction", ["inbound"]);
        expected.since = Some("2026-11-28T09:00:00Z".parse().unwrap());
        expected.until = Some("2026-11-28T09:30:00Z".parse().unwrap());
        assert_eq!(request.conditions, expected);
        assert_eq!((request.limit, request.after), (200, None));
        assert_eq!(request.include, Include { transcript: false, payload: true, history: true });
        assert_eq!(ListRequest::read("").unwrap().limit, DEFAULT_LIMIT);
    }

    #[test]
    fn a_cursor_is_tied_to_the_filters_and_not_to_the_length_of_the_page() {
        let first = ListRequest::read("status=busy&limit=10&include=history").unwrap();
        let position =
            Cursor { at: Timestamp::UNIX_EPOCH, id: mongodb::bson::oid::ObjectId::from_bytes([1; 12]) };
        let text = cursor::encode(position, first.filters);
        let next = ListRequest::read(&format!("limit=20&status=busy&cursor={text}")).unwrap();
        assert_eq!(next.after, Some(position));
        assert!(refusal(&format!("status=failed&cursor={text}")).contains("other filters"));
        assert!(refusal(&format!("cursor={text}")).contains("other filters"));
    }

    #[test]
    fn one_call_takes_only_include() {
        assert_eq!(include_of(""), Ok(Include::NONE));
        assert_eq!(include_of("include=transcript,payload,history"), Ok(Include::ALL));
        for query in ["status=busy", "include=x", "include=history&include=payload"] {
            assert!(include_of(query).is_err(), "{query}");
        }
    }
}
