//! The trace spans of a batch: one for each message, in the trace that the gateway began for its webhook.
//!
//! Without a trace collector there are no spans, and the trace context of a message is passed on unchanged.

use aftercall_common::process::trace::{Kind, Span, Tracer};
use jiff::Timestamp;

use super::buffer::EventSummary;
use crate::{broker::message::StreamMessage, domain::reason::Reason};

/// The spans of one batch, grouped by call.
pub(super) struct Traces<'a, M> {
    tracer: &'a Tracer,
    calls: &'a [Vec<(M, EventSummary)>],
    spans: Vec<Vec<Span>>,
}

impl<'a, M: StreamMessage> Traces<'a, M> {
    /// Begins a span for each message.
    pub(super) fn begin(tracer: &'a Tracer, calls: &'a [Vec<(M, EventSummary)>]) -> Self {
        let messages = calls.iter().map(Vec::len).sum();
        let begin = |(message, _): &(M, EventSummary)| {
            let mut span = tracer.span("process WEBHOOKS", Kind::Consumer, message.traceparent());
            span.set("messaging.system", || "nats");
            span.set("messaging.batch.message_count", || count(messages));
            span
        };
        let spans = |messages: &Vec<(M, EventSummary)>| messages.iter().map(begin).collect();
        let spans = if tracer.is_on() { calls.iter().map(spans).collect() } else { Vec::new() };
        Self { tracer, calls, spans }
    }

    /// Adds the write of the batch to each span. `calls` is the number of calls, and `started` is the start
    /// of the write.
    pub(super) fn written(&self, calls: usize, started: Timestamp) {
        for span in self.spans.iter().flatten() {
            let mut write = self.tracer.done("update agent_calls", Kind::Client, span, started.into());
            write.set("db.system.name", || "mongodb");
            write.set("db.operation.batch.size", || count(calls));
        }
    }

    /// The trace context for the jobs of call `n`.
    pub(super) fn context(&self, n: usize) -> Option<String> {
        let own = self.spans.get(n).and_then(|spans| spans.first()).and_then(Span::traceparent);
        own.or_else(|| self.calls.get(n)?.first()?.0.traceparent().map(str::to_owned))
    }

    /// Records that a message cannot be read, for this `reason`.
    pub(super) fn unreadable(&self, message: &M, reason: Reason) {
        self.tracer.span("process WEBHOOKS", Kind::Consumer, message.traceparent()).fail(reason.label());
    }

    /// Records that the database refuses call `n`, for this `reason`.
    pub(super) fn refused(&mut self, n: usize, reason: Reason) {
        for span in self.spans.get_mut(n).into_iter().flatten() {
            span.fail(reason.label());
        }
    }
}

fn count(number: usize) -> i64 {
    i64::try_from(number).unwrap_or(i64::MAX)
}
