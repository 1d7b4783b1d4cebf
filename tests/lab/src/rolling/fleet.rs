//! The gateways and workers that are replaced, with their servers.

use std::{
    net::{Ipv4Addr, TcpListener},
    path::PathBuf,
    sync::Arc,
    time::{Duration, Instant},
};

use aftercall_local::{
    OPEN_GATEWAY, http_client, mongod, nats, ports,
    process::{Launcher, Process},
    server::Server,
    servers::{self, MONGOD, NATS},
};
use anyhow::{Context as _, ensure};
use mongodb::bson::doc;

use super::load::Answers;

const DATABASE: &str = "rolling";
/// Number of gateways, and number of workers.
pub(super) const COPIES: usize = 2;
/// Longest time that a process takes to be ready.
const READY_TIMEOUT: Duration = Duration::from_mins(1);
/// Longest time until every call has a document.
const DOCUMENT_TIMEOUT: Duration = Duration::from_mins(2);
/// Longest time that a gateway takes to answer on its admin listener, and to exit with a wrong configuration.
const ADMIN_TIMEOUT: Duration = Duration::from_secs(5);
/// Exit status of a gateway with a wrong configuration.
const EXIT_CONFIG: i32 = 78;
/// Pause between two counts of the documents.
const POLL_INTERVAL: Duration = Duration::from_millis(100);

/// Settings of a run.
#[derive(Clone, Debug)]
pub struct Run {
    /// Webhooks per second.
    pub rate: f64,
    /// Number of times that every gateway and every worker is replaced.
    pub rounds: usize,
    /// Launcher of every second process. `None`: all processes run the same build.
    pub other: Option<Launcher>,
    /// Folder for logs.
    pub folder: PathBuf,
}

/// The running processes and servers.
pub(super) struct Fleet {
    gateways: Vec<(Process, String)>,
    workers: Vec<(Process, String)>,
    database: Server,
    broker: Server,
    socket: Arc<TcpListener>,
    /// Base URL of the gateways.
    pub base: String,
    http: reqwest::Client,
    launchers: [Launcher; 2],
    folder: PathBuf,
    started: usize,
}

impl Fleet {
    /// Starts everything, and waits until it is ready.
    pub async fn start(launcher: &Launcher, run: &Run) -> anyhow::Result<Self> {
        let services = servers::shared_services();
        let log = |name: &str| Some(run.folder.join(name));
        let options = nats::Options { log: log("nats-server.log"), ..nats::Options::default() };
        let broker = nats::start(launcher, &servers::locate(&NATS, &services).await?, options).await?;
        let options = mongod::Options { log: log("mongod.log"), ..mongod::Options::default() };
        let database = mongod::start(launcher, &servers::locate(&MONGOD, &services).await?, options).await?;
        let socket = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).context("no free port")?;
        let other = run.other.clone().unwrap_or_else(|| launcher.clone());
        let mut fleet = Self {
            gateways: Vec::new(),
            workers: Vec::new(),
            database,
            broker,
            base: format!("http://{}", socket.local_addr()?),
            socket: Arc::new(socket),
            http: http_client(Duration::from_secs(5))?,
            launchers: [launcher.clone(), other],
            folder: run.folder.clone(),
            started: 0,
        };
        for _ in 0..COPIES {
            let gateway = fleet.launch("gateway").await?;
            fleet.gateways.push(gateway);
            let worker = fleet.launch("worker").await?;
            fleet.workers.push(worker);
        }
        Ok(fleet)
    }

    /// Starts a gateway or a worker, alternating between the builds, and waits until it is ready. Returns it
    /// with the URL of its readiness.
    async fn launch(&mut self, part: &str) -> anyhow::Result<(Process, String)> {
        let admin = ports::free()?;
        let mut process = self.spawn(part, admin, &[]).await?;
        let url = format!("http://127.0.0.1:{admin}/readyz");
        let ready = async || self.http.get(&url).send().await.is_ok_and(|answer| answer.status() == 200);
        process.until(READY_TIMEOUT, ready).await?;
        Ok((process, url))
    }

    /// Starts a gateway or a worker with further variables.
    async fn spawn(&mut self, part: &str, admin: u16, vars: &[(&str, &str)]) -> anyhow::Result<Process> {
        let launcher = &self.launchers[(self.started / 2) % 2];
        self.started += 1;
        let command = launcher
            .service(part, self.folder.join(format!("{part}-{}.log", self.started)))
            .clean_env()
            .env("ADMIN_ADDR", format!("127.0.0.1:{admin}"))
            .env("NATS_URL", self.broker.url())
            .env("MONGODB_URI", self.database.url())
            .env("MONGODB_DATABASE", DATABASE)
            .env("SHUTDOWN_DELAY", "500ms")
            .envs(OPEN_GATEWAY)
            .envs(vars.iter().copied());
        if part != "gateway" {
            return launcher.spawn(&command).await;
        }
        // As systemd does at each start of a unit without `NonBlocking=yes`, for all that share the socket.
        self.socket.set_nonblocking(false)?;
        launcher.spawn(&command.socket(self.socket.clone())).await
    }

    /// Starts a further gateway with a wrong configuration, and waits for its end. The socket stays as it was
    /// prepared for this gateway.
    pub async fn fail_to_start(&mut self) -> anyhow::Result<()> {
        let mut process = self.spawn("gateway", ports::free()?, &[("PUBLISH_TIMEOUT", "soon")]).await?;
        let ended = process.wait(ADMIN_TIMEOUT).await?;
        let is_refused = ended.code() == Some(EXIT_CONFIG);
        ensure!(is_refused, "the wrong gateway ended with {ended}:\n{}", process.log_tail(12));
        Ok(())
    }

    /// Number of gateways that do not answer on their admin listener, although there are no requests.
    pub async fn unresponsive(&self) -> usize {
        let mut count = 0;
        for (_, url) in &self.gateways {
            let answer = tokio::time::timeout(ADMIN_TIMEOUT, self.http.get(url).send()).await;
            count += usize::from(!matches!(answer, Ok(Ok(answer)) if answer.status() == 200));
        }
        count
    }

    /// Starts a new process, then stops the old one by SIGTERM.
    pub async fn replace(&mut self, part: &str, n: usize) -> anyhow::Result<()> {
        let new = self.launch(part).await?;
        let place = if part == "gateway" { &mut self.gateways[n] } else { &mut self.workers[n] };
        let (mut old, _) = std::mem::replace(place, new);
        let ended = old.stop().await?;
        ensure!(ended.success(), "the old {part} ended with {ended}:\n{}", old.log_tail(12));
        Ok(())
    }

    /// Waits until every call with a webhook that was answered with 200 has a document, at most two minutes.
    /// Returns the number of calls without a document.
    pub async fn missing(&self, answers: &Answers) -> anyhow::Result<usize> {
        let client = mongodb::Client::with_uri_str(self.database.url()).await?;
        let calls = client.database(DATABASE).collection::<mongodb::bson::Document>("agent_calls");
        let wanted = answers.calls.len();
        let deadline = Instant::now() + DOCUMENT_TIMEOUT;
        loop {
            let found = calls.count_documents(doc! { "callId": { "$regex": "^r" } }).await?;
            let missing = wanted.saturating_sub(usize::try_from(found).unwrap_or(usize::MAX));
            if missing == 0 || Instant::now() > deadline {
                return Ok(missing);
            }
            tokio::time::sleep(POLL_INTERVAL).await;
        }
    }
}
