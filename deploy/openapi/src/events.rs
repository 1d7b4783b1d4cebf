//! The webhooks that Aftercall sends to endpoints, and the answer to a webhook that it receives.

use aftercall_worker::{
    domain::delivery::EventType,
    store::{Include, json_fields},
};
use utoipa::openapi::{
    ContentBuilder, HttpMethod, Object, PathItem, Paths, PathsBuilder, RefOr, Required, ResponseBuilder,
    ResponsesBuilder, Schema, path::OperationBuilder, request_body::RequestBodyBuilder,
};

use crate::{
    call::call,
    parameters,
    schema::{named, number, object, or_null, text, time, truth, word},
};

/// Every schema of this module with its name.
pub fn schemas() -> Vec<(&'static str, RefOr<Schema>)> {
    let summary = "A call without turns and payloads. The event of an erased call has its ids alone.";
    vec![
        ("Accepted", accepted().into()),
        ("CallEvent", event().into()),
        ("CallSummary", call(summary, json_fields(Include::NONE)).into()),
    ]
}

/// The webhooks by their types.
pub fn webhooks() -> Paths {
    let webhooks = EventType::ALL.into_iter().map(|event| (event.as_str(), event.meaning()));
    webhooks
        .fold(PathsBuilder::new(), |paths, (name, meaning)| paths.path(name, webhook(name, meaning)))
        .build()
}

fn webhook(name: &str, meaning: &str) -> PathItem {
    let content = ContentBuilder::new().schema(Some(named("CallEvent"))).build();
    let body = RequestBodyBuilder::new().content("application/json", content).required(Some(Required::True));
    let any = "Any 2xx: the event has arrived. Other answers are repeated; 410 disables the endpoint.";
    let operation = OperationBuilder::new()
        .operation_id(Some(name.replace('.', "_")))
        .summary(Some(meaning))
        .description(Some("Signed by the Standard Webhooks specification."))
        .parameter(parameters::header("webhook-id", text("The same for each repetition.")))
        .parameter(parameters::header("webhook-timestamp", text("Seconds since 1970.")))
        .parameter(parameters::header("webhook-signature", text("`v1,…`, one for each valid secret.")))
        .request_body(Some(body.build()))
        .responses(ResponsesBuilder::new().response("2XX", ResponseBuilder::new().description(any)));
    PathItem::new(HttpMethod::Post, operation)
}

fn event() -> Object {
    object("Something happened to a call.")
        .property("type", word("What happened.", EventType::ALL.map(EventType::as_str)))
        .property("timestamp", time("When the call changed."))
        .property("data", named("CallSummary"))
        .required("type")
        .required("timestamp")
        .required("data")
        .build()
}

fn accepted() -> Object {
    let sequence = number("Place in the stream. `null` while the webhook waits in the spool of the gateway.");
    object("A webhook is stored durably.")
        .property("accepted", truth("Always `true`."))
        .property("id", text("Id of the webhook."))
        .property("sequence", or_null(sequence.build()))
        .property("duplicate", truth("The same webhook was stored before."))
        .property("spooled", truth("The spool of the gateway has stored it."))
        .required("accepted")
        .required("id")
        .required("sequence")
        .required("duplicate")
        .build()
}
