//! Traces by OpenTelemetry. The trace of a webhook covers its request, its document and its transcript.
//!
//! The header `traceparent` of requests and messages carries the W3C trace context. If
//! `OTEL_EXPORTER_OTLP_ENDPOINT` is unset, no span is created, and the context of a request is forwarded
//! unchanged, so tracing costs nothing.
//!
//! Invariant: no attribute holds a part of a body, a telephone number or a secret.

use std::{
    fmt,
    sync::Arc,
    time::{Duration, SystemTime},
};

use async_trait::async_trait;
use bytes::Bytes;
use http_body_util::Full;
use hyper::{Request, Response, Uri};
use opentelemetry::{
    Context, KeyValue, Value,
    trace::{
        Span as _, SpanBuilder, SpanContext, SpanId, SpanKind, Status, TraceContextExt as _, TraceFlags,
        TraceId, TraceState, Tracer as _, TracerProvider as _,
    },
};
use opentelemetry_http::{HttpClient, HttpError};
use opentelemetry_otlp::{SpanExporter, WithExportConfig as _, WithHttpConfig as _};
use opentelemetry_sdk::{
    Resource,
    trace::{SdkTracer, SdkTracerProvider},
};
use serde::Deserialize;
use tokio::runtime::Handle;

pub use opentelemetry::trace::SpanKind as Kind;

use crate::http::client::{self, Bounds};

/// Longest time to export the last spans when the process stops.
const SHUTDOWN_TIMEOUT: Duration = Duration::from_secs(3);
/// Bounds of a request to the collector.
const BOUNDS: Bounds = Bounds { time: Duration::from_secs(10), bytes: 64 * 1024 };

/// Base URL of the collector, such as `http://collector:4318`. Traces use OTLP over HTTP with the path
/// `/v1/traces`.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(try_from = "String")]
pub struct Endpoint(Uri);

impl TryFrom<String> for Endpoint {
    type Error = &'static str;

    fn try_from(text: String) -> Result<Self, Self::Error> {
        let wrong =
            "must be a plain http:// URL such as http://127.0.0.1:4318; for TLS, use a local collector";
        let url: Uri = text.trim().trim_end_matches('/').parse().map_err(|_error| wrong)?;
        let is_plain = client::address(&url).is_ok() && url.query().is_none();
        let has_secret = url.authority().is_some_and(|authority| authority.as_str().contains('@'));
        if is_plain && !has_secret { Ok(Self(url)) } else { Err(wrong) }
    }
}

impl fmt::Display for Endpoint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.0.to_string().trim_end_matches('/'))
    }
}

/// Whether `value` is a W3C trace context of version 00: `00-<32 hex>-<16 hex>-<2 hex>` in lower case,
/// without ids that are all zero.
pub fn is_traceparent(value: &str) -> bool {
    parse(value).is_some()
}

/// The trace id in a trace context. `None` if the context is invalid.
pub fn trace_id(traceparent: &str) -> Option<&str> {
    is_traceparent(traceparent).then(|| &traceparent[3..35])
}

fn parse(value: &str) -> Option<SpanContext> {
    let hex = |part: &str, length| {
        part.len() == length && part.bytes().all(|byte| matches!(byte, b'0'..=b'9' | b'a'..=b'f'))
    };
    let mut parts = value.split('-');
    let (Some("00"), Some(trace), Some(span), Some(flags), None) =
        (parts.next(), parts.next(), parts.next(), parts.next(), parts.next())
    else {
        return None;
    };
    if !(hex(trace, 32) && hex(span, 16) && hex(flags, 2)) {
        return None;
    }
    let (trace, span) = (TraceId::from_hex(trace).ok()?, SpanId::from_hex(span).ok()?);
    let sampled = TraceFlags::new(u8::from_str_radix(flags, 16).ok()?) & TraceFlags::SAMPLED;
    let context = SpanContext::new(trace, span, sampled, true, TraceState::default());
    context.is_valid().then_some(context)
}

/// Starts spans if tracing is on. Does nothing if tracing is off. Clones are cheap.
#[derive(Clone, Debug, Default)]
pub struct Tracer(Option<Arc<Inner>>);

#[derive(Debug)]
struct Inner {
    provider: SdkTracerProvider,
    tracer: SdkTracer,
}

impl Tracer {
    /// Exports the spans of `service` to `endpoint`. Without an endpoint, tracing is off. Must be called
    /// within a runtime, which sends the spans.
    ///
    /// Variables of OpenTelemetry configure sampling, batching and resources (`OTEL_TRACES_SAMPLER`,
    /// `OTEL_BSP_…`, `OTEL_RESOURCE_ATTRIBUTES`).
    ///
    /// # Errors
    /// A variable of OpenTelemetry has an invalid value.
    pub fn start(
        endpoint: Option<&Endpoint>,
        service: &'static str,
        version: &'static str,
    ) -> anyhow::Result<Self> {
        let Some(endpoint) = endpoint else { return Ok(Self::default()) };
        let exporter = SpanExporter::builder()
            .with_http()
            .with_http_client(Collector(Handle::current()))
            .with_endpoint(format!("{endpoint}/v1/traces"))
            .build()?;
        let resource = Resource::builder()
            .with_service_name(service)
            .with_attribute(KeyValue::new("service.version", version))
            .build();
        let provider =
            SdkTracerProvider::builder().with_batch_exporter(exporter).with_resource(resource).build();
        let tracer = provider.tracer("aftercall");
        Ok(Self(Some(Arc::new(Inner { provider, tracer }))))
    }

    /// Whether tracing is on.
    pub fn is_on(&self) -> bool {
        self.0.is_some()
    }

    /// Starts a span in the trace of the context `parent`, which may come from another process. Without
    /// `parent`, starts a new trace.
    pub fn span(&self, name: &'static str, kind: SpanKind, parent: Option<&str>) -> Span {
        self.begin(kind, || SpanBuilder::from_name(name), parent.and_then(parse))
    }

    /// Starts a child span of `parent`.
    pub fn child(&self, name: &'static str, kind: SpanKind, parent: &Span) -> Span {
        self.begin(kind, || SpanBuilder::from_name(name), parent.context())
    }

    /// Creates a child span of `parent` that started at `from` and ends when it is dropped.
    pub fn done(&self, name: &'static str, kind: SpanKind, parent: &Span, from: SystemTime) -> Span {
        self.begin(kind, || SpanBuilder::from_name(name).with_start_time(from), parent.context())
    }

    fn begin(
        &self,
        kind: SpanKind,
        build: impl FnOnce() -> SpanBuilder,
        parent: Option<SpanContext>,
    ) -> Span {
        let Some(inner) = &self.0 else { return Span(None) };
        let parent =
            parent.map_or_else(Context::new, |parent| Context::new().with_remote_span_context(parent));
        Span(Some(Box::new(inner.tracer.build_with_context(build().with_kind(kind), &parent))))
    }

    /// Exports the remaining spans, for at most three seconds.
    pub async fn shut_down(self) {
        let Some(inner) = self.0 else { return };
        let stopping =
            tokio::task::spawn_blocking(move || inner.provider.shutdown_with_timeout(SHUTDOWN_TIMEOUT));
        if let Ok(Err(error)) = stopping.await {
            tracing::warn!(%error, "cannot export the last traces");
        }
    }
}

/// A part of a trace. It ends when it is dropped. It is empty if tracing is off.
#[derive(Debug, Default)]
pub struct Span(Option<Box<opentelemetry_sdk::trace::Span>>);

impl Span {
    /// Adds an attribute, named by the semantic conventions of OpenTelemetry if they have a name for it.
    /// `value` is called only if the span is recorded.
    pub fn set<V: Into<Value>>(&mut self, key: &'static str, value: impl FnOnce() -> V) {
        if let Some(span) = self.0.as_mut().filter(|span| span.is_recording()) {
            span.set_attribute(KeyValue::new(key, value()));
        }
    }

    /// Marks the span as failed. `label` is the stable name of the reason.
    pub fn fail(&mut self, label: &'static str) {
        if let Some(span) = &mut self.0 {
            span.set_attribute(KeyValue::new("error.type", label));
            span.set_status(Status::error(label));
        }
    }

    /// The trace context for requests and messages that follow from this span. `None` if tracing is off.
    pub fn traceparent(&self) -> Option<String> {
        let context = self.context()?;
        let flags = u8::from(context.is_sampled());
        Some(format!("00-{}-{}-{flags:02x}", context.trace_id(), context.span_id()))
    }

    fn context(&self) -> Option<SpanContext> {
        self.0.as_ref().map(|span| span.span_context().clone())
    }
}

/// Sends the requests of the exporter's thread on the runtime of the process.
#[derive(Debug)]
struct Collector(Handle);

#[async_trait]
impl HttpClient for Collector {
    async fn send_bytes(&self, request: Request<Bytes>) -> Result<Response<Bytes>, HttpError> {
        let sending = async { client::send(request.map(Full::new), BOUNDS).await };
        Ok(self.0.spawn(sending).await??)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const TRACE: &str = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01";

    #[test]
    fn valid_trace_contexts_are_parsed_and_others_are_rejected() {
        let context = parse(TRACE).unwrap();
        assert_eq!(context.trace_id().to_string(), "4bf92f3577b34da6a3ce929d0e0e4736");
        assert!(context.is_sampled() && context.is_remote());
        assert!(!parse(&TRACE.replace("-01", "-00")).unwrap().is_sampled());
        assert_eq!(trace_id(TRACE), Some("4bf92f3577b34da6a3ce929d0e0e4736"));
        for bad in [
            &TRACE.to_uppercase(),
            &TRACE.replace("00-4", "01-4"),
            &TRACE[1..],
            &format!("{TRACE}-00"),
            "00-00000000000000000000000000000000-00f067aa0ba902b7-01",
            "00-4bf92f3577b34da6a3ce929d0e0e4736-0000000000000000-01",
            "",
        ] {
            assert!(!is_traceparent(bad) && trace_id(bad).is_none(), "{bad}");
        }
    }

    #[test]
    fn no_span_is_started_without_an_endpoint() {
        let tracer = Tracer::start(None, "test", "0").unwrap();
        let mut span = tracer.span("x", SpanKind::Server, Some(TRACE));
        span.set("never", || -> i64 { panic!("no value is made") });
        span.fail("never");
        assert_eq!(span.traceparent(), None);
    }

    #[test]
    fn endpoint_must_be_a_plain_http_url() {
        let read = |text: &str| Endpoint::try_from(text.to_owned());
        assert_eq!(read("http://127.0.0.1:4318/").unwrap().to_string(), "http://127.0.0.1:4318");
        assert_eq!(read("http://host/prefix").unwrap().to_string(), "http://host/prefix");
        for wrong in
            ["https://collector:4317", "collector:4317", "http://me:s3cret@host", "http://h/?a=b", ""]
        {
            assert!(read(wrong).is_err(), "{wrong}");
        }
    }
}
