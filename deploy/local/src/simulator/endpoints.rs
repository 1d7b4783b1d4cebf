//! The endpoints for calls, workspace webhooks, settings and agents. JSON has the vendor's shapes.

use std::{
    collections::HashMap,
    sync::{Arc, atomic::Ordering},
};

use hyper::Method;
use rand::RngExt as _;
use serde_json::{Value, json};

use super::{
    batches::{Batch, Recipient},
    calls::{Call, Member},
    conversation::error,
    generated, life,
    options::Carrier,
    registry::Registry,
    script::AudioAnswer,
    state::{State, lock},
};

/// The answer to a request.
pub(super) enum ApiResponse {
    Json(u16, Value),
    Audio(Vec<u8>),
    ScriptedAudio(AudioAnswer),
    /// No answer; the connection stays open.
    Hang,
}

/// A parsed request.
pub(super) struct ApiRequest {
    pub method: Method,
    pub path: String,
    pub query: HashMap<String, Vec<String>>,
    pub body: Value,
}

impl ApiRequest {
    fn text(&self, name: &str) -> Option<&str> {
        self.query.get(name)?.last().map(String::as_str)
    }

    fn number(&self, name: &str) -> Option<i64> {
        self.text(name)?.parse().ok()
    }
}

/// Answers the request. `None`: the request is for a scripted conversation or an unknown path.
pub(super) async fn answer(state: &Arc<State>, request: &ApiRequest) -> Option<ApiResponse> {
    let path: Vec<&str> = request.path.trim_start_matches('/').split('/').collect();
    let registry = || lock(&state.registry);
    let response = match (&request.method, &path[..]) {
        (&Method::POST, ["v1", "convai", "twilio", "outbound-call"]) => {
            dial(state, request, Carrier::Twilio).await
        }
        (&Method::POST, ["v1", "convai", "sip-trunk", "outbound-call"]) => {
            dial(state, request, Carrier::Sip).await
        }
        (&Method::POST, ["v1", "convai", "exotel", "outbound-call"]) => {
            dial(state, request, Carrier::Exotel).await
        }
        (&Method::POST, ["v1", "convai", "whatsapp", "outbound-call"]) => {
            dial(state, request, Carrier::WhatsApp).await
        }
        (&Method::POST, ["v1", "convai", "batch-calling", "submit"]) => submit_batch(state, &request.body),
        (&Method::GET, ["v1", "convai", "batch-calling", id]) => batch(state, id),
        (&Method::GET, ["v1", "convai", "conversations"]) => list(state, request),
        (&Method::GET, ["v1", "convai", "conversations", id]) => {
            let sent = || Some(generated::of_id(id)?.conversation);
            let served = || Some(lock(&state.served).get(*id)?.conversation.clone());
            ApiResponse::Json(200, state.call(id).map(|call| call.detail()).or_else(served).or_else(sent)?)
        }
        (&Method::GET, ["v1", "convai", "conversations", id, "audio"]) => audio(state, id),
        (&Method::GET, ["v1", "workspace", "webhooks"]) => {
            ApiResponse::Json(200, json!({ "webhooks": registry().list(false) }))
        }
        (&Method::POST, ["v1", "workspace", "webhooks"]) => {
            create(&mut registry(), &request.body["settings"])
        }
        (&Method::PATCH, ["v1", "workspace", "webhooks", id]) => patch(&mut registry(), id, &request.body),
        (&Method::DELETE, ["v1", "workspace", "webhooks", id]) => {
            if registry().remove(id) {
                ok()
            } else {
                not_found()
            }
        }
        (&Method::GET, ["v1", "convai", "settings"]) => ApiResponse::Json(200, registry().settings()),
        (&Method::PATCH, ["v1", "convai", "settings"]) => {
            let mut registry = registry();
            if registry.change_settings(&request.body) {
                ApiResponse::Json(200, registry.settings())
            } else {
                unprocessable("webhooks")
            }
        }
        (_, ["v1", "convai", "agents", ..]) if state.refuses_agents.load(Ordering::Relaxed) => {
            ApiResponse::Json(403, error(403))
        }
        (&Method::GET, ["v1", "convai", "agents"]) => list_agents(&registry(), request),
        (_, ["v1", "convai", "agents", "agent_missing"]) => not_found(),
        (&Method::GET, ["v1", "convai", "agents", id]) => ApiResponse::Json(200, registry().agent(id)),
        (&Method::PATCH, ["v1", "convai", "agents", id]) => {
            let mut registry = registry();
            if registry.change_agent(id, &request.body) {
                ApiResponse::Json(200, registry.agent(id))
            } else {
                unprocessable("platform_settings")
            }
        }
        _ => return None,
    };
    Some(response)
}

/// The recording of a conversation.
fn audio(state: &State, id: &str) -> ApiResponse {
    let scripted = lock(&state.scripts).next_audio(id);
    match (scripted, state.call(id)) {
        (Some(AudioAnswer::Status(status)), _) => ApiResponse::Json(status, error(status)),
        (Some(answer), _) => ApiResponse::ScriptedAudio(answer),
        (None, Some(call)) if call.status() == "done" => ApiResponse::Audio(life::recording(call.seconds)),
        (None, Some(_)) => not_found(),
        (None, None) => {
            let served = lock(&state.served);
            let conversation = served.get(id).map(|served| &served.conversation);
            let Some(conversation) = conversation.filter(|conversation| conversation["has_audio"] == true)
            else {
                return not_found();
            };
            let seconds = conversation["metadata"]["call_duration_secs"].as_i64();
            ApiResponse::Audio(life::recording(seconds.unwrap_or_default()))
        }
    }
}

/// Places a call, or injects a fault.
async fn dial(state: &Arc<State>, request: &ApiRequest, carrier: Carrier) -> ApiResponse {
    let faults = state.faults();
    if request.body["agent_id"] == "agent_missing" {
        return not_found();
    }
    if request.body["agent_id"] == "agent_foreign" {
        return ApiResponse::Json(403, error(403)); // The agent belongs to another workspace; the API key is valid.
    }
    let fails = state.happens(faults.fail);
    if fails && state.happens(0.5) {
        return ApiResponse::Json(500, error(500));
    }
    if state.happens(faults.hang_before_dial) {
        return ApiResponse::Hang;
    }
    if state.happens(faults.refuse) {
        return placed(carrier, false, "simulated refusal", None);
    }
    let call = match new_call(state, &request.body, carrier, None) {
        Ok(call) => call,
        Err(missing) => return unprocessable(missing),
    };
    let id = call.dialled.conversation_id.clone();
    if call.fails_at_once() {
        life::fail_at_once(state, &id).await;
    } else {
        state.spawn(life::run(state.clone(), id));
    }
    if fails {
        return ApiResponse::Json(500, error(500));
    }
    if state.happens(faults.hang_after_dial) {
        return ApiResponse::Hang;
    }
    placed(carrier, true, "simulated: dialling", Some(&call))
}

/// Adds the call that `request` places. Fails with the name of a parameter that is missing.
fn new_call(
    state: &State,
    request: &Value,
    carrier: Carrier,
    member: Option<Member>,
) -> Result<Call, &'static str> {
    let drawn = lock(&state.rng).random_range(0..1_000_000);
    let mut calls = lock(&state.calls);
    let call = Call { member, ..Call::new(request, carrier, calls.len(), drawn)? };
    calls.push(call.clone());
    Ok(call)
}

/// `POST /v1/convai/batch-calling/submit`
fn submit_batch(state: &Arc<State>, request: &Value) -> ApiResponse {
    let Some(name) = request["call_name"].as_str() else { return unprocessable("call_name") };
    let Some(recipients) = request["recipients"].as_array() else { return unprocessable("recipients") };
    let batch_number = lock(&state.batches).len();
    let mut batch = Batch {
        id: format!("btcal_sim{batch_number}"),
        name: name.to_owned(),
        agent_id: request["agent_id"].clone(),
        number_id: request["agent_phone_number_id"].clone(),
        began: jiff::Timestamp::now(),
        recipients: Vec::new(),
    };
    for (n, recipient) in recipients.iter().enumerate() {
        let Some(number) = recipient["phone_number"].as_str() else { return unprocessable("phone_number") };
        let id =
            recipient["id"].as_str().map_or_else(|| format!("rcpt_sim{batch_number}n{n}"), str::to_owned);
        let client_data = recipient["conversation_initiation_client_data"].clone();
        let mut recipient = Recipient { id, number: number.to_owned(), client_data, conversation_id: None };
        if !recipient.stays_undialled() {
            match dial_recipient(state, &batch, &recipient) {
                Ok(conversation) => recipient.conversation_id = Some(conversation),
                Err(missing) => return unprocessable(missing),
            }
        }
        batch.recipients.push(recipient);
    }
    let summary = batch.json(&lock(&state.calls));
    lock(&state.batches).push(batch);
    ApiResponse::Json(200, summary)
}

/// `GET /v1/convai/batch-calling/{id}`
fn batch(state: &State, id: &str) -> ApiResponse {
    let batches = lock(&state.batches);
    match batches.iter().find(|batch| batch.id == id) {
        Some(batch) => ApiResponse::Json(200, batch.detail(&lock(&state.calls))),
        None => lock(&state.served_batches)
            .get(id)
            .map_or_else(not_found, |batch| ApiResponse::Json(200, batch.clone())),
    }
}

/// Dials a recipient. Returns the conversation.
fn dial_recipient(state: &Arc<State>, batch: &Batch, recipient: &Recipient) -> Result<String, &'static str> {
    let request = json!({
        "agent_id": batch.agent_id, "agent_phone_number_id": batch.number_id, "to_number": recipient.number,
        "conversation_initiation_client_data": recipient.client_data,
    });
    let member = Member { batch_id: batch.id.clone(), recipient_id: recipient.id.clone() };
    let call = new_call(state, &request, Carrier::Twilio, Some(member))?;
    let id = call.dialled.conversation_id;
    state.spawn(life::run(state.clone(), id.clone()));
    Ok(id)
}

fn placed(carrier: Carrier, success: bool, message: &str, call: Option<&Call>) -> ApiResponse {
    let key = match carrier {
        Carrier::Twilio | Carrier::Exotel => Some("callSid"),
        Carrier::Sip => Some("sip_call_id"),
        Carrier::WhatsApp => None,
    };
    let call = call.map(|call| &call.dialled);
    let conversation_id = call.map(|call| &call.conversation_id);
    let mut answer = json!({ "success": success, "message": message, "conversation_id": conversation_id });
    if let Some(key) = key {
        answer[key] = json!(call.map(|call| &call.call_sid));
    }
    ApiResponse::Json(200, answer)
}

/// A page of conversations, newest first unless `sort_direction` is `asc`.
fn list(state: &State, request: &ApiRequest) -> ApiResponse {
    let size = request.number("page_size").unwrap_or(30);
    if !(1..=100).contains(&size) {
        return unprocessable("page_size");
    }
    let (after, before) = (request.number("call_start_after_unix"), request.number("call_start_before_unix"));
    let excluded = request.query.get("exclude_statuses").cloned().unwrap_or_default();
    let served = lock(&state.served);
    let mut found: Vec<_> = lock(&state.calls).iter().map(Call::summary).collect();
    found.extend(served.values().filter_map(|served| served.summary.clone()));
    let begin = |summary: &Value| summary["start_time_unix_secs"].as_i64().unwrap_or(0);
    found.retain(|summary| {
        after.is_none_or(|after| begin(summary) >= after)
            && before.is_none_or(|before| begin(summary) <= before)
            && request.text("agent_id").is_none_or(|agent| summary["agent_id"] == agent)
            && !excluded.iter().any(|status| summary["status"] == *status)
    });
    found.sort_by_key(begin);
    if request.text("sort_direction") != Some("asc") {
        found.reverse();
    }
    page("conversations", &found, request, size)
}

/// A page of agents.
fn list_agents(registry: &Registry, request: &ApiRequest) -> ApiResponse {
    let size = request.number("page_size").unwrap_or(30);
    if !(1..=100).contains(&size) {
        return unprocessable("page_size");
    }
    page("agents", &registry.list_agents(), request, size)
}

/// The page of `found` that `request` asks for. The cursor is the number of items on earlier pages.
fn page(name: &str, found: &[Value], request: &ApiRequest, size: i64) -> ApiResponse {
    let from = request.number("cursor").and_then(|cursor| usize::try_from(cursor).ok()).unwrap_or(0);
    let page: Vec<_> = found.iter().skip(from).take(usize::try_from(size).unwrap_or(30)).collect();
    let has_more = from + page.len() < found.len();
    let next = has_more.then(|| (from + page.len()).to_string());
    ApiResponse::Json(200, json!({ name: page, "next_cursor": next, "has_more": has_more }))
}

fn create(registry: &mut Registry, settings: &Value) -> ApiResponse {
    let (Some(name), Some(url)) = (settings["name"].as_str(), settings["webhook_url"].as_str()) else {
        return unprocessable("settings");
    };
    let webhook = registry.create(name, url, &settings["request_headers"], None);
    ApiResponse::Json(200, json!({ "webhook_id": webhook.id, "webhook_secret": webhook.secret }))
}

fn patch(registry: &mut Registry, id: &str, body: &Value) -> ApiResponse {
    let (Some(name), Some(is_disabled)) = (body["name"].as_str(), body["is_disabled"].as_bool()) else {
        return unprocessable("name");
    };
    let Some(webhook) = registry.find(id) else { return not_found() };
    (webhook.name, webhook.is_disabled) = (name.to_owned(), is_disabled);
    webhook.retry_enabled = body["retry_enabled"].as_bool().unwrap_or(webhook.retry_enabled);
    if let Some(headers) = body["request_headers"].as_object() {
        let headers = headers.iter();
        webhook.headers = headers
            .map(|(name, value)| (name.clone(), value.as_str().unwrap_or_default().to_owned()))
            .collect();
    }
    ok()
}

fn ok() -> ApiResponse {
    ApiResponse::Json(200, json!({ "status": "ok" }))
}

fn not_found() -> ApiResponse {
    ApiResponse::Json(404, error(404))
}

/// The error body of `FastAPI` for a missing parameter.
fn unprocessable(parameter: &str) -> ApiResponse {
    let detail = json!({ "loc": ["body", parameter], "msg": "Field required", "type": "missing" });
    ApiResponse::Json(422, json!({ "detail": [detail] }))
}
