//! The spans of a batch: one a message, in the trace its webhook began. Without tracing there are none, and
//! the context a message came with is passed on as it is.

use aftercall_common::process::trace::{Kind, Span, Tracer};
use jiff::Timestamp;

use super::buffer::Line;
use crate::broker::message::Stored;

/// Spans of the messages of one batch, call by call.
pub(super) struct Traces<'a, M> {
    tracer: &'a Tracer,
    calls: &'a [Vec<(M, Line)>],
    spans: Vec<Vec<Span>>,
}

impl<'a, M: Stored> Traces<'a, M> {
    /// Begins them.
    pub(super) fn begin(tracer: &'a Tracer, calls: &'a [Vec<(M, Line)>]) -> Self {
        let messages = calls.iter().map(Vec::len).sum();
        let begin = |(message, _): &(M, Line)| {
            let mut span = tracer.span("process WEBHOOKS", Kind::Consumer, message.traceparent());
            span.set("messaging.system", || "nats");
            span.set("messaging.batch.message_count", || count(messages));
            span
        };
        let spans = |messages: &Vec<(M, Line)>| messages.iter().map(begin).collect();
        let spans = if tracer.is_on() { calls.iter().map(spans).collect() } else { Vec::new() };
        Self { tracer, calls, spans }
    }

    /// One command has written what `calls` claim, since `from`.
    pub(super) fn written(&self, calls: usize, from: Timestamp) {
        for span in self.spans.iter().flatten() {
            let mut write = self.tracer.done("update agent_calls", Kind::Client, span, from.into());
            write.set("db.system.name", || "mongodb");
            write.set("db.operation.batch.size", || count(calls));
        }
    }

    /// The context for what follows from call `n`.
    pub(super) fn context(&self, n: usize) -> Option<String> {
        let ours = self.spans.get(n).and_then(|spans| spans.first()).and_then(Span::traceparent);
        ours.or_else(|| self.calls.get(n)?.first()?.0.traceparent().map(str::to_owned))
    }

    /// A message is poison, for a reason with this label.
    pub(super) fn poison(&self, message: &M, label: &'static str) {
        self.tracer.span("process WEBHOOKS", Kind::Consumer, message.traceparent()).fail(label);
    }

    /// Call `n` is refused, for a reason with this label.
    pub(super) fn dead(&mut self, n: usize, label: &'static str) {
        for span in self.spans.get_mut(n).into_iter().flatten() {
            span.fail(label);
        }
    }
}

fn count(number: usize) -> i64 {
    i64::try_from(number).unwrap_or(i64::MAX)
}
