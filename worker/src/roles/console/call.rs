//! `GET /calls/{name}`: one call, and its payloads one at a time.

use std::sync::Arc;

use aftercall_common::phone_numbers::Numbers;
use askama::Template;
use axum::{
    extract::{Path, RawQuery, State},
    http::{StatusCode, header},
    response::{IntoResponse as _, Response},
};
use jiff::Timestamp;
use serde_json::Value;

use super::{
    Console,
    calls::Row,
    filter::segment,
    format,
    page::{self, Shell},
    timeline::{self, Step},
    transcript::Turn,
};
use crate::{
    domain::event::ConversationId,
    roles::transcripts,
    store::views::{Detail, RAW_FIELDS, TURNS_A_PAGE},
};

/// Most characters of a payload shown in the page; the whole is one link away.
const MAX_RAW: usize = 200_000;
/// Most characters shown of a summary.
const MAX_SUMMARY: usize = 5_000;
/// Longest the broker is waited for: its word on a call is a side note.
const JOB: std::time::Duration = std::time::Duration::from_millis(500);

#[derive(Template)]
#[template(path = "call.html")]
struct Call {
    shell: Shell,
    row: Row,
    path: String,
    ids: Vec<(&'static str, String)>,
    others: Vec<(String, String)>,
    facts: Vec<(&'static str, String)>,
    why: String,
    steps: Vec<Step>,
    efforts: Vec<(&'static str, String)>,
    summary: Option<String>,
    findings: Vec<(String, String)>,
    transcript_state: String,
    transcript_error: Option<String>,
    turns: Vec<Turn>,
    turns_total: u64,
    shown: (usize, usize),
    earlier: Option<String>,
    later: Option<String>,
    audio: bool,
    raw: Vec<(&'static str, String)>,
    whole_history: bool,
}

/// `GET /calls/{name}?turns=`
pub async fn show(
    State(console): State<Arc<Console>>,
    Path(name): Path<String>,
    RawQuery(query): RawQuery,
) -> Response {
    let seen = console.live.seen();
    let query = query.unwrap_or_default();
    let skip = form_urlencoded::parse(query.as_bytes()).find(|(name, _)| name == "turns");
    let skip = skip.and_then(|(_, skip)| skip.parse().ok()).unwrap_or(0_usize);
    let detail = match console.views.detail(&name, skip).await {
        Ok(Some(detail)) => detail,
        Ok(None) => {
            let text = "No call goes by that name. It may have been erased.";
            return page::message(&console, "/calls", StatusCode::NOT_FOUND, "No such call", text);
        }
        Err(error) => return page::without_database(&console, "/calls", &error),
    };
    let job = waiting(&console, &detail).await;
    let mut shell = Shell::new(&console, "/calls");
    shell.events = format!("/events?topic=call&id={}&seen={seen}", detail.row.id.to_hex());
    page::page(StatusCode::OK, &template(&console, shell, &name, &detail, job, skip))
}

async fn waiting(console: &Console, call: &Detail) -> Option<(u32, Option<Timestamp>)> {
    let id = ConversationId::new(call.row.conversation_id.as_deref()?).ok()?;
    if call.row.transcript.as_deref() != Some("owed") || !console.health().nats {
        return None;
    }
    let asked = transcripts::scheduled_job(&console.context.jetstream, &id);
    tokio::time::timeout(JOB, asked).await.ok()?.ok()?
}

fn template(
    console: &Console,
    shell: Shell,
    name: &str,
    call: &Detail,
    job: Option<(u32, Option<Timestamp>)>,
    skip: usize,
) -> Call {
    let now = Timestamp::now();
    let numbers = console.numbers;
    let text = |text: &str| format::sent(text, numbers);
    let path = format!("/calls/{}", segment(name));
    let turns_at = |skip: usize| format!("{path}?turns={skip}#transcript");
    let last = skip + call.turns.len();
    let summary = call.analysis.get("transcript_summary").and_then(Value::as_str);
    let state = match call.row.transcript.as_deref() {
        Some("owed") => "The transcript is not here yet; it is being asked for.",
        Some("unavailable") => "There is no transcript.",
        _ => "No conversation has been held.",
    };
    Call {
        row: Row::new(&call.row, numbers, now),
        ids: ids(call, numbers),
        others: call
            .other_conversations
            .iter()
            .map(|id| (format!("/calls/{}", segment(id)), id.clone()))
            .collect(),
        facts: facts(call, now, &text),
        why: timeline::why(call, numbers),
        steps: timeline::steps(call, numbers),
        efforts: timeline::efforts(call, job, now),
        summary: summary.map(|text| numbers.text(&format::cut(text, MAX_SUMMARY)).into_owned()),
        findings: findings(call, &text),
        transcript_state: state.to_owned(),
        transcript_error: call.transcript_error.as_deref().map(text),
        turns: call.turns.iter().map(|turn| Turn::read(turn, numbers)).collect(),
        turns_total: call.turns_total as u64,
        shown: (skip + 1, last),
        earlier: (skip > 0).then(|| turns_at(skip.saturating_sub(TURNS_A_PAGE))),
        later: (last < call.turns_total && last > skip).then(|| turns_at(last)),
        audio: call.audio_file.is_some(),
        raw: call.raw.iter().map(|(field, bytes)| (*field, format::bytes(*bytes))).collect(),
        whole_history: call.history.len() < crate::domain::call::HISTORY_LIMIT,
        path,
        shell,
    }
}

fn ids(call: &Detail, numbers: Numbers) -> Vec<(&'static str, String)> {
    let row = &call.row;
    let call_id = if row.call_id.is_some() { &row.call_id } else { &row.shared_call_id };
    [("Call", call_id), ("Conversation", &row.conversation_id), ("Placement", &row.placement_id)]
        .into_iter()
        .filter_map(|(name, id)| Some((name, format::id(id.as_ref()?, numbers))))
        .collect()
}

fn facts(call: &Detail, now: Timestamp, text: &dyn Fn(&str) -> String) -> Vec<(&'static str, String)> {
    let optional = [
        ("Agent", call.agent_id.as_deref().map(text)),
        ("Agent's number", call.agent_phone_number_id.as_deref().map(text)),
        ("Answered by", call.answered_by.as_deref().map(text)),
        ("Ended by", call.termination_reason.as_deref().map(text)),
        ("Spoken", call.row.duration.map(format::spoken)),
        (
            "Created",
            Some(format!(
                "{} ({} ago)",
                format::moment(call.row.created_at),
                format::age(call.row.created_at, now)
            )),
        ),
        ("Last heard of", call.updated_at.map(format::moment)),
    ];
    optional.into_iter().filter_map(|(name, fact)| Some((name, fact?))).collect()
}

/// What the analysis found, one line each.
fn findings(call: &Detail, text: &dyn Fn(&str) -> String) -> Vec<(String, String)> {
    let word = |value: &Value| value.as_str().map_or_else(|| value.to_string(), str::to_owned);
    let mut findings = Vec::new();
    if let Some(outcome) = call.analysis.get("call_successful") {
        findings.push(("Successful".to_owned(), text(&word(outcome))));
    }
    for (group, field) in [("evaluation_criteria_results", "result"), ("data_collection_results", "value")] {
        let results = call.analysis.get(group).and_then(Value::as_object);
        for (name, result) in results.into_iter().flatten().take(50) {
            let value = result.get(field).map(word).unwrap_or_default();
            findings.push((text(&format::cut(name, format::MAX_TEXT).replace('_', " ")), text(&value)));
        }
    }
    findings
}

#[derive(Template)]
#[template(path = "raw.html")]
struct Raw {
    shell: Shell,
    path: String,
    field: &'static str,
    json: String,
    cut: bool,
}

/// `GET /calls/{name}/raw/{field}`, and the whole as JSON with `?download`.
pub async fn raw(
    State(console): State<Arc<Console>>,
    Path((name, field)): Path<(String, String)>,
    RawQuery(query): RawQuery,
) -> Response {
    let Some(field) = RAW_FIELDS.into_iter().find(|known| *known == field) else {
        return page::message(
            &console,
            "/calls",
            StatusCode::NOT_FOUND,
            "Not found",
            "Calls have no such payload.",
        );
    };
    let mut value = match console.views.raw(&name, field).await {
        Ok(Some(value)) => value,
        Ok(None) => {
            return page::message(
                &console,
                "/calls",
                StatusCode::NOT_FOUND,
                "Not found",
                "This call has none.",
            );
        }
        Err(error) => return page::without_database(&console, "/calls", &error),
    };
    console.numbers.payload(&mut value);
    let mut json = serde_json::to_string_pretty(&value).unwrap_or_default();
    if query.as_deref() == Some("download") {
        let headers = [
            (header::CONTENT_TYPE, "application/json"),
            (header::CONTENT_DISPOSITION, "attachment; filename=\"payload.json\""),
        ];
        return (headers, json).into_response();
    }
    let cut = json.char_indices().nth(MAX_RAW).map(|(end, _)| end);
    if let Some(end) = cut {
        json.truncate(end);
    }
    let (shell, path) = (Shell::new(&console, "/calls"), format!("/calls/{}", segment(&name)));
    page::page(StatusCode::OK, &Raw { shell, path, field, json, cut: cut.is_some() })
}
