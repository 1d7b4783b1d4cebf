//! The spans of a batch: one a message, in the trace its webhook began. Without tracing there are none, and
//! the context a message came with is passed on as it is.

use aftercall_common::{
    stream::header,
    trace::{Kind, Span, Tracer},
};
use async_nats::jetstream::Message;
use jiff::Timestamp;

/// The trace context a message carries.
pub(crate) fn traceparent(message: &Message) -> Option<&str> {
    Some(message.headers.as_ref()?.get(header::TRACEPARENT)?.as_str())
}

/// Spans of the messages of one batch.
pub(super) struct Traces<'a> {
    tracer: &'a Tracer,
    messages: &'a [Message],
    spans: Vec<Span>,
}

impl<'a> Traces<'a> {
    /// Begins them.
    pub(super) fn begin(tracer: &'a Tracer, messages: &'a [Message]) -> Self {
        let begin = |message: &Message| {
            let mut span = tracer.span("process WEBHOOKS", Kind::Consumer, traceparent(message));
            span.set("messaging.system", || "nats");
            span.set("messaging.batch.message_count", || count(messages.len()));
            span
        };
        let spans = if tracer.is_on() { messages.iter().map(begin).collect() } else { Vec::new() };
        Self { tracer, messages, spans }
    }

    /// One command has written what `calls` claim, since `from`.
    pub(super) fn written(&self, calls: usize, from: Timestamp) {
        for span in &self.spans {
            let mut write = self.tracer.done("update agent_calls", Kind::Client, span, from.into());
            write.set("db.system.name", || "mongodb");
            write.set("db.operation.batch.size", || count(calls));
        }
    }

    /// The context for what follows from message `n`.
    pub(super) fn context(&self, n: usize) -> Option<String> {
        let ours = self.spans.get(n).and_then(Span::traceparent);
        ours.or_else(|| traceparent(self.messages.get(n)?).map(str::to_owned))
    }

    /// Message `n` is poison, for a reason with this label.
    pub(super) fn dead(&mut self, n: usize, label: &'static str) {
        if let Some(span) = self.spans.get_mut(n) {
            span.fail(label);
        }
    }
}

fn count(number: usize) -> i64 {
    i64::try_from(number).unwrap_or(i64::MAX)
}
