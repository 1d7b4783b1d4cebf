//! The tools that an agent used in a conversation, as texts. Pure.

use std::{collections::HashMap, time::Duration};

use aftercall_common::phone_numbers::Numbers;
use serde_json::Value;

use super::format;

/// Most tools that are shown of one turn.
const MAX_TOOLS: usize = 20;
/// Most characters of arguments, and of a result.
const MAX_VALUE: usize = 4_000;

/// A tool that an agent used.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Tool {
    pub name: String,
    /// Empty: none are stored.
    pub arguments: String,
    /// Empty: none is stored.
    pub result: String,
    pub failed: bool,
    /// Empty: it is not stored.
    pub latency: String,
}

/// The tools of each of these turns. A result stands beside its call, which may be in an earlier turn.
pub fn of_turns(turns: &[Value], numbers: Numbers) -> Vec<Vec<Tool>> {
    let ids = |list: &'static str| turns.iter().flat_map(move |turn| entries(turn, list));
    let calls: HashMap<_, _> = ids("tool_calls").filter_map(|call| Some((id(call)?, call))).collect();
    let results: HashMap<_, _> =
        ids("tool_results").filter_map(|result| Some((id(result)?, result))).collect();
    let of_turn = |turn: &Value| {
        let calls_here = entries(turn, "tool_calls").map(|call| {
            let result = id(call).and_then(|id| results.get(id).copied());
            Tool::read(Some(call), result, numbers)
        });
        let is_alone = |result: &&Value| id(result).is_none_or(|id| !calls.contains_key(id));
        let alone = entries(turn, "tool_results").filter(is_alone);
        let alone = alone.map(|result| Tool::read(None, Some(result), numbers));
        calls_here.chain(alone).filter(|tool| !tool.name.is_empty()).take(MAX_TOOLS).collect()
    };
    turns.iter().map(of_turn).collect()
}

fn entries<'a>(turn: &'a Value, list: &str) -> impl Iterator<Item = &'a Value> + use<'a> {
    turn.get(list).and_then(Value::as_array).into_iter().flatten()
}

/// The id that a call and its result share.
fn id(tool: &Value) -> Option<&str> {
    tool.get("request_id")?.as_str().filter(|id| !id.is_empty())
}

impl Tool {
    fn read(call: Option<&Value>, result: Option<&Value>, numbers: Numbers) -> Self {
        let text = |tool: Option<&Value>, field: &str| match tool.and_then(|tool| tool.get(field)) {
            None | Some(Value::Null) => String::new(),
            Some(Value::String(text)) => readable(text, numbers),
            Some(other) => readable(&other.to_string(), numbers),
        };
        let name = call.or(result).and_then(|tool| tool.get("tool_name")?.as_str()).unwrap_or_default();
        let latency = result.and_then(|result| result.get("tool_latency_secs")?.as_f64());
        let latency = latency.and_then(|seconds| Duration::try_from_secs_f64(seconds).ok());
        Self {
            name: format::masked(name, 64, numbers),
            arguments: text(call, "params_as_json"),
            result: text(result, "result_value"),
            failed: result.is_some_and(|result| result.get("is_error") == Some(&Value::Bool(true))),
            latency: latency.map(format::delay).unwrap_or_default(),
        }
    }
}

/// A text, formatted if it is JSON.
fn readable(text: &str, numbers: Numbers) -> String {
    if text.len() <= MAX_VALUE
        && let Ok(mut json) = serde_json::from_str::<Value>(text)
        && (json.is_object() || json.is_array())
    {
        numbers.payload(&mut json);
        return serde_json::to_string_pretty(&json).unwrap_or_default();
    }
    format::masked(text, MAX_VALUE, numbers)
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn a_result_stands_beside_its_call() {
        let turns = [
            json!({ "tool_calls": [
                { "request_id": "1", "tool_name": "book", "params_as_json": "{\"to\":\"+6581234567\"}" },
                { "request_id": "2", "tool_name": "end_call", "params_as_json": "" },
            ] }),
            json!({ "tool_results": [
                { "request_id": "1", "tool_name": "book", "result_value": "no slot", "is_error": true, "tool_latency_secs": 0.42 },
                { "request_id": "9", "tool_name": "of another page", "result_value": { "ok": true } },
            ] }),
        ];
        let tools = of_turns(&turns, Numbers::Masked);
        let book = &tools[0][0];
        assert_eq!(
            (book.name.as_str(), book.result.as_str(), book.latency.as_str()),
            ("book", "no slot", "0.4 s")
        );
        assert!(book.failed && book.arguments.contains("\"to\"") && !book.arguments.contains("6581234567"));
        assert_eq!(tools[0][1], Tool { name: "end_call".to_owned(), ..Tool::default() });
        assert_eq!(tools[1].len(), 1, "a result whose call is on an earlier page");
        assert_eq!(tools[1][0].result, "{\n  \"ok\": true\n}");
    }

    #[test]
    fn tools_of_any_form_are_shown() {
        let turns = [
            json!("text"),
            json!({ "tool_calls": [7, { "tool_name": 8 }, { "tool_name": "x", "params_as_json": [1] }] }),
            json!({ "tool_calls": "none", "tool_results": [{ "tool_name": "y", "tool_latency_secs": -1 }] }),
            json!({ "tool_calls": vec![json!({ "tool_name": "z" }); 100] }),
        ];
        let tools = of_turns(&turns, Numbers::Whole);
        let names: Vec<Vec<_>> =
            tools.iter().map(|tools| tools.iter().map(|tool| &*tool.name).collect()).collect();
        assert_eq!(names[..3], [vec![], vec!["x"], vec!["y"]]);
        assert_eq!(tools[3].len(), MAX_TOOLS);
    }
}
