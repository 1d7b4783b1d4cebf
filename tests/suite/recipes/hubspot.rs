//! A call log in the CRM of the recipe `hubspot.py`.

use std::{collections::BTreeMap, sync::Mutex};

use serde_json::{Map, Value, json};

use super::{
    Receiver, call,
    stand_in::{Asked, StandIn},
};

/// The properties of a call that `HubSpot` has by default, and the own one. It refuses any other.
const PROPERTIES: [&str; 9] = [
    "aftercall_id",
    "hs_timestamp",
    "hs_call_title",
    "hs_call_body",
    "hs_call_direction",
    "hs_call_duration",
    "hs_call_from_number",
    "hs_call_to_number",
    "hs_call_status",
];
const STATUSES: [&str; 5] = ["BUSY", "CANCELED", "COMPLETED", "FAILED", "NO_ANSWER"];

/// The calls of an account, by the unique property `aftercall_id`.
#[derive(Default)]
struct Account(Mutex<BTreeMap<String, Map<String, Value>>>);

impl Account {
    /// Answers as the API of `HubSpot` does.
    fn answer(&self, asked: &Asked) -> (u16, Value) {
        let refused = |status, category: &str| (status, json!({ "status": "error", "category": category }));
        if asked.authorization != "Bearer pat-1" {
            return refused(401, "INVALID_AUTHENTICATION");
        }
        if asked.content_type != "application/json" {
            return refused(415, "VALIDATION_ERROR");
        }
        let mut calls = self.0.lock().unwrap();
        let properties = asked.body["properties"].as_object();
        let is_valid = properties.is_some_and(|properties| {
            let text = |name: &str| properties.get(name).and_then(Value::as_str).unwrap_or_default();
            properties.iter().all(|(name, value)| PROPERTIES.contains(&name.as_str()) && value.is_string())
                && text("hs_timestamp").parse::<jiff::Timestamp>().is_ok()
                && STATUSES.contains(&text("hs_call_status"))
                && ["INBOUND", "OUTBOUND"].contains(&text("hs_call_direction"))
                && text("hs_call_duration").parse::<u64>().is_ok()
        });
        match (asked.method.as_str(), asked.path.as_str()) {
            ("POST", "/crm/v3/objects/contacts/search") => {
                let groups = asked.body["filterGroups"].as_array().unwrap();
                let finds = groups.iter().any(|group| group["filters"][0]["value"] == "+12025550123");
                let found = if finds { json!([{ "id": "51", "properties": {} }]) } else { json!([]) };
                (200, json!({ "total": found.as_array().map(Vec::len), "results": found }))
            }
            ("POST", "/crm/v3/objects/calls") if is_valid => {
                let properties = properties.unwrap().clone();
                let id = properties["aftercall_id"].as_str().unwrap().to_owned();
                if calls.contains_key(&id) {
                    return refused(400, "VALIDATION_ERROR"); // The value of the unique property exists.
                }
                calls.insert(id, properties);
                (201, json!({ "id": "101", "properties": {} }))
            }
            ("PATCH", path) if is_valid => {
                let id = path.strip_prefix("/crm/v3/objects/calls/").unwrap();
                let id = id.strip_suffix("?idProperty=aftercall_id").unwrap();
                match calls.get_mut(id) {
                    Some(call) => {
                        call.extend(properties.unwrap().clone());
                        (200, json!({ "id": "101", "properties": {} }))
                    }
                    None => refused(404, "OBJECT_NOT_FOUND"),
                }
            }
            ("POST" | "PATCH", _) => refused(400, "VALIDATION_ERROR"),
            _ => refused(405, "METHOD_NOT_ALLOWED"),
        }
    }
}

pub async fn hubspot() -> StandIn {
    let account = Account::default();
    StandIn::start(move |asked| {
        let (status, answer) = account.answer(asked);
        (status, answer.to_string())
    })
    .await
}

#[tokio::test]
async fn call_that_is_over_has_one_log_on_its_contact() {
    let server = hubspot().await;
    let vars = [("HUBSPOT_URL", server.url.as_str()), ("HUBSPOT_TOKEN", "pat-1")];
    let recipe = Receiver::start("hubspot.py", &vars).await;
    assert_eq!(recipe.event("call.status", &call("answered")).await, 204);
    assert!(server.asked().is_empty(), "only the outcome is logged");
    // The same event twice, and then a later one.
    for _ in 0..2 {
        assert_eq!(recipe.event("call.outcome", &call("answered")).await, 204, "{}", recipe.log());
    }
    let mut later = call("voicemail");
    later["summary"] = "A machine answered.".into();
    assert_eq!(recipe.event("call.outcome", &later).await, 204, "{}", recipe.log());
    let asked = server.asked();
    let created: Vec<_> =
        asked.iter().filter(|asked| asked.method == "POST" && asked.path.ends_with("/calls")).collect();
    assert_eq!(created.len(), 1, "{asked:?}");
    let expected = json!({
        "aftercall_id": "CA0123456789abcdef0123456789abcdef", "hs_timestamp": "2026-11-24T08:00:00.000Z",
        "hs_call_title": "Call by Anna & <Ben>: answered", "hs_call_body": "", "hs_call_direction": "OUTBOUND",
        "hs_call_duration": "61000", "hs_call_from_number": "+15005550006", "hs_call_to_number": "+12025550123",
        "hs_call_status": "COMPLETED",
    });
    assert_eq!(created[0].body["properties"], expected);
    let association = json!([{ "to": { "id": "51" },
        "types": [{ "associationCategory": "HUBSPOT_DEFINED", "associationTypeId": 194 }] }]);
    assert_eq!(created[0].body["associations"], association);
    let updated = asked.last().unwrap();
    assert_eq!(
        (updated.method.as_str(), &updated.body["properties"]["hs_call_body"]),
        ("PATCH", &json!("A machine answered."))
    );
}

#[tokio::test]
async fn every_outcome_has_a_status_and_an_unknown_number_has_a_log_without_contact() {
    let server = hubspot().await;
    let vars = [("HUBSPOT_URL", server.url.as_str()), ("HUBSPOT_TOKEN", "pat-1")];
    let recipe = Receiver::start("hubspot.py", &vars).await;
    let outcomes = [
        "answered",
        "voicemail",
        "busy",
        "no_answer",
        "rejected",
        "unreachable",
        "canceled",
        "failed",
        "unknown",
    ];
    for outcome in outcomes {
        let call = json!({ "callId": outcome, "outcome": outcome, "createdAt": "2026-11-24T08:00:00.000Z", "toNumber": "+1" });
        assert_eq!(recipe.event("call.outcome", &call).await, 204, "{outcome}: {}", recipe.log());
    }
    let created = server.asked().into_iter().filter(|asked| asked.path.ends_with("/calls"));
    let statuses: Vec<_> = created
        .map(|asked| {
            assert_eq!(asked.body["associations"], json!([]));
            asked.body["properties"]["hs_call_status"].as_str().unwrap().to_owned()
        })
        .collect();
    let expected =
        ["COMPLETED", "COMPLETED", "BUSY", "NO_ANSWER", "FAILED", "FAILED", "CANCELED", "FAILED", "FAILED"];
    assert_eq!(statuses, expected);
}

#[tokio::test]
async fn refusal_of_hubspot_is_an_answer_that_is_repeated() {
    let server = hubspot().await;
    let vars = [("HUBSPOT_URL", server.url.as_str()), ("HUBSPOT_TOKEN", "revoked")];
    let recipe = Receiver::start("hubspot.py", &vars).await;
    assert_eq!(recipe.event("call.outcome", &call("answered")).await, 502);
    assert!(recipe.log().contains("HubSpot: HTTP Error 401"), "{}", recipe.log());
}
