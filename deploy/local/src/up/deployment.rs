//! The processes of `up`: started in the order of their dependencies, and stopped in the reverse order.

use std::{
    net::{Ipv4Addr, SocketAddr},
    time::Duration,
};

use futures_util::future::join_all;

use super::{addresses, options::Options};
use crate::{
    client::{OPEN_GATEWAY, http_client},
    config::Config,
    data_folder::DataFolder,
    mongod,
    nats::{self, User, Users},
    ports,
    process::{Command, Launcher, Process},
    progress::Progress,
    running::Running,
    server::Server,
    servers,
};

/// Time that a process gets to be ready.
const READY_TIMEOUT: Duration = Duration::from_mins(1);
/// Time that the processes get to end after `up` was killed.
const ORPHAN_GRACE: Duration = Duration::from_secs(5);
const DATABASE: &str = "aftercall";
/// The API key for the simulated API, which accepts every key.
const SIMULATED_KEY: &str = "simulated";

/// The running processes.
#[derive(Debug)]
pub struct Deployment {
    // If the start fails half-way, fields are dropped in this order.
    services: Vec<Process>,
    simulator: Option<Process>,
    nats: Option<Server>,
    mongod: Option<Server>,
    /// Users of the nats-server that `up` has started.
    users: Option<Users>,
    running: Running,
}

impl Deployment {
    /// Starts everything and waits until it is ready.
    pub async fn start(
        data: &DataFolder,
        options: &Options,
        config: &Config,
        progress: &Progress,
    ) -> anyhow::Result<Self> {
        let launcher = Launcher::current()?.grace(ORPHAN_GRACE).hold(data.children_lock());
        // Logs of earlier runs are removed.
        let _absent = std::fs::remove_dir_all(data.path("logs"));
        let names = ["nats", "nats-monitor", "mongod", "simulator"];
        let [nats_port, monitor_port, mongod_port, simulator_port] =
            addresses::server_ports(&data.path("ports.json"), names)?;
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
            deployment.start_nats(&launcher, data, config, [nats_port, monitor_port], progress).await?;
        }
        if config.mongodb_uri.is_none() {
            deployment.start_mongod(&launcher, data, config, mongod_port, progress).await?;
        }
        if config.elevenlabs_api_key.is_none() {
            deployment.start_simulator(&launcher, data, options, config, simulator_port, progress).await?;
        }
        deployment.start_services(&launcher, data, options, config, progress).await?;
        Ok(deployment)
    }

    async fn start_nats(
        &mut self,
        launcher: &Launcher,
        data: &DataFolder,
        config: &Config,
        [port, monitor]: [u16; 2],
        progress: &Progress,
    ) -> anyhow::Result<()> {
        let services = servers::services_dir(data.root());
        let binary = servers::locate_with(&servers::NATS, &config.path, &services, progress).await?;
        progress.step("starting nats-server");
        let users = Users::load_or_create(&data.path("nats-users.json"))?;
        let options = nats::Options {
            users: Some(users.clone()),
            data: Some(data.path("nats")),
            port,
            monitor,
            log: Some(data.log("nats-server")),
            ..nats::Options::default()
        };
        let nats = nats::start(launcher, &binary, options).await?;
        progress.done(&format!("nats-server at {}", nats.url()));
        self.running.nats_url = users.login(User::Operator, &nats.url());
        self.users = Some(users);
        self.running.nats_monitor_url = Some(format!("http://127.0.0.1:{monitor}"));
        self.nats = Some(nats);
        Ok(())
    }

    async fn start_mongod(
        &mut self,
        launcher: &Launcher,
        data: &DataFolder,
        config: &Config,
        port: u16,
        progress: &Progress,
    ) -> anyhow::Result<()> {
        let services = servers::services_dir(data.root());
        let binary = servers::locate_with(&servers::MONGOD, &config.path, &services, progress).await?;
        progress.step("starting mongod");
        let options = mongod::Options {
            data: Some(data.path("mongod")),
            port,
            log: Some(data.log("mongod")),
            ..mongod::Options::default()
        };
        let mongod = mongod::start(launcher, &binary, options).await?;
        progress.done(&format!("mongod at {}", mongod.url()));
        self.running.mongodb_uri = mongod.url();
        self.mongod = Some(mongod);
        Ok(())
    }

    async fn start_simulator(
        &mut self,
        launcher: &Launcher,
        data: &DataFolder,
        options: &Options,
        config: &Config,
        port: u16,
        progress: &Progress,
    ) -> anyhow::Result<()> {
        progress.step("starting the simulated ElevenLabs API");
        let address = SocketAddr::from((Ipv4Addr::LOCALHOST, port));
        let command = launcher.service("simulator", data.log("simulator"));
        let mut arguments = vec!["--listen".to_owned(), address.to_string()];
        arguments.extend(["--gateway".to_owned(), self.running.public_url.clone()]);
        arguments.extend(options.behaviour.arguments());
        let command = command.args(&arguments).envs(self.twilio_variables(data, config)?);
        let mut process = launcher.spawn(&command).await?;
        wait_until_answers(&mut process, &format!("http://{address}/livez")).await?;
        progress.done(&format!("simulated ElevenLabs API at http://{address}"));
        self.running.simulator_url = Some(format!("http://{address}"));
        self.simulator = Some(process);
        Ok(())
    }

    /// Starts gateway and workers together, then waits until each is ready.
    async fn start_services(
        &mut self,
        launcher: &Launcher,
        data: &DataFolder,
        options: &Options,
        config: &Config,
        progress: &Progress,
    ) -> anyhow::Result<()> {
        progress.step("starting gateway and worker");
        let gateway = self.service(launcher, data, User::Gateway, "gateway", options.gateway_admin);
        let gateway = gateway.env("LISTEN_ADDR", options.listen.to_string());
        let gateway = gateway.envs(self.access_variables(data, config)?);
        let gateway = match &self.running.nats_monitor_url {
            Some(url) => gateway.env("NATS_MONITOR_URL", url),
            None => gateway,
        };
        self.services.push(launcher.spawn(&gateway).await?);
        for n in 1..=options.workers {
            let (name, admin) = match n {
                1 => ("worker".to_owned(), options.worker_admin),
                n => (format!("worker-{n}"), SocketAddr::from((Ipv4Addr::LOCALHOST, ports::free()?))),
            };
            let mut worker = self.service(launcher, data, User::Worker, &name, admin);
            if n == 1 {
                worker = worker
                    .env("ROLES", "status,transcripts,api,reconcile,console")
                    .env("CONSOLE_ADDR", options.console.to_string())
                    .env("CONSOLE_TOKEN", &self.running.console_token)
                    .env("CONSOLE_TEST_CALLS", self.running.simulator_url.is_some().to_string());
            }
            self.running.worker_admin_urls.push(format!("http://{}", reachable(admin)));
            self.services.push(launcher.spawn(&worker).await?);
        }
        let admin_urls =
            std::iter::once(&self.running.gateway_admin_url).chain(&self.running.worker_admin_urls);
        for (process, admin) in self.services.iter_mut().zip(admin_urls) {
            progress.step(&format!("waiting until the {} is ready", process.name()));
            wait_until_answers(process, &format!("{admin}/readyz")).await?;
            progress.done(&format!("{} is ready", process.name()));
        }
        Ok(())
    }

    /// The access settings of the gateway.
    ///
    /// With the simulated API, every process of this machine may do everything. With the real API, a call
    /// costs money, so placing one needs a token; reading needs none. A variable that the user has set is
    /// kept.
    fn access_variables(
        &mut self,
        data: &DataFolder,
        config: &Config,
    ) -> anyhow::Result<Vec<(&'static str, String)>> {
        let is_simulated = self.running.simulator_url.is_some();
        let set = [&config.allow_unsigned, &config.allowed_sources, &config.api_anonymous];
        let mut vars = Vec::new();
        for ((name, value), set) in OPEN_GATEWAY.into_iter().zip(set) {
            let value = if name == "API_ANONYMOUS" && !is_simulated { "read" } else { value };
            if set.is_none() {
                vars.push((name, value.to_owned()));
            }
        }
        if is_simulated {
            vars.extend(self.twilio_variables(data, config)?);
        }
        if !is_simulated && config.api_token.is_none() {
            let token = data.secret("api-token")?;
            vars.push(("API_TOKEN", token.clone()));
            self.running.api_token = Some(token);
        }
        Ok(vars)
    }

    /// Variables for the signatures of the simulated Twilio, unless the user has set them. Gateway and
    /// simulator get the same values.
    fn twilio_variables(
        &self,
        data: &DataFolder,
        config: &Config,
    ) -> anyhow::Result<Vec<(&'static str, String)>> {
        if config.twilio_auth_token.is_some() {
            return Ok(Vec::new());
        }
        let token = data.secret("twilio-token")?;
        Ok(vec![("TWILIO_AUTH_TOKEN", token), ("PUBLIC_URL", self.running.public_url.clone())])
    }

    /// A command with the settings that gateway and worker share. They inherit all other variables from the
    /// user.
    fn service(
        &self,
        launcher: &Launcher,
        data: &DataFolder,
        part: User,
        name: &str,
        admin: SocketAddr,
    ) -> Command {
        let nats_url = match &self.users {
            Some(users) => users.login(part, &self.running.nats_url),
            None => self.running.nats_url.clone(),
        };
        let command = launcher
            .service(part.name(), data.log(name))
            .name(name)
            .env("ADMIN_ADDR", admin.to_string())
            .env("NATS_URL", nats_url)
            .env("MONGODB_URI", &self.running.mongodb_uri)
            .env("MONGODB_DATABASE", DATABASE)
            .env("LOG_FORMAT", "text")
            .env("NO_COLOR", "1");
        match &self.running.simulator_url {
            Some(url) => command
                .env("ELEVENLABS_BASE_URL", url)
                .env("ELEVENLABS_API_KEY", SIMULATED_KEY)
                .env("ELEVENLABS_STATUS_CALLBACK_URL", self.callback_url()),
            None => command,
        }
    }

    /// URL that receives the webhooks of the simulated ElevenLabs.
    fn callback_url(&self) -> String {
        format!("{}/api/webhooks/elevenlabs/call-status", self.running.public_url)
    }

    /// Addresses of what runs.
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

/// Prints failures to stop, which leave nothing to do.
fn warn_about_failures<T>(results: Vec<anyhow::Result<T>>) {
    for error in results.into_iter().filter_map(Result::err) {
        eprintln!("warning: {error:#}");
    }
}

async fn wait_until_answers(process: &mut Process, url: &str) -> anyhow::Result<()> {
    let client = http_client(Duration::from_secs(5))?;
    let answers = async || client.get(url).send().await.is_ok_and(|reply| reply.status().is_success());
    process.until(READY_TIMEOUT, answers).await
}

/// The address by which this machine reaches a listener on `address`.
fn reachable(mut address: SocketAddr) -> SocketAddr {
    if address.ip().is_unspecified() {
        address.set_ip(Ipv4Addr::LOCALHOST.into());
    }
    address
}
