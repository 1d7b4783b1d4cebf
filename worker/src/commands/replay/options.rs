//! Arguments of `aftercall-worker replay`.

use jiff::Timestamp;

use crate::{commands::terminal, domain::event::Event};

/// The webhooks to apply again, and how fast.
#[derive(Clone, Debug, clap::Args)]
pub struct Options {
    /// Only webhooks stored since this time: RFC 3339, or a duration before now such as 24h
    #[arg(long, value_name = "TIME", value_parser = terminal::moment)]
    pub(super) since: Option<Timestamp>,
    /// Only webhooks stored until this time
    #[arg(long, value_name = "TIME", value_parser = terminal::moment)]
    pub(super) until: Option<Timestamp>,
    /// Only events of this type
    #[arg(long)]
    pub(super) event_type: Option<String>,
    /// Only events of this call or conversation
    #[arg(long)]
    pub(super) call_id: Option<String>,
    /// Start at this sequence of the stream, as an interrupted run prints it
    #[arg(long, value_name = "SEQUENCE", default_value_t = 1)]
    pub(super) from: u64,
    /// Print which documents would change and how, and change nothing
    #[arg(long)]
    pub(super) dry_run: bool,
    /// Most webhooks per second, so that live webhooks do not have to wait
    #[arg(long, value_name = "R", default_value_t = 1000, value_parser = clap::value_parser!(u32).range(1..=100_000))]
    pub(super) rate: u32,
}

impl Options {
    /// Whether `event` meets all conditions.
    pub(super) fn matches(&self, event: &Event) -> bool {
        let is_in_time = self.until.is_none_or(|until| event.stored_at <= until)
            && self.since.is_none_or(|since| event.stored_at >= since);
        let names = |wanted: &String| {
            let call = event.call_id.as_ref().is_some_and(|id| id.as_str() == wanted);
            call || event.conversation_id.as_ref().is_some_and(|id| id.as_str() == wanted)
        };
        is_in_time
            && self.event_type.as_deref().is_none_or(|wanted| wanted == event.event_type)
            && self.call_id.as_ref().is_none_or(names)
    }
}
