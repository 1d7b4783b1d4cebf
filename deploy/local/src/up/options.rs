//! The command line of `cargo local up`.

use std::net::SocketAddr;

use super::behaviour::Behaviour;

/// Addresses, number of workers, output, demo calls, and faults of the simulated API.
#[derive(Clone, Debug, clap::Args)]
pub struct Options {
    /// Address for webhooks
    #[arg(long, value_name = "ADDR", default_value = "127.0.0.1:8080")]
    pub listen: SocketAddr,
    /// Address for the gateway's health and metrics
    #[arg(long, value_name = "ADDR", default_value = "127.0.0.1:9080")]
    pub gateway_admin: SocketAddr,
    /// Address for the first worker's health and metrics
    #[arg(long, value_name = "ADDR", default_value = "127.0.0.1:9081")]
    pub worker_admin: SocketAddr,
    /// Address for the console
    #[arg(long, value_name = "ADDR", default_value = "127.0.0.1:9082")]
    pub console: SocketAddr,
    /// How many workers to run
    #[arg(long, value_name = "N", default_value_t = 1, value_parser = clap::value_parser!(u8).range(1..=32))]
    pub workers: u8,
    /// Start without demo calls. They are placed only at the simulated API, with NATS and MongoDB of `up`
    #[arg(long)]
    pub empty: bool,
    /// Print every step, every address and the whole logs
    #[arg(long, short)]
    pub verbose: bool,
    #[command(flatten)]
    pub behaviour: Behaviour,
}
