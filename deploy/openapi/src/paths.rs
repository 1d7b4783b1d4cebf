//! The operations of the public listener.

use aftercall_common::contract::{agent_calls::Refusal, provider::Provider};
use aftercall_ingest::http::{problem::Problem, routes::Route};
use utoipa::openapi::{
    ContentBuilder, HttpMethod, Object, Paths, PathsBuilder, RefOr, Required, ResponseBuilder,
    ResponsesBuilder, Schema,
    header::HeaderBuilder,
    path::{Operation, OperationBuilder},
    request_body::{RequestBody, RequestBodyBuilder},
};

use crate::{
    parameters,
    problems::{self, Errors, request_id},
    schema::{anything, named, open_object, text},
    security,
};

const JSON: &str = "application/json";
const WEBHOOKS: &str = "Webhooks";
const CALLS: &str = "Calls";
/// Problems of the path or the query of a request that reads.
const OF_READING: [Problem; 1] = [Problem::InvalidRequest];
/// Problems of a request with JSON about a call.
const OF_JSON: [Problem; 2] = [Problem::UnsupportedMediaType, Problem::InvalidJson];

/// Every operation.
pub fn paths() -> Paths {
    let mut paths = PathsBuilder::new().build();
    for route in Route::all() {
        for (method, operation) in operations(route) {
            paths.add_path_operation(route.path(), vec![method], operation);
        }
    }
    paths
}

/// The operations of a route. `HEAD` and `OPTIONS` follow from HTTP.
fn operations(route: Route) -> Vec<(HttpMethod, Operation)> {
    match route {
        Route::Webhook(Provider::ElevenLabs) => vec![(HttpMethod::Post, elevenlabs())],
        Route::Webhook(Provider::Twilio) => {
            vec![(HttpMethod::Get, twilio_query()), (HttpMethod::Post, twilio())]
        }
        Route::AgentCallStatus => vec![(HttpMethod::Post, state())],
        Route::AgentCalls => vec![(HttpMethod::Post, place())],
        Route::AgentCallList => vec![(HttpMethod::Get, calls())],
        Route::AgentCall => vec![(HttpMethod::Get, one())],
        Route::AgentCallTranscript => vec![(HttpMethod::Get, turns())],
        Route::AgentCallAudio => vec![(HttpMethod::Get, recording())],
        Route::OpenApi => vec![(HttpMethod::Get, description())],
        Route::Unknown => Vec::new(),
    }
}

fn elevenlabs() -> Operation {
    let webhook =
        "An event: the envelope of ElevenLabs, or the flat form with `event_type` and an id of the call.";
    webhook_operation("postElevenLabsWebhook", "Stores a webhook of ElevenLabs or of your own dialler.")
        .request_body(Some(json_body(open_object(webhook).build())))
        .responses(accepted(Problem::InvalidJson))
        .securities(Some(security::of_elevenlabs()))
        .build()
}

fn twilio() -> Operation {
    let name =
        text("Name of a parameter.").pattern(Some("^([A-Za-z][A-Za-z0-9_]*|SipHeader_[A-Za-z0-9_-]*)$"));
    let form = open_object("The parameters of a callback, such as `CallSid` and `CallStatus`.")
        .property_names(Some(name.build()))
        .additional_properties(Some(Schema::from(text("A value."))))
        .property("CallSid", call_sid())
        .required("CallSid");
    let body = RequestBodyBuilder::new()
        .content("application/x-www-form-urlencoded", ContentBuilder::new().schema(Some(form)).build())
        .required(Some(Required::True));
    webhook_operation("postTwilioCallback", "Stores a status callback of Twilio.")
        .request_body(Some(body.build()))
        .responses(accepted(Problem::InvalidForm))
        .securities(Some(security::of_twilio()))
        .build()
}

/// The same callback with its form in the query of the URL.
fn twilio_query() -> Operation {
    webhook_operation(
        "getTwilioCallback",
        "Stores a status callback of Twilio that has its parameters in the query.",
    )
    .parameter(parameters::required_query("CallSid", call_sid()))
    .responses(accepted(Problem::InvalidForm))
    .securities(Some(security::of_twilio()))
    .build()
}

fn call_sid() -> Object {
    text("Id of the call.").pattern(Some("^[A-Za-z0-9]{1,34}$")).build()
}

fn webhook_operation(id: &str, summary: &str) -> OperationBuilder {
    OperationBuilder::new().operation_id(Some(id)).tag(WEBHOOKS).summary(Some(summary))
}

/// The answers to a webhook. `malformed`: the problem of a body of another form.
fn accepted(malformed: Problem) -> ResponsesBuilder {
    let other_form = |problem: &Problem| {
        matches!(problem, Problem::InvalidJson | Problem::InvalidForm) && *problem != malformed
    };
    let of_route = |problem: &Problem| {
        problem.is_of_webhooks() && *problem != Problem::MethodNotAllowed && !other_form(problem)
    };
    let problems: Vec<_> = Problem::ALL.iter().copied().filter(of_route).collect();
    let errors = Errors::new([problems.as_slice()]);
    errors.add_to(success("200", "The webhook is stored durably.", JSON, named("Accepted")))
}

fn state() -> Operation {
    let errors = Errors::new([&problems::OF_BODIES[..], &OF_JSON, &problems::OF_CALLS]).with_refusals(&[
        Refusal::InvalidRequest,
        Refusal::NoIdentifier,
        Refusal::NotFound,
        Refusal::ElevenLabsUnavailable,
        Refusal::DatabaseUnavailable,
    ]);
    operation("getCallState", "The current state of a call. ElevenLabs is asked if the stored state is old.")
        .request_body(Some(json_body(named("CallQuestion"))))
        .responses(errors.add_to(success("200", "The state.", JSON, named("CallState"))))
        .securities(Some(security::of_readers()))
        .build()
}

fn place() -> Operation {
    let problems =
        [&problems::OF_BODIES[..], &OF_JSON, &OF_READING, &problems::OF_CALLS, &[Problem::OutcomeUnknown]];
    let errors = Errors::new(problems).with_refusals(&[
        Refusal::InvalidRequest,
        Refusal::IdempotencyConflict,
        Refusal::InProgress,
        Refusal::CallRefused,
        Refusal::ElevenLabsUnauthorized,
        Refusal::PaymentRequired,
        Refusal::AgentOrNumberNotFound,
        Refusal::CallInvalid,
        Refusal::RateLimited,
        Refusal::ElevenLabsUnavailable,
        Refusal::ElevenLabsNotConfigured,
        Refusal::DatabaseUnavailable,
        Refusal::OutcomeUnknown,
    ]);
    let key = text("Makes a repetition safe: two requests with the same key place one call.")
        .pattern(Some("^[!-~]{1,255}$"));
    let placed = answer("The call is placed.", JSON, named("PlacedCall"))
        .header("Location", HeaderBuilder::new().schema(Some(text("The path of the call."))).build())
        .header(
            "Idempotent-Replayed",
            HeaderBuilder::new()
                .schema(Some(text("`true`: an earlier request with the same key placed the call.")))
                .build(),
        );
    operation("placeCall", "Places a call through ElevenLabs, at most once.")
        .parameter(parameters::header("Idempotency-Key", key))
        .request_body(Some(json_body(named("Placement"))))
        .responses(errors.add_to(ResponsesBuilder::new().response("201", placed)))
        .securities(Some(security::of_placing()))
        .build()
}

fn calls() -> Operation {
    let description =
        "The newest call first. `metadata.NAME=` filters by a text that was given when the call was placed.";
    let errors = Errors::new([&OF_READING[..], &problems::OF_CALLS])
        .with_refusals(&[Refusal::InvalidRequest, Refusal::DatabaseUnavailable]);
    operation("listCalls", "A page of calls.")
        .description(Some(description))
        .parameters(Some(parameters::of_list()))
        .responses(errors.add_to(success("200", "A page.", JSON, named("CallList"))))
        .securities(Some(security::of_readers()))
        .build()
}

fn one() -> Operation {
    let errors = Errors::new([&OF_READING[..], &problems::OF_CALLS]).with_refusals(&[
        Refusal::InvalidRequest,
        Refusal::NotFound,
        Refusal::DatabaseUnavailable,
    ]);
    let responses = ResponsesBuilder::new()
        .response("200", tagged(answer("The call.", JSON, named("Call"))))
        .response("304", not_modified());
    operation("getCall", "One call as it is stored.")
        .parameter(parameters::id())
        .parameter(parameters::include())
        .parameter(parameters::header("If-None-Match", text("An earlier `ETag`.")))
        .responses(errors.add_to(responses))
        .securities(Some(security::of_readers()))
        .build()
}

fn turns() -> Operation {
    let responses = ResponsesBuilder::new()
        .response("200", tagged(answer("The turns.", JSON, named("Turns"))))
        .response("304", not_modified());
    content_operation("getTranscript", "The turns of a call, of any size.")
        .responses(content_errors(&[Refusal::NoTranscript], &[]).add_to(responses))
        .build()
}

fn recording() -> Operation {
    let audio = || anything("The recording as MP3.").content_media_type("audio/mpeg").build();
    let length = || {
        HeaderBuilder::new()
            .schema(Some(text("The bytes of the answer, and the size of the recording.")))
            .build()
    };
    let responses = ResponsesBuilder::new()
        .response("200", tagged(answer("The recording.", "audio/mpeg", audio())))
        .response(
            "206",
            tagged(answer("The requested range.", "audio/mpeg", audio())).header("Content-Range", length()),
        )
        .response("304", not_modified());
    content_operation("getRecording", "The recording of a call.")
        .parameter(parameters::header("Range", text("`bytes=FIRST-LAST`")))
        .parameter(parameters::header(
            "If-Range",
            text("The `ETag` of the recording of which a range is wanted."),
        ))
        .responses(content_errors(&[Refusal::NoRecording], &[Problem::RangeNotSatisfiable]).add_to(responses))
        .build()
}

fn content_operation(id: &str, summary: &str) -> OperationBuilder {
    operation(id, summary)
        .parameter(parameters::id())
        .parameter(parameters::header("If-None-Match", text("An earlier `ETag`.")))
        .securities(Some(security::of_readers()))
}

fn content_errors(missing: &[Refusal], problems: &[Problem]) -> Errors {
    let common =
        [Refusal::InvalidRequest, Refusal::NotFound, Refusal::ContentChanged, Refusal::DatabaseUnavailable];
    Errors::new([&OF_READING[..], &problems::OF_CALLS, problems])
        .with_refusals(&common)
        .with_refusals(missing)
}

fn description() -> Operation {
    operation("getOpenApi", "This document.")
        .responses(Errors::new([]).add_to(success(
            "200",
            "This document.",
            JSON,
            open_object("OpenAPI 3.1."),
        )))
        .securities(Some([]))
        .build()
}

fn operation(id: &str, summary: &str) -> OperationBuilder {
    OperationBuilder::new().operation_id(Some(id)).tag(CALLS).summary(Some(summary))
}

fn json_body(schema: impl Into<RefOr<Schema>>) -> RequestBody {
    let content = ContentBuilder::new().schema(Some(schema)).build();
    RequestBodyBuilder::new().content(JSON, content).required(Some(Required::True)).build()
}

fn success(
    status: &str,
    description: &str,
    media_type: &str,
    schema: impl Into<RefOr<Schema>>,
) -> ResponsesBuilder {
    ResponsesBuilder::new().response(status, answer(description, media_type, schema))
}

fn answer(description: &str, media_type: &str, schema: impl Into<RefOr<Schema>>) -> ResponseBuilder {
    ResponseBuilder::new()
        .description(description)
        .content(media_type, ContentBuilder::new().schema(Some(schema)).build())
        .header("X-Request-Id", request_id())
}

fn not_modified() -> ResponseBuilder {
    tagged(
        ResponseBuilder::new()
            .description("The version of `If-None-Match` is current.")
            .header("X-Request-Id", request_id()),
    )
}

fn tagged(answer: ResponseBuilder) -> ResponseBuilder {
    answer.header("ETag", HeaderBuilder::new().schema(Some(text("The version."))).build())
}
