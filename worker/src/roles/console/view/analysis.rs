//! ElevenLabs' analysis of a conversation, as texts: evaluation criteria and collected data. Pure. An analysis of any
//! form can be shown, because senders are not trusted.

use aftercall_common::phone_numbers::Numbers;
use serde_json::{Map, Value};

use super::format::{self, MAX_TEXT};

/// Most criteria, and most collected values, that are shown.
const MAX_RESULTS: usize = 50;
/// Most characters of a rationale.
const MAX_RATIONALE: usize = 2_000;

/// Whether a criterion is met.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict {
    Met,
    Missed,
    Unknown,
}

impl Verdict {
    fn read(result: Option<&Value>) -> Self {
        match result.and_then(Value::as_str) {
            Some("success") => Self::Met,
            Some("failure") => Self::Missed,
            _ => Self::Unknown,
        }
    }

    /// The class in `console.css`.
    pub fn class(self) -> &'static str {
        match self {
            Self::Met => "done",
            Self::Missed => "failed",
            Self::Unknown => "unknown",
        }
    }

    pub fn sign(self) -> &'static str {
        match self {
            Self::Met => "✓",
            Self::Missed => "✗",
            Self::Unknown => "?",
        }
    }

    /// The words for those who do not see the sign.
    pub fn words(self) -> &'static str {
        match self {
            Self::Met => "met",
            Self::Missed => "not met",
            Self::Unknown => "unknown",
        }
    }
}

/// An evaluation criterion with its result.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Criterion {
    pub name: String,
    pub verdict: Verdict,
    /// Empty: none is stored.
    pub rationale: String,
}

/// The evaluation criteria of `analysis`.
pub fn criteria(analysis: &Map<String, Value>, numbers: Numbers) -> Vec<Criterion> {
    entries(analysis, "evaluation_criteria_results")
        .map(|(name, result)| Criterion {
            name: format::words(name, numbers),
            verdict: Verdict::read(result.get("result")),
            rationale: rationale(result, numbers),
        })
        .collect()
}

/// A value that ElevenLabs collected from a conversation.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Collected {
    pub name: String,
    /// `None`: the conversation did not give it.
    pub value: Option<String>,
    /// Empty: none is stored.
    pub rationale: String,
}

/// The collected data of `analysis`.
pub fn collected(analysis: &Map<String, Value>, numbers: Numbers) -> Vec<Collected> {
    entries(analysis, "data_collection_results")
        .map(|(name, result)| Collected {
            name: format::words(name, numbers),
            value: result.get("value").and_then(|value| plain(value, numbers)),
            rationale: rationale(result, numbers),
        })
        .collect()
}

fn entries<'a>(
    analysis: &'a Map<String, Value>,
    group: &str,
) -> impl Iterator<Item = (&'a String, &'a Value)> {
    analysis.get(group).and_then(Value::as_object).into_iter().flatten().take(MAX_RESULTS)
}

fn rationale(result: &Value, numbers: Numbers) -> String {
    let text = result.get("rationale").and_then(Value::as_str).unwrap_or_default();
    format::masked(text, MAX_RATIONALE, numbers)
}

/// A value in words. `None`: it says nothing.
fn plain(value: &Value, numbers: Numbers) -> Option<String> {
    let text = match value {
        Value::Null => return None,
        Value::Bool(true) => "yes".to_owned(),
        Value::Bool(false) => "no".to_owned(),
        Value::String(text) => text.clone(),
        Value::Number(_) | Value::Array(_) | Value::Object(_) => value.to_string(),
    };
    Some(format::masked(&text, MAX_TEXT, numbers)).filter(|text| !text.trim().is_empty())
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn analysis(group: &str, results: Value) -> Map<String, Value> {
        Map::from_iter([(group.to_owned(), results)])
    }

    #[test]
    fn a_criterion_has_a_verdict_and_its_rationale() {
        let results = json!({
            "renewal_agreed": { "result": "success", "rationale": "He said yes to +6581234567." },
            "recording_disclosed": { "result": "failure" },
            "polite": { "result": "unknown", "rationale": null },
            "odd": 7,
        });
        let criteria = criteria(&analysis("evaluation_criteria_results", results), Numbers::Masked);
        let verdict = |name: &str| criteria.iter().find(|criterion| criterion.name == name).unwrap().verdict;
        assert_eq!(verdict("renewal agreed"), Verdict::Met);
        assert_eq!(verdict("recording disclosed"), Verdict::Missed);
        assert_eq!((verdict("polite"), verdict("odd")), (Verdict::Unknown, Verdict::Unknown));
        let met = criteria.iter().find(|criterion| criterion.verdict == Verdict::Met).unwrap();
        assert!(met.rationale.starts_with("He said yes") && !met.rationale.contains("6581234567"));
    }

    #[test]
    fn a_value_that_was_not_collected_is_not_null() {
        #[rustfmt::skip]
        let table = [
            (json!(null),            None),
            (json!(""),              None),
            (json!("  "),            None),
            (json!("tomorrow"),      Some("tomorrow")),
            (json!(true),            Some("yes")),
            (json!(12.5),            Some("12.5")),
            (json!(["a"]),           Some(r#"["a"]"#)),
        ];
        for (value, expected) in table {
            let results = json!({ "when": { "value": value } });
            let collected = collected(&analysis("data_collection_results", results), Numbers::Whole);
            assert_eq!(collected[0].value.as_deref(), expected, "{value}");
        }
        let missing = collected(&analysis("data_collection_results", json!({ "when": {} })), Numbers::Whole);
        assert_eq!(missing[0].value, None);
    }
}
