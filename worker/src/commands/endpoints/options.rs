//! Arguments of `aftercall-worker endpoints`.

use std::time::Duration;

use jiff::Timestamp;

use crate::{
    commands::terminal,
    domain::{
        delivery::{self, EndpointId, EndpointUrl, Kind},
        time::read_duration,
    },
};

/// The subcommands of `endpoints`.
#[derive(Clone, Debug, clap::Subcommand)]
pub enum Command {
    /// Add an endpoint, and show its secret once
    Add(Add),
    /// List the endpoints, the oldest first
    List {
        /// Print one JSON object per line
        #[arg(long)]
        json: bool,
    },
    /// Change which messages an endpoint gets; a list that is not given stays
    Filter(Filter),
    /// Send an event of the type test.ping to an endpoint now, and show the answer
    Test {
        /// Id of the endpoint, as `list` shows it
        #[arg(value_parser = EndpointId::parse)]
        id: EndpointId,
        /// Print one JSON object
        #[arg(long)]
        json: bool,
    },
    /// Stop sending to an endpoint; its messages wait
    Pause {
        /// Id of the endpoint
        #[arg(value_parser = EndpointId::parse)]
        id: EndpointId,
    },
    /// Send to a paused or disabled endpoint again, beginning with the messages that wait
    Resume {
        /// Id of the endpoint
        #[arg(value_parser = EndpointId::parse)]
        id: EndpointId,
    },
    /// Give an endpoint a new secret, and show it once; the old one stays valid for a time
    Rotate {
        /// Id of the endpoint
        #[arg(value_parser = EndpointId::parse)]
        id: EndpointId,
        /// How long requests are signed by the old secret too
        #[arg(long, value_name = "TIME", default_value = "24h", value_parser = read_duration)]
        overlap: Duration,
        /// Print one JSON object
        #[arg(long)]
        json: bool,
    },
    /// Remove an endpoint with its secrets; messages that wait for it are not sent
    Remove {
        /// Id of the endpoint
        #[arg(value_parser = EndpointId::parse)]
        id: EndpointId,
        /// Do not ask for confirmation
        #[arg(long)]
        yes: bool,
    },
}

/// A new endpoint.
#[derive(Clone, Debug, clap::Args)]
pub struct Add {
    /// URL that messages are posted to
    #[arg(value_parser = EndpointUrl::parse)]
    pub(super) url: EndpointUrl,
    /// `events`: signed events about calls. `raw`: accepted webhooks as the provider sent them
    #[arg(long, default_value = "events", value_parser = kind)]
    pub(super) kind: Kind,
    /// Only these types of events, such as call.outcome; of a raw endpoint, only these providers [default: all]
    #[arg(long, value_name = "LIST", value_delimiter = ',')]
    pub(super) types: Vec<String>,
    /// Only calls of these agents
    #[arg(long, value_name = "LIST", value_delimiter = ',')]
    pub(super) agents: Vec<String>,
    /// Only calls of these batch calls
    #[arg(long, value_name = "LIST", value_delimiter = ',')]
    pub(super) batches: Vec<String>,
    /// Also messages since this time: RFC 3339, or a duration before now such as 24h [default: only new ones]
    #[arg(long, value_name = "TIME", value_parser = terminal::moment)]
    pub(super) since: Option<Timestamp>,
    /// Print one JSON object
    #[arg(long)]
    pub(super) json: bool,
}

/// Another filter of an endpoint.
#[derive(Clone, Debug, clap::Args)]
pub struct Filter {
    /// Id of the endpoint, as `list` shows it
    #[arg(value_parser = EndpointId::parse)]
    pub(super) id: EndpointId,
    /// Only these types of events; of a raw endpoint, only these providers ['' means all]
    #[arg(long, value_name = "LIST", value_delimiter = ',', required_unless_present_any = ["agents", "batches"])]
    types: Option<Vec<String>>,
    /// Only calls of these agents ['' means all]
    #[arg(long, value_name = "LIST", value_delimiter = ',')]
    agents: Option<Vec<String>>,
    /// Only calls of these batch calls ['' means all]
    #[arg(long, value_name = "LIST", value_delimiter = ',')]
    batches: Option<Vec<String>>,
    /// Print one JSON object
    #[arg(long)]
    pub(super) json: bool,
}

impl Filter {
    /// The filter `now` with the given lists in place of its own.
    pub(super) fn applied_to(&self, now: delivery::Filter) -> delivery::Filter {
        let list = |given: &Option<Vec<String>>, now: Vec<String>| match given {
            Some(entries) => entries.iter().filter(|entry| !entry.is_empty()).cloned().collect(),
            None => now,
        };
        delivery::Filter {
            types: list(&self.types, now.types),
            agents: list(&self.agents, now.agents),
            batches: list(&self.batches, now.batches),
        }
    }
}

fn kind(word: &str) -> Result<Kind, &'static str> {
    Kind::parse(word).ok_or("must be events or raw")
}
