//! Arguments of `aftercall-worker deliveries`.

use jiff::Timestamp;

use crate::{
    commands::terminal,
    domain::delivery::{DeliveryState, EndpointId},
    store::DeliveryFilter,
};

/// The subcommands of `deliveries`.
#[derive(Clone, Debug, clap::Subcommand)]
pub enum Command {
    /// List deliveries, the latest first
    List {
        /// The deliveries to list.
        #[command(flatten)]
        filter: Filter,
        /// Most deliveries to list
        #[arg(long, default_value_t = 50)]
        limit: usize,
        /// Print one JSON object per line
        #[arg(long)]
        json: bool,
    },
    /// Show one delivery with its attempts
    Show {
        /// Id of the delivery, as `list` shows it
        id: String,
        /// Print one JSON object
        #[arg(long)]
        json: bool,
    },
    /// Send messages again; each gets a new schedule of attempts
    Replay {
        /// The deliveries to send.
        #[command(flatten)]
        which: Selection,
        /// Print what would be sent, and send nothing
        #[arg(long)]
        dry_run: bool,
    },
}

/// Conditions for deliveries.
#[derive(Clone, Debug, clap::Args)]
pub struct Filter {
    /// Only deliveries to this endpoint
    #[arg(long, value_name = "ID", value_parser = EndpointId::parse)]
    endpoint: Option<EndpointId>,
    /// Only deliveries in this state: waiting, delivered, failed
    #[arg(long, value_parser = state)]
    state: Option<DeliveryState>,
    /// Only deliveries about this call or conversation
    #[arg(long, value_name = "ID")]
    call_id: Option<String>,
    /// Only deliveries first attempted since this time: RFC 3339, or a duration before now such as 24h
    #[arg(long, value_name = "TIME", value_parser = terminal::moment)]
    since: Option<Timestamp>,
    /// Only deliveries first attempted until this time
    #[arg(long, value_name = "TIME", value_parser = terminal::moment)]
    until: Option<Timestamp>,
}

/// Deliveries selected by id or by conditions.
#[derive(Clone, Debug, clap::Args)]
pub struct Selection {
    /// Ids of deliveries
    #[arg(
        required_unless_present_any = ["endpoint", "call_id"],
        conflicts_with_all = ["endpoint", "state", "call_id", "since", "until"]
    )]
    pub(super) ids: Vec<String>,
    #[command(flatten)]
    pub(super) filter: Filter,
}

impl Filter {
    /// The same conditions for the store.
    pub(super) fn conditions(&self) -> DeliveryFilter {
        DeliveryFilter {
            endpoint: self.endpoint.as_ref().map(|endpoint| endpoint.as_str().to_owned()),
            state: self.state,
            call: self.call_id.clone(),
            since: self.since,
            until: self.until,
        }
    }
}

fn state(word: &str) -> Result<DeliveryState, &'static str> {
    DeliveryState::parse(word).ok_or("must be waiting, delivered or failed")
}

#[cfg(test)]
mod tests {
    use clap::Parser;

    use super::*;

    #[derive(Debug, Parser)]
    struct Cli {
        #[command(subcommand)]
        command: Command,
    }

    #[test]
    fn deliveries_are_replayed_by_id_or_by_endpoint_or_by_call() {
        for (arguments, is_valid) in [
            ("ep_0123456789abcdef:m", true),
            ("--endpoint ep_0123456789abcdef", true),
            ("--endpoint ep_0123456789abcdef --state failed --since 24h --until 1h", true),
            ("--call-id CA1", true),
            ("", false),
            ("--since 24h", false),
            ("--state failed", false),
            ("--endpoint ep_1", false),
            ("--endpoint ep_0123456789abcdef --state lost", false),
            ("id --endpoint ep_0123456789abcdef", false),
            ("id --since 24h", false),
        ] {
            let words = ["deliveries", "replay"].into_iter().chain(arguments.split_whitespace());
            let parsed = Cli::try_parse_from(words);
            assert_eq!(parsed.is_ok(), is_valid, "{arguments}: {parsed:?}");
        }
    }
}
