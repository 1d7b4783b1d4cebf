//! The processes of `up`: started in the order of their dependencies, and stopped in the reverse order.

use std::time::Duration;

use futures_util::future::join_all;

use super::{addresses::Addresses, options::Options, readiness::reachable};
use crate::{
    config::Config,
    data_folder::DataFolder,
    nats::UserPasswords,
    process::{Launcher, Process},
    progress::Progress,
    running::Running,
    server::Server,
};

/// Time that the processes get to end after `up` was killed.
const ORPHAN_GRACE: Duration = Duration::from_secs(5);
/// Name of the database.
pub const DATABASE: &str = "aftercall";

/// Everything that a step of the start needs.
pub struct StartContext<'a> {
    pub launcher: Launcher,
    pub data: &'a DataFolder,
    pub options: &'a Options,
    pub addresses: &'a Addresses,
    pub config: &'a Config,
    pub progress: &'a Progress,
}

impl<'a> StartContext<'a> {
    /// The context of a start in the folder `data`.
    pub fn new(
        data: &'a DataFolder,
        options: &'a Options,
        addresses: &'a Addresses,
        config: &'a Config,
        progress: &'a Progress,
    ) -> anyhow::Result<Self> {
        let launcher = Launcher::current()?.grace(ORPHAN_GRACE).hold(data.children_lock());
        Ok(Self { launcher, data, options, addresses, config, progress })
    }
}

/// The running processes.
#[derive(Debug)]
pub struct Deployment {
    // If the start fails half-way, fields are dropped in this order.
    pub services: Vec<Process>,
    pub simulator: Option<Process>,
    pub nats: Option<Server>,
    pub mongod: Option<Server>,
    /// Passwords of the users of the nats-server that `up` has started.
    pub users: Option<UserPasswords>,
    pub running: Running,
}

impl Deployment {
    /// Starts everything and waits until it is ready.
    pub async fn start(start: &StartContext<'_>) -> anyhow::Result<Self> {
        let StartContext { data, options, addresses, config, .. } = *start;
        // Logs of earlier runs are removed.
        let _absent = std::fs::remove_dir_all(data.path("logs"));
        let mut deployment = Self {
            services: Vec::new(),
            simulator: None,
            nats: None,
            mongod: None,
            users: None,
            running: Running {
                pid: std::process::id(),
                public_url: format!("http://{}", reachable(options.listen)),
                gateway_admin_url: format!("http://{}", reachable(options.gateway_admin)),
                worker_admin_urls: Vec::new(),
                console_url: format!("http://{}", reachable(options.console)),
                console_token: match &config.console_token {
                    Some(token) => token.expose().to_owned(),
                    None => data.secret("console-token")?,
                },
                nats_url: config.nats_url.as_ref().map(|url| url.expose().to_owned()).unwrap_or_default(),
                nats_monitor_url: None,
                mongodb_uri: config
                    .mongodb_uri
                    .as_ref()
                    .map(|uri| uri.expose().to_owned())
                    .unwrap_or_default(),
                mongodb_database: DATABASE.to_owned(),
                simulator_url: None,
                api_token: None,
            },
        };
        if config.nats_url.is_none() {
            deployment.start_nats(start, [addresses.nats, addresses.nats_monitor]).await?;
        }
        if config.mongodb_uri.is_none() {
            deployment.start_mongod(start, addresses.mongod).await?;
        }
        if config.elevenlabs_api_key.is_none() {
            deployment.start_simulator(start, addresses.simulator).await?;
        }
        deployment.start_services(start).await?;
        Ok(deployment)
    }

    /// Addresses of the running processes.
    pub fn running(&self) -> &Running {
        &self.running
    }

    /// The processes of gateway and workers.
    pub fn services(&self) -> impl Iterator<Item = &Process> {
        self.services.iter()
    }

    /// A process that has ended unexpectedly.
    pub fn ended(&mut self) -> Option<&mut Process> {
        let servers =
            self.nats.iter_mut().map(Server::process).chain(self.mongod.iter_mut().map(Server::process));
        let mut all = self.services.iter_mut().chain(&mut self.simulator).chain(servers);
        all.find_map(|process| (!process.is_running()).then_some(process))
    }

    /// Stops everything. Gateway and workers stop first, because they need the servers to finish their work.
    pub async fn stop(&mut self) {
        warn_about_failures(join_all(self.services.iter_mut().map(Process::stop)).await);
        let (simulator, nats, mongod) = (&mut self.simulator, &mut self.nats, &mut self.mongod);
        warn_about_failures(join_all(simulator.iter_mut().map(Process::stop)).await);
        warn_about_failures(join_all(nats.iter_mut().map(|nats| nats.process().stop())).await);
        warn_about_failures(join_all(mongod.iter_mut().map(|mongod| mongod.process().stop())).await);
    }
}

/// Prints a warning for each process that could not be stopped.
fn warn_about_failures<T>(results: Vec<anyhow::Result<T>>) {
    for error in results.into_iter().filter_map(Result::err) {
        eprintln!("warning: {error:#}");
    }
}
