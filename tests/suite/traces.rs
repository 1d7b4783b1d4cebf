//! Traces: a webhook is one trace, from the request to the document and the transcript, across gateway and
//! worker.

use std::{
    collections::BTreeMap,
    convert::Infallible,
    sync::{Arc, Mutex},
};

use aftercall_local::process::Signal;
use http_body_util::{BodyExt as _, Full};
use hyper::{Request, Response, body::Incoming, service::service_fn};
use mongodb::bson::doc;
use opentelemetry_proto::tonic::{
    collector::trace::v1::{ExportTraceServiceRequest, ExportTraceServiceResponse},
    common::v1::any_value::Value as Any,
};
use prost::Message as _;
use serde_json::json;
use tokio::net::TcpListener;
use tokio_util::{sync::CancellationToken, task::TaskTracker};

use crate::harness::{CALL_STATUS, TestStack, until};

const TRACE: &str = "4bf92f3577b34da6a3ce929d0e0e4736";
const PARENT: &str = "00f067aa0ba902b7";

/// A span that the collector received.
#[derive(Clone, Debug)]
struct Span {
    service: String,
    name: String,
    trace: String,
    id: String,
    parent: String,
    failed: bool,
    whole: String,
}

/// A collector of traces that speaks OTLP over HTTP.
struct Collector {
    url: String,
    spans: Arc<Mutex<Vec<Span>>>,
    stop: CancellationToken,
}

impl Drop for Collector {
    fn drop(&mut self) {
        self.stop.cancel();
    }
}

impl Collector {
    async fn start() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}", listener.local_addr().unwrap());
        let (spans, stop) = (Arc::default(), CancellationToken::new());
        let tasks = TaskTracker::new();
        tasks.clone().spawn(stop.clone().run_until_cancelled_owned({
            let spans = Arc::clone(&spans);
            async move {
                while let Ok((socket, _)) = listener.accept().await {
                    let spans = Arc::clone(&spans);
                    let service = service_fn(move |request| answer(request, Arc::clone(&spans)));
                    tasks.spawn(
                        hyper::server::conn::http1::Builder::new()
                            .serve_connection(hyper_util::rt::TokioIo::new(socket), service),
                    );
                }
            }
        }));
        Self { url, spans, stop }
    }

    /// The spans of one trace.
    fn of(&self, trace: &str) -> Vec<Span> {
        self.spans.lock().unwrap().iter().filter(|span| span.trace == trace).cloned().collect()
    }

    /// The spans of one trace, by name, once `names` are among them.
    async fn until(&self, trace: &str, names: &[&str]) -> BTreeMap<String, Span> {
        until(&format!("the spans {names:?}"), async || {
            let spans: BTreeMap<_, _> =
                self.of(trace).into_iter().map(|span| (span.name.clone(), span)).collect();
            names.iter().all(|name| spans.contains_key(*name)).then_some(spans)
        })
        .await
    }
}

async fn answer(
    request: Request<Incoming>,
    spans: Arc<Mutex<Vec<Span>>>,
) -> Result<Response<Full<bytes::Bytes>>, Infallible> {
    assert_eq!(request.uri().path(), "/v1/traces");
    let body = request.into_body().collect().await.unwrap().to_bytes();
    let message = ExportTraceServiceRequest::decode(body).unwrap();
    for resource in message.resource_spans {
        let attributes = resource.resource.unwrap().attributes;
        let service = attributes.iter().find(|attribute| attribute.key == "service.name").unwrap();
        let Some(Any::StringValue(service)) = service.value.clone().unwrap().value else { panic!("no name") };
        for span in resource.scope_spans.into_iter().flat_map(|scope| scope.spans) {
            assert!(span.end_time_unix_nano >= span.start_time_unix_nano);
            spans.lock().unwrap().push(Span {
                service: service.clone(),
                name: span.name.clone(),
                trace: hex::encode(&span.trace_id),
                id: hex::encode(&span.span_id),
                parent: hex::encode(&span.parent_span_id),
                failed: span.status.as_ref().is_some_and(|status| status.code == 2),
                whole: format!("{span:?}"),
            });
        }
    }
    Ok(Response::new(Full::from(ExportTraceServiceResponse::default().encode_to_vec())))
}

async fn stack(collector: &Collector) -> TestStack {
    // Spans are exported after 100 ms, so that the tests do not wait for them.
    let (endpoint, soon) = ("OTEL_EXPORTER_OTLP_ENDPOINT", "OTEL_BSP_SCHEDULE_DELAY");
    let [gateway, worker] = ["aftercall_ingest=debug", "aftercall_worker=debug"];
    let setup = TestStack::builder().gateway_env(endpoint, &collector.url).gateway_env(soon, "100");
    let setup = setup.worker_env(endpoint, &collector.url).worker_env(soon, "100");
    setup.gateway_env("RUST_LOG", gateway).worker_env("RUST_LOG", worker).start().await
}

#[tokio::test]
async fn webhook_is_one_trace_from_the_request_to_the_transcript() {
    let collector = Collector::start().await;
    let stack = stack(&collector).await;
    let body = json!({
        "event_type": "call.completed", "call_id": "c", "conversation_id": "v", "to_number": "+15005550006",
    });
    let request = stack.http.post(format!("{}{CALL_STATUS}", stack.base)).body(body.to_string());
    let answer = stack.send(request.header("traceparent", format!("00-{TRACE}-{PARENT}-01"))).await;
    assert_eq!(answer.status, 200);
    stack.until_call("c", doc! { "transcriptState": "saved" }).await;
    #[rustfmt::skip]
    let wanted = [ // span, service, the span it is part of
        ("POST /api/webhooks/elevenlabs/call-status", "aftercall-ingest", ""),
        ("send webhooks.elevenlabs.call-status",      "aftercall-ingest", "POST /api/webhooks/elevenlabs/call-status"),
        ("process WEBHOOKS",                          "aftercall-worker", "send webhooks.elevenlabs.call-status"),
        ("process TRANSCRIPTS",                       "aftercall-worker", "process WEBHOOKS"),
        ("GET /v1/convai/conversations/{id}",         "aftercall-worker", "process TRANSCRIPTS"),
        ("update agent_calls",                        "aftercall-worker", ""),
    ];
    let names: Vec<_> = wanted.iter().map(|(name, _, _)| *name).collect();
    let spans = collector.until(TRACE, &names).await;
    for (name, service, parent) in wanted {
        let span = &spans[name];
        assert_eq!(span.service, service, "{name}");
        assert!(!span.failed, "{name}");
        if let Some(parent) = spans.get(parent) {
            assert_eq!(span.parent, parent.id, "{name}");
        }
    }
    assert_eq!(spans[names[0]].parent, PARENT, "the span of the sender");
    // Two writes: the status, in the span of the webhook, and the transcript, in the span of the job.
    let writes = until("two writes", async || {
        let writes: Vec<_> =
            collector.of(TRACE).into_iter().filter(|span| span.name == "update agent_calls").collect();
        (writes.len() == 2).then_some(writes)
    })
    .await;
    let parents = [&spans["process WEBHOOKS"].id, &spans["process TRANSCRIPTS"].id];
    assert!(parents.iter().all(|parent| writes.iter().any(|write| &&write.parent == parent)));

    for (log, line) in [
        (stack.gateway.log(), "webhook stored"),
        (stack.workers[0].log(), "event applied"),
        (stack.workers[0].log(), "transcript saved"),
    ] {
        let line = log.lines().find(|shown| shown.contains(line)).unwrap();
        assert!(line.contains(TRACE), "{line}");
    }
    let all: String = collector.of(TRACE).iter().map(|span| span.whole.as_str()).collect();
    assert!(!all.contains("5005550006"), "a trace contains a telephone number");
}

#[tokio::test]
async fn lookup_is_one_trace_and_a_refusal_is_marked() {
    let collector = Collector::start().await;
    let mut stack = stack(&collector).await;
    let request = stack.http.post(format!("{}/api/agent-calls/status", stack.base));
    let request = request.body(json!({ "callSid": "nobody" }).to_string());
    let answer = stack.send(request.header("traceparent", format!("00-{TRACE}-{PARENT}-01"))).await;
    assert_eq!(answer.status, 404);
    let names = ["POST /api/agent-calls/status", "process agent-calls.status"];
    let spans = collector.until(TRACE, &names).await;
    assert_eq!(spans[names[1]].parent, spans[names[0]].id);
    assert!(names.iter().all(|name| spans[*name].failed));

    // A trace that the sender does not sample is not exported. Its id is in the logs.
    let other = TRACE.replace('4', "5");
    let request = stack.http.post(format!("{}{CALL_STATUS}", stack.base));
    let request = request.body(json!({ "event_type": "call.busy", "call_id": "c" }).to_string());
    let answer = stack.send(request.header("traceparent", format!("00-{other}-{PARENT}-00"))).await;
    assert_eq!(answer.status, 200);
    until("the id of the trace is in both logs", async || {
        (stack.gateway.log().contains(&other) && stack.workers[0].log().contains(&other)).then_some(())
    })
    .await;

    // Without a trace context of the sender, the gateway begins a trace. A stopping gateway exports its last
    // spans.
    stack.webhook(&json!({ "event_type": "call.busy", "call_id": "d" })).await;
    stack.gateway.signal(Signal::SIGTERM);
    assert!(stack.gateway.ended().await.success());
    assert!(collector.of(&other).is_empty());
    let begun = collector.spans.lock().unwrap().iter().any(|span| {
        span.name.starts_with("POST /api/webhooks") && span.parent.is_empty() && span.trace != TRACE
    });
    assert!(begun, "{:?}", collector.spans.lock().unwrap());
}

#[tokio::test]
async fn webhooks_are_accepted_without_a_trace_collector() {
    let collector = Collector::start().await;
    let mut stack = stack(&collector).await;
    collector.stop.cancel();
    for n in 0..50 {
        stack.webhook(&json!({ "event_type": "call.busy", "call_id": format!("c{n}") })).await;
    }
    stack.until_call("c49", doc! { "status": "busy" }).await;
    stack.gateway.signal(Signal::SIGTERM);
    assert!(stack.gateway.ended().await.success());
}
