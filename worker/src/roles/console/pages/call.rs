//! `GET /calls/{name}`: one call with its conversation and its history.

use std::{borrow::Cow, sync::Arc, time::Duration};

use aftercall_common::phone_numbers::Numbers;
use askama::Template;
use axum::{
    extract::{Path, RawQuery, State},
    http::StatusCode,
    response::{IntoResponse as _, Redirect, Response},
};
use jiff::Timestamp;
use serde_json::Value;

use super::{
    deliveries::Params,
    notes::NotesView,
    shell::{self, Shell},
};
use crate::{
    domain::{
        call::{Disposition, HISTORY_LIMIT, Status, size},
        event::ConversationId,
    },
    roles::{
        console::{
            state::Console,
            view::{
                activities, address,
                analysis::{self, Collected, Criterion, Verdict},
                format,
                row::Row,
                sentence::{Known, sentence},
                timeline::{self, Step},
                tone,
                transcript::Turn,
            },
        },
        transcripts,
    },
    store::views::{Detail, TURNS_A_PAGE},
};

/// Most turns that are skipped. A document has room for fewer.
const MAX_SKIPPED: usize = 10_000_000;
/// Most characters shown of a summary.
const MAX_SUMMARY: usize = 5_000;
/// Most dynamic variables that are shown.
const MAX_VARIABLES: usize = 50;
/// Longest wait for the broker's answer about the transcript job. The page is also shown without it.
const JOB_TIMEOUT: Duration = Duration::from_millis(500);

/// Attempts of a transcript job so far, and the time of the next one if it is known.
type Job = (u32, Option<Timestamp>);

#[derive(Template)]
#[template(path = "call.html")]
struct Call {
    shell: Shell,
    row: Row,
    path: String,
    ids: Vec<(&'static str, String)>,
    /// Other conversations of the call: address and id.
    others: Vec<(String, String)>,
    facts: Vec<(&'static str, String)>,
    /// Address and id of its batch. The address is empty if the id holds a hidden number.
    batch: Option<(String, String)>,
    /// How the call turned out.
    told: String,
    /// Why the call has its status.
    status_reason: String,
    steps: Vec<Step>,
    activities: Vec<(&'static str, String)>,
    summary: Option<String>,
    criteria: Vec<Criterion>,
    collected: Vec<Collected>,
    /// Address of the deliveries of its events. `None`: the call has no id, or its id holds a hidden number.
    deliveries: Option<String>,
    /// What people wrote about the call. `None`: the database did not answer in time.
    notes: Option<NotesView>,
    /// What the caller gave to the agent: name and value.
    variables: Vec<(String, String)>,
    /// What ElevenLabs said and was too large to be kept with the call.
    left_out: Vec<&'static str>,
    /// The reason why there are no turns.
    transcript_state: &'static str,
    transcript_error: Option<String>,
    turns: Vec<Turn>,
    turns_total: u64,
    /// Numbers of the first and the last turn on the page.
    shown: (usize, usize),
    earlier: Option<String>,
    later: Option<String>,
    audio: bool,
    /// Payloads: field and size.
    payloads: Vec<(&'static str, String)>,
    /// Whether the history has all events of the call.
    whole_history: bool,
}

/// `GET /calls/{name}?turns=`
pub async fn show(
    State(console): State<Arc<Console>>,
    Path(name): Path<String>,
    RawQuery(query): RawQuery,
) -> Response {
    let seen = console.broadcast.version();
    let query = query.unwrap_or_default();
    let skip = form_urlencoded::parse(query.as_bytes()).find(|(name, _)| name == "turns");
    let skip = skip.and_then(|(_, skip)| skip.parse().ok()).unwrap_or(0_usize).min(MAX_SKIPPED);
    let detail = match console.views.detail(&name, skip).await {
        Ok(Some(detail)) => detail,
        Ok(None) => {
            let text = "There is no call with this id. It may have been erased.";
            return shell::message(&console, "/calls", StatusCode::NOT_FOUND, "No such call", text);
        }
        Err(error) => return shell::database_unavailable(&console, "/calls", &error),
    };
    if detail.turns.is_empty() && detail.turns_total > 0 {
        let last = (detail.turns_total - 1) / TURNS_A_PAGE * TURNS_A_PAGE;
        let address = format!("{}?turns={last}#transcript", address::of_call(&name));
        return Redirect::to(&address).into_response();
    }
    let (job, notes) = tokio::join!(transcript_job(&console, &detail), console.views.notes(&detail.row));
    let notes = notes.ok().map(|notes| NotesView::new(&notes));
    let mut shell = Shell::new(&console, "/calls");
    shell.events = format!("/events?topic=call&id={}&seen={seen}", detail.row.id.to_hex());
    let call = Call { notes, ..template(&console, shell, &name, &detail, job, skip) };
    shell::render(StatusCode::OK, &call)
}

/// The job that fetches the transcript. `None`: no job waits, or the broker did not answer in time.
async fn transcript_job(console: &Console, call: &Detail) -> Option<Job> {
    let id = ConversationId::new(call.row.conversation_id.as_deref()?).ok()?;
    if call.row.transcript.as_deref() != Some("owed") || !console.health().nats {
        return None;
    }
    let waiting = transcripts::scheduled_job(&console.context.jetstream, &id);
    tokio::time::timeout(JOB_TIMEOUT, waiting).await.ok()?.ok()?
}

fn template(
    console: &Console,
    shell: Shell,
    name: &str,
    call: &Detail,
    job: Option<Job>,
    skip: usize,
) -> Call {
    let now = Timestamp::now();
    let numbers = console.numbers;
    let text = |text: &str| format::sender_text(text, numbers);
    let path = address::of_call(name);
    let turns_at = |skip: usize| format!("{path}?turns={skip}#transcript");
    let last = skip + call.turns.len();
    let summary = call.analysis.get("transcript_summary").and_then(Value::as_str);
    let summary = summary.or(call.summary.as_deref()).filter(|summary| !summary.is_empty());
    let criteria = analysis::criteria(&call.analysis, numbers);
    let user = if call.direction.as_deref() == Some("inbound") { "Caller" } else { "Callee" };
    Call {
        row: Row::new(&call.row, numbers, now),
        ids: ids(call, numbers),
        others: others(&call.other_conversations, numbers),
        facts: facts(call, &text),
        batch: call
            .batch_call_id
            .as_deref()
            .map(|id| (address::of_batch(id, numbers), format::id(id, numbers))),
        told: told(call, &criteria, now),
        status_reason: timeline::status_reason(call),
        steps: timeline::steps(call, numbers),
        activities: activities::activities(call, job, now),
        summary: summary.map(|text| format::masked(text, MAX_SUMMARY, numbers)),
        collected: analysis::collected(&call.analysis, numbers),
        criteria,
        deliveries: deliveries(call, numbers),
        notes: None,
        variables: variables(call, numbers),
        left_out: left_out(call),
        transcript_state: match call.row.transcript.as_deref() {
            Some("owed") => "The transcript has not arrived yet. Aftercall is requesting it from ElevenLabs.",
            Some("unavailable") => "There is no transcript.",
            _ if call.row.status.is_none_or(Status::is_finished) => "There was no conversation.",
            _ => "There was no conversation yet.",
        },
        transcript_error: call.transcript_error.as_deref().map(text),
        turns: Turn::of_page(&call.turns, user, numbers),
        turns_total: call.turns_total as u64,
        shown: (skip + 1, last),
        earlier: (skip > 0).then(|| turns_at(skip.saturating_sub(TURNS_A_PAGE))),
        later: (last < call.turns_total && last > skip).then(|| turns_at(last)),
        audio: call.audio_file.is_some(),
        payloads: call.raw.iter().map(|(field, bytes)| (*field, format::bytes(*bytes))).collect(),
        whole_history: call.history.len() < HISTORY_LIMIT,
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

/// The address and the shown id of each of these conversations.
fn others(conversations: &[String], numbers: Numbers) -> Vec<(String, String)> {
    conversations.iter().map(|id| (address::of_call(id), format::id(id, numbers))).collect()
}

fn facts(call: &Detail, text: &dyn Fn(&str) -> String) -> Vec<(&'static str, String)> {
    let optional = [
        ("Status", Some(tone::status_text(call.row.status).to_owned())),
        ("Analysis", call.successful.as_deref().map(text)),
        ("Direction", call.direction.as_deref().map(text)),
        ("Channel", call.channel.as_deref().map(text)),
        ("Agent", call.agent_name.as_deref().map(text)),
        ("Agent's id", call.agent_id.as_deref().map(text)),
        ("Agent's number", call.agent_phone_number_id.as_deref().map(text)),
        ("Answered by", call.answered_by.as_deref().map(text)),
        ("Ended by", call.termination_reason.as_deref().map(text)),
        ("SIP code", call.sip_code.as_deref().map(|code| format::sip_code(&text(code)))),
        ("Duration", call.row.duration.map(format::talk_time)),
        ("Cost", call.cost.map(|credits| format!("{} credits", format::count(credits)))),
        ("Campaign", call.campaign_id.as_deref().map(text)),
        ("Created", Some(format::moment(call.row.created_at))),
        ("Last updated", call.updated_at.map(format::moment)),
    ];
    optional.into_iter().filter_map(|(name, fact)| Some((name, fact?))).collect()
}

fn deliveries(call: &Detail, numbers: Numbers) -> Option<String> {
    let row = &call.row;
    let id = row.call_id.as_deref().or(row.shared_call_id.as_deref()).or(row.conversation_id.as_deref())?;
    match numbers.id(id) {
        Cow::Borrowed(_) => Some(Params { call: id.to_owned(), ..Params::default() }.address()),
        Cow::Owned(_) => None,
    }
}

/// What was too large to be kept with the call.
fn left_out(call: &Detail) -> Vec<&'static str> {
    let parts =
        [("evaluation and collected data", &call.analysis), ("dynamic variables", &call.dynamic_variables)];
    parts.into_iter().filter(|(_, part)| size::is_left_out(part)).map(|(name, _)| name).collect()
}

/// What the caller gave to the agent: name and value.
fn variables(call: &Detail, numbers: Numbers) -> Vec<(String, String)> {
    if size::is_left_out(&call.dynamic_variables) {
        return Vec::new();
    }
    let plain = |value: &Value| value.as_str().map_or_else(|| value.to_string(), str::to_owned);
    let given = call.dynamic_variables.iter().filter(|(_, value)| !value.is_null()).take(MAX_VARIABLES);
    given
        .map(|(name, value)| {
            (format::sender_text(name, numbers), format::sender_text(&plain(value), numbers))
        })
        .collect()
}

/// How the call turned out, as one sentence.
fn told(call: &Detail, criteria: &[Criterion], now: Timestamp) -> String {
    let disposition = Disposition::of(call.row.status, call.row.outcome, call.row.created_at, now);
    let is_stuck = disposition == Disposition::Stuck;
    let missed = criteria.iter().filter(|criterion| criterion.verdict == Verdict::Missed);
    sentence(&Known {
        outcome: call.outcome,
        status: call.row.status,
        is_stuck,
        duration: call.row.duration,
        answered_by: call.answered_by.as_deref(),
        successful: call.successful.as_deref(),
        criteria_met: criteria.iter().filter(|criterion| criterion.verdict == Verdict::Met).count(),
        criteria_missed: missed.map(|criterion| criterion.name.as_str()).collect(),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ids_of_other_conversations_are_masked_like_all_ids() {
        let shown = |numbers| others(&["conv_+6581234567".to_owned()], numbers).remove(0).1;
        assert!(!shown(Numbers::Masked).contains("6581234567"), "{}", shown(Numbers::Masked));
        assert_eq!(shown(Numbers::Whole), "conv_+6581234567");
    }
}
