//! The tools that an agent used in a conversation, as texts. Pure.

use std::{collections::HashMap, time::Duration};

use aftercall_common::phone_numbers::Numbers;
use serde_json::Value;

use super::format;

/// Most tools that are shown of one turn. Further ones are left out.
const MAX_TOOLS: usize = 20;
/// Most characters of the name of a tool.
const MAX_NAME_CHARS: usize = 64;
/// Most characters of arguments, and of a result.
const MAX_VALUE_CHARS: usize = 4_000;

/// One use of a tool by an agent.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Tool {
    pub name: String,
    /// Empty: they are not stored, or the call is on another page of the conversation.
    pub arguments: String,
    /// Empty: it is not stored, or it is on another page of the conversation.
    pub result: String,
    pub failed: bool,
    /// Time from the call to the result. Empty: unknown.
    pub latency: String,
}

/// The tools of each of these turns. A result is shown with its call, which may be in an earlier turn. An entry without
/// a name is left out.
pub fn of_turns(turns: &[Value], numbers: Numbers) -> Vec<Vec<Tool>> {
    let all = |list: &'static str| turns.iter().flat_map(move |turn| entries(turn, list));
    let calls: HashMap<_, _> = all("tool_calls").filter_map(|call| Some((id(call)?, call))).collect();
    let results: HashMap<_, _> =
        all("tool_results").filter_map(|result| Some((id(result)?, result))).collect();
    let of_turn = |turn: &Value| {
        let calls_here = entries(turn, "tool_calls").map(|call| {
            let result = id(call).and_then(|id| results.get(id).copied());
            Tool::read(Some(call), result, numbers)
        });
        let has_no_call = |result: &&Value| id(result).is_none_or(|id| !calls.contains_key(id));
        let results = entries(turn, "tool_results").filter(has_no_call);
        let results = results.map(|result| Tool::read(None, Some(result), numbers));
        calls_here.chain(results).filter(|tool| !tool.name.is_empty()).take(MAX_TOOLS).collect()
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
    fn read<'a>(call: Option<&'a Value>, result: Option<&'a Value>, numbers: Numbers) -> Self {
        let text = |tool: Option<&Value>, field: &str| match tool.and_then(|tool| tool.get(field)) {
            None | Some(Value::Null) => String::new(),
            Some(Value::String(text)) => readable(text, numbers),
            Some(other) => readable(&other.to_string(), numbers),
        };
        let name = |tool: Option<&'a Value>| tool?.get("tool_name")?.as_str();
        let name = name(call).or_else(|| name(result)).unwrap_or_default();
        let latency = result.and_then(|result| result.get("tool_latency_secs")?.as_f64());
        let latency = latency.and_then(|seconds| Duration::try_from_secs_f64(seconds).ok());
        Self {
            name: format::masked(name, MAX_NAME_CHARS, numbers),
            arguments: text(call, "params_as_json"),
            result: text(result, "result_value"),
            failed: result.is_some_and(|result| result.get("is_error") == Some(&Value::Bool(true))),
            latency: latency.map(format::delay).unwrap_or_default(),
        }
    }
}

/// A text, formatted if it is short JSON.
fn readable(text: &str, numbers: Numbers) -> String {
    if text.len() <= MAX_VALUE_CHARS
        && let Ok(mut json) = serde_json::from_str::<Value>(text)
        && (json.is_object() || json.is_array())
    {
        numbers.payload(&mut json);
        // Spaces before deeply nested values can make the text a hundred times longer.
        let text = serde_json::to_string_pretty(&json).unwrap_or_default();
        return format::cut(&text, 2 * MAX_VALUE_CHARS);
    }
    format::masked(text, MAX_VALUE_CHARS, numbers)
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn a_result_is_shown_with_its_call() {
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
    fn malformed_entries_are_left_out_and_long_values_are_cut() {
        let turns = [
            json!("text"),
            json!({ "tool_calls": [7, { "tool_name": 8 }, { "tool_name": "x", "params_as_json": [1] }] }),
            json!({ "tool_calls": "none", "tool_results": [{ "tool_name": "y", "tool_latency_secs": -1 }] }),
            json!({ "tool_calls": vec![json!({ "tool_name": "z" }); 100] }),
            json!({ "tool_calls": [{ "request_id": "r" }], "tool_results": [{ "request_id": "r", "tool_name": "named late",
                "result_value": format!("{}{}{}", "[".repeat(100), "1,".repeat(1800) + "1", "]".repeat(100)) }] }),
        ];
        let tools = of_turns(&turns, Numbers::Whole);
        let names: Vec<Vec<_>> =
            tools.iter().map(|tools| tools.iter().map(|tool| &*tool.name).collect()).collect();
        assert_eq!(names[..3], [vec![], vec!["x"], vec!["y"]]);
        assert_eq!(tools[3].len(), MAX_TOOLS);
        assert_eq!(tools[4][0].name, "named late");
        let shown = tools[4][0].result.chars().count();
        assert!((MAX_VALUE_CHARS..=2 * MAX_VALUE_CHARS + 1).contains(&shown), "{shown}");
    }
}
