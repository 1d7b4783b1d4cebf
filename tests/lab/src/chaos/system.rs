//! The system under test: two gateways, two workers, broker, database and simulated API. Services reach the
//! three servers through links that can be cut.

use std::{
    net::Ipv4Addr,
    path::{Path, PathBuf},
    time::Duration,
};

use aftercall_common::contract::streams;
use aftercall_local::{
    OPEN_GATEWAY, http_client, mongod, nats, ports,
    process::{Command, Launcher},
    server::Server,
    servers::{self, MONGOD, NATS},
    simulator::Simulator,
};
use anyhow::Context as _;
use async_nats::jetstream::{self, consumer::PullConsumer};
use mongodb::{Collection, bson};
use tokio::net::TcpStream;

use super::service::Service;
use crate::{
    disk::{Disk, Lost},
    link::Link,
};

/// Path of the ElevenLabs webhook.
pub(super) const WEBHOOK_PATH: &str = "/api/webhooks/elevenlabs/call-status";
const DATABASE: &str = "chaos";
/// Pause between two checks of the recovery.
const POLL_INTERVAL: Duration = Duration::from_millis(50);
/// Number of gateways, and number of workers.
pub(super) const COPIES: usize = 2;

/// The running processes, servers and links.
pub(super) struct System {
    pub launcher: Launcher,
    pub gateways: Vec<Service>,
    pub workers: Vec<Service>,
    pub broker: Server,
    pub database: Server,
    pub simulator: Simulator,
    /// The link from all services to the broker.
    pub to_broker: Link,
    pub to_database: Link,
    to_api: Link,
    /// URLs that webhooks are posted to, one per gateway.
    pub urls: Vec<String>,
    pub http: reqwest::Client,
    pub calls: Collection<bson::Document>,
    pub jetstream: jetstream::Context,
    /// Connections of slow clients.
    pub slow_clients: Vec<TcpStream>,
    /// Number of poison messages in the stream.
    pub poison: usize,
    /// Unsynced data that power cuts removed.
    pub power_cut_loss: Lost,
    logs: PathBuf,
    /// The disk of broker, database and spool. Declared last, because it can be unmounted only after they
    /// have ended.
    pub disk: Option<Disk>,
}

impl System {
    /// Starts everything, and waits until it is ready. Logs are written to `folder`. Broker, database and spool use
    /// `disk`, if there is one. `sync_always`: whether the broker syncs before it acknowledges. `spool_mode`: the
    /// variable `SPOOL` of the gateway that has a spool.
    pub async fn start(
        launcher: Launcher,
        folder: &Path,
        disk: Option<Disk>,
        sync_always: bool,
        spool_mode: &str,
    ) -> anyhow::Result<Self> {
        let services = servers::shared_services();
        let data = |name: &str| disk.as_ref().map(|disk| disk.path().join(name));
        let broker = servers::locate(&NATS, &services).await?;
        let log = Some(folder.join("nats-server.log"));
        let options = nats::Options { data: data("nats"), sync_always, log, ..nats::Options::default() };
        let broker = nats::start(&launcher, &broker, options).await?;
        let database = servers::locate(&MONGOD, &services).await?;
        let log = Some(folder.join("mongod.log"));
        let options = mongod::Options { data: data("mongod"), log, ..mongod::Options::default() };
        let database = mongod::start(&launcher, &database, options).await?;
        let spool = data("spool").unwrap_or_else(|| folder.join("spool"));
        let simulator = Simulator::start((Ipv4Addr::LOCALHOST, 0).into()).await?;
        let client = mongodb::Client::with_uri_str(database.url()).await?;
        let mut system = Self {
            to_broker: Link::to(port(&broker.url())?).await?,
            to_database: Link::to(port(&database.url())?).await?,
            to_api: Link::to(port(&simulator.base_url())?).await?,
            jetstream: jetstream::new(async_nats::connect(broker.url()).await?),
            http: http_client(Duration::from_secs(15))?,
            calls: client.database(DATABASE).collection("agent_calls"),
            gateways: Vec::new(),
            workers: Vec::new(),
            urls: Vec::new(),
            slow_clients: Vec::new(),
            poison: 0,
            power_cut_loss: Lost::default(),
            logs: folder.to_owned(),
            disk,
            launcher,
            broker,
            database,
            simulator,
        };
        for n in 0..COPIES {
            let public = ports::free()?;
            system.urls.push(format!("http://127.0.0.1:{public}{WEBHOOK_PATH}"));
            let (mut command, admin) = system.command("gateway", n)?;
            command = command.env("LISTEN_ADDR", format!("127.0.0.1:{public}"));
            if n == 0 {
                // The other gateway has no spool, so it answers 503 when the broker does not acknowledge.
                command = command.env("SPOOL_DIR", &spool).env("SPOOL", spool_mode);
            }
            let gateway = system.launch((command, admin)).await?;
            system.gateways.push(gateway);
        }
        for n in 0..COPIES {
            let command = system.command("worker", n)?;
            let worker = system.launch(command).await?;
            system.workers.push(worker);
        }
        Ok(system)
    }

    /// The command for gateway or worker number `n`, and its port for health and metrics.
    pub fn command(&self, part: &str, n: usize) -> anyhow::Result<(Command, u16)> {
        let admin = ports::free()?;
        let command = self
            .launcher
            .service(part, self.logs.join(format!("{part}-{n}.log")))
            .clean_env()
            .env("ADMIN_ADDR", format!("127.0.0.1:{admin}"))
            .env("NATS_URL", format!("nats://127.0.0.1:{}", self.to_broker.port()))
            .env(
                "MONGODB_URI",
                // With a direct connection the driver uses the link. It would otherwise connect to the
                // address that the server reports.
                format!("mongodb://127.0.0.1:{}/?directConnection=true", self.to_database.port()),
            )
            .env("MONGODB_DATABASE", DATABASE)
            .env("ELEVENLABS_BASE_URL", format!("http://127.0.0.1:{}", self.to_api.port()))
            .env("ELEVENLABS_API_KEY", "simulated")
            // The role `reconcile` is left out: the calls of the load exist only as webhooks, so the
            // simulated API has no matching conversations.
            .env("ROLES", "status,transcripts,api")
            .envs(OPEN_GATEWAY)
            .env("LOG_FORMAT", "text");
        Ok((command, admin))
    }

    async fn launch(&self, (command, admin): (Command, u16)) -> anyhow::Result<Service> {
        let process = self.launcher.spawn(&command).await?;
        let mut service = Service { process, command, admin };
        service.until_ready(&self.http).await?;
        Ok(service)
    }

    /// Waits until every gateway accepts webhooks, every spool is empty, and the workers have
    /// acknowledged every stored message. Fails after `timeout`.
    pub async fn until_recovered(&self, http: &reqwest::Client, timeout: Duration) -> anyhow::Result<()> {
        let recovered = async {
            for gateway in &self.gateways {
                while !gateway.is_ready_and_drained(http).await {
                    tokio::time::sleep(POLL_INTERVAL).await;
                }
            }
            let last = loop {
                if let Ok(stream) = self.jetstream.get_stream(streams::WEBHOOKS).await {
                    break stream.cached_info().state.last_sequence;
                }
                tokio::time::sleep(POLL_INTERVAL).await;
            };
            while self.acknowledged_up_to().await.is_none_or(|floor| floor < last) {
                tokio::time::sleep(POLL_INTERVAL).await;
            }
        };
        tokio::time::timeout(timeout, recovered)
            .await
            .with_context(|| format!("no recovery within {timeout:?}"))
    }

    /// Sequence up to which every message of `WEBHOOKS` is acknowledged.
    async fn acknowledged_up_to(&self) -> Option<u64> {
        let consumer: PullConsumer = self
            .jetstream
            .get_consumer_from_stream(streams::consumer::STATUS, streams::WEBHOOKS)
            .await
            .ok()?;
        let info = consumer.cached_info();
        // A consumer that was created again starts with an acknowledgement floor of zero.
        if info.num_pending == 0 && info.num_ack_pending == 0 {
            return Some(u64::MAX);
        }
        Some(info.ack_floor.stream_sequence)
    }
}

/// The port of a URL on this machine.
fn port(url: &str) -> anyhow::Result<u16> {
    let digits = url.rsplit(':').next().and_then(|rest| rest.split('/').next()).unwrap_or_default();
    digits.parse().with_context(|| format!("{url} names no port"))
}
