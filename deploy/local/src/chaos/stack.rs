//! What is broken: two gateways, two workers, broker, database and simulated API, with a cuttable link
//! between every service and what it talks to.

use std::{
    net::Ipv4Addr,
    path::{Path, PathBuf},
    time::Duration,
};

use aftercall_common::contract::streams;
use anyhow::Context as _;
use async_nats::jetstream::{self, consumer::PullConsumer};
use bytes::Bytes;
use mongodb::{Collection, bson};
use tokio::{io::AsyncWriteExt as _, net::TcpStream};

use super::{
    Fault,
    link::{Link, Mode},
    service::{READY, Service},
};
use crate::{
    OPEN_GATEWAY,
    disk::{Disk, Loss, Lost},
    http_client, mongod, nats, ports,
    process::{Command, Launcher, Signal},
    server::Server,
    servers::{self, MONGOD, NATS},
    simulator::{Answer, Faults, Simulator},
};

/// Path of the ElevenLabs webhook.
pub(super) const WEBHOOK_PATH: &str = "/api/webhooks/elevenlabs/call-status";
const DATABASE: &str = "chaos";
/// Of gateways, and of workers.
const COPIES: usize = 2;
/// Connections of [`Fault::SlowClients`].
const SLOW_CLIENTS: usize = 300;
/// How late a slow database answers.
const LATE: Duration = Duration::from_millis(300);
/// How long a sync of a slow disk takes.
const SLOW_SYNC: Duration = Duration::from_millis(80);
/// Longest a database takes to sync on a disk with room.
const SYNC: Duration = Duration::from_secs(5);
/// How long the broker is away before every third power cut, so that the spool holds something.
const SPOOLING: Duration = Duration::from_millis(1_500);
/// How long a sync takes in the time before a power cut, one of these, milliseconds: with the first every
/// webhook is stored alone, with the last they gather and are stored in batches.
const SYNCS: [u64; 4] = [0, 3, 6, 10];

/// Bodies that are no webhooks and can never become one. The worker has to bury each.
const POISON: [&str; 6] = [
    "\u{0}\u{1}\u{2}",
    "[]",
    r#"{"event_type":"call.busy"}"#,
    r#"{"event_type":"call.vanished","call_id":"c"}"#,
    r#"{"event_type":"call.busy","conversation_id":"../../etc"}"#,
    r#"{"event_type":null,"call_id":{"$gt":""}}"#,
];

/// Everything that runs.
pub(super) struct Stack {
    launcher: Launcher,
    pub gateways: Vec<Service>,
    pub workers: Vec<Service>,
    broker: Server,
    database: Server,
    simulator: Simulator,
    /// Towards the broker, of every service.
    to_broker: Link,
    to_database: Link,
    to_api: Link,
    /// Where webhooks are posted.
    pub urls: Vec<String>,
    pub http: reqwest::Client,
    pub calls: Collection<bson::Document>,
    pub jetstream: jetstream::Context,
    slow: Vec<TcpStream>,
    /// Poison put into the stream so far.
    pub poison: usize,
    /// What power cuts took.
    pub toll: Lost,
    logs: PathBuf,
    /// Of broker, database and spool; after them, since it can be unmounted only when they have ended.
    disk: Option<Disk>,
}

impl Stack {
    /// Starts everything and waits until it is ready. Logs are kept in `folder`; broker, database and spool
    /// lie on `disk`, if there is one. `sync_always`: whether the broker syncs before it acknowledges.
    pub async fn start(
        launcher: Launcher,
        folder: &Path,
        disk: Option<Disk>,
        sync_always: bool,
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
        let mut stack = Self {
            to_broker: Link::to(port(&broker.url())?).await?,
            to_database: Link::to(port(&database.url())?).await?,
            to_api: Link::to(port(&simulator.base_url())?).await?,
            jetstream: jetstream::new(async_nats::connect(broker.url()).await?),
            http: http_client(Duration::from_secs(15))?,
            calls: client.database(DATABASE).collection("agent_calls"),
            gateways: Vec::new(),
            workers: Vec::new(),
            urls: Vec::new(),
            slow: Vec::new(),
            poison: 0,
            toll: Lost::default(),
            logs: folder.to_owned(),
            disk,
            launcher,
            broker,
            database,
            simulator,
        };
        for n in 0..COPIES {
            let public = ports::free()?;
            stack.urls.push(format!("http://127.0.0.1:{public}{WEBHOOK_PATH}"));
            let (mut command, admin) = stack.command("gateway", n)?;
            command = command.env("LISTEN_ADDR", format!("127.0.0.1:{public}"));
            if n == 0 {
                // The other one refuses with 503 what the broker does not take.
                command = command.env("SPOOL_DIR", &spool);
            }
            let gateway = stack.launch((command, admin)).await?;
            stack.gateways.push(gateway);
        }
        for n in 0..COPIES {
            let command = stack.command("worker", n)?;
            let worker = stack.launch(command).await?;
            stack.workers.push(worker);
        }
        Ok(stack)
    }

    fn command(&self, part: &str, n: usize) -> anyhow::Result<(Command, u16)> {
        let admin = ports::free()?;
        let command = self
            .launcher
            .service(part, self.logs.join(format!("{part}-{n}.log")))
            .clean_env()
            .env("ADMIN_ADDR", format!("127.0.0.1:{admin}"))
            .env("NATS_URL", format!("nats://127.0.0.1:{}", self.to_broker.port()))
            .env(
                "MONGODB_URI",
                // Direct, lest the driver goes around the link to the address the server has of itself.
                format!("mongodb://127.0.0.1:{}/?directConnection=true", self.to_database.port()),
            )
            .env("MONGODB_DATABASE", DATABASE)
            .env("ELEVENLABS_BASE_URL", format!("http://127.0.0.1:{}", self.to_api.port()))
            .env("ELEVENLABS_API_KEY", "simulated")
            // Reconciliation would ask the simulated API how the calls of the load went on, of which only
            // their webhooks are made up.
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

    /// Begins `fault`; `pick` chooses which of several is hit.
    pub async fn begin(&mut self, fault: Fault, pick: usize) -> anyhow::Result<()> {
        match fault {
            Fault::BrokerKilled => self.broker.kill().await?,
            Fault::BrokerFrozen => self.broker.freeze()?,
            Fault::BrokerCut => self.to_broker.set(Mode::Cut),
            Fault::BrokerMute => self.to_broker.set(Mode::AnswersCut),
            Fault::BrokerReset => self.to_broker.set(Mode::Reset),
            Fault::BrokerTrickle => self.to_broker.set(Mode::Trickle),
            Fault::StreamFull => self.limit_stream(true).await?,
            Fault::ConsumerDeleted => {
                let stream = self.jetstream.get_stream(streams::WEBHOOKS).await?;
                stream.delete_consumer(streams::consumer::STATUS).await?;
            }
            Fault::GatewayKilled => self.gateways[pick % COPIES].end(true).await?,
            Fault::GatewayStopped => self.gateways[pick % COPIES].end(false).await?,
            Fault::WorkerKilled => self.workers[pick % COPIES].end(true).await?,
            Fault::WorkerFrozen => self.workers[pick % COPIES].process.signal(Signal::SIGSTOP)?,
            Fault::WorkerReplaced => {
                let (command, admin) = self.command("worker", pick % COPIES)?;
                let process = self.launcher.spawn(&command).await?;
                let young = Service { process, command, admin };
                let mut old = std::mem::replace(&mut self.workers[pick % COPIES], young);
                old.end(false).await?;
            }
            Fault::DatabaseKilled => self.database.kill().await?,
            Fault::DatabaseFrozen => self.database.freeze()?,
            Fault::DatabaseSlow => self.to_database.set(Mode::Slow(LATE)),
            Fault::DatabaseMute => self.to_database.set(Mode::AnswersCut),
            Fault::ApiStorm => {
                let late =
                    Faults { slow: Duration::from_secs(1), rate_limit: 0.3, fail: 0.3, ..Faults::default() };
                self.simulator.set_faults(late);
                let answers =
                    [Answer::Status(500), Answer::Reset, Answer::Garbage, Answer::NotFound, Answer::Done];
                self.simulator.script_default(answers);
            }
            Fault::Garbage => self.throw_garbage().await?,
            Fault::SlowClients => self.dribble().await,
            Fault::PowerCut => self.cut_power(pick).await?,
            Fault::DiskFull => self.disk()?.fill(),
            Fault::DiskSlow => self.disk()?.slow(SLOW_SYNC),
        }
        Ok(())
    }

    /// Ends `fault`: what was stopped runs again. Does not wait for it to be ready.
    pub async fn end(&mut self, fault: Fault, pick: usize) -> anyhow::Result<()> {
        match fault {
            Fault::BrokerKilled => self.broker.restart().await?,
            Fault::BrokerFrozen => self.broker.thaw()?,
            Fault::BrokerCut | Fault::BrokerMute | Fault::BrokerReset | Fault::BrokerTrickle => {
                self.to_broker.set(Mode::Open);
            }
            Fault::StreamFull => self.limit_stream(false).await?,
            Fault::ConsumerDeleted | Fault::WorkerReplaced | Fault::Garbage => {}
            Fault::GatewayKilled | Fault::GatewayStopped => {
                self.gateways[pick % COPIES].restart(&self.launcher).await?;
            }
            Fault::WorkerKilled => self.workers[pick % COPIES].restart(&self.launcher).await?,
            Fault::WorkerFrozen => self.workers[pick % COPIES].process.signal(Signal::SIGCONT)?,
            Fault::DatabaseKilled => self.database.restart().await?,
            Fault::DatabaseFrozen => self.database.thaw()?,
            Fault::DatabaseSlow | Fault::DatabaseMute => self.to_database.set(Mode::Open),
            Fault::ApiStorm => {
                self.simulator.set_faults(Faults::default());
                self.simulator.script_default([Answer::Done]);
            }
            Fault::SlowClients => self.slow.clear(),
            Fault::PowerCut => {
                self.broker.restart().await?;
                self.database.restart().await?;
                for service in self.gateways.iter_mut().chain(&mut self.workers) {
                    service.restart(&self.launcher).await?;
                }
            }
            Fault::DiskFull => {
                self.disk()?.make_room();
                // It takes nothing more, having met an error of its disk, until it is started again: as the
                // runbook says. A database in that case ends by itself, which takes it a while.
                self.broker.restart().await?;
                if !self.database_syncs().await {
                    self.database.restart().await?;
                }
            }
            Fault::DiskSlow => self.disk()?.slow(Duration::ZERO),
        }
        Ok(())
    }

    /// Whether the database runs and still takes things to its disk.
    async fn database_syncs(&mut self) -> bool {
        let admin = self.calls.client().database("admin");
        let synced = tokio::time::timeout(SYNC, admin.run_command(bson::doc! { "fsync": 1 })).await;
        self.database.process().is_running() && matches!(synced, Ok(Ok(_)))
    }

    fn disk(&mut self) -> anyhow::Result<&mut Disk> {
        self.disk.as_mut().context("there is no disk that can be broken")
    }

    /// Kills everything at once and drops what was not synced. `pick` decides whether the broker was away
    /// before, how slow the disk was, and whether parts of the unsynced stay.
    async fn cut_power(&mut self, pick: usize) -> anyhow::Result<()> {
        self.disk()?.slow(Duration::from_millis(SYNCS[pick / 7 % SYNCS.len()]));
        if pick.is_multiple_of(3) {
            self.broker.kill().await?;
        }
        tokio::time::sleep(SPOOLING).await;
        // First all signals, then all waiting: nothing has time to put things in order.
        let servers = [self.broker.process(), self.database.process()];
        let services = self.gateways.iter_mut().chain(&mut self.workers).map(|service| &mut service.process);
        let mut all: Vec<_> = servers
            .into_iter()
            .chain(services)
            .filter_map(|process| process.is_running().then_some(process))
            .collect();
        for process in &mut all {
            process.kill()?;
        }
        for process in all {
            process.wait(READY).await?;
        }
        let loss = if pick.is_multiple_of(2) { Loss::Everything } else { Loss::Some(pick as u64) };
        let disk = self.disk()?;
        disk.slow(Duration::ZERO);
        let toll = disk.cut(loss)?;
        self.toll.pages += toll.pages;
        self.toll.changes += toll.changes;
        Ok(())
    }

    async fn limit_stream(&self, full: bool) -> anyhow::Result<()> {
        let stream = self.jetstream.get_stream(streams::WEBHOOKS).await?;
        let info = stream.cached_info();
        let mut config = info.config.clone();
        config.max_messages = if full { i64::try_from(info.state.messages)?.max(1) } else { -1 };
        self.jetstream.update_stream(&config).await?;
        Ok(())
    }

    async fn throw_garbage(&mut self) -> anyhow::Result<()> {
        let huge = Bytes::from(vec![b' '; 33 * 1024 * 1024]);
        for url in &self.urls {
            for body in [Bytes::from_static(b"{"), Bytes::from_static(b"\xff\xfe"), huge.clone()] {
                // A gateway that closes before it has read all is right to do so.
                if let Ok(answer) = self.http.post(url).body(body).send().await {
                    anyhow::ensure!(
                        !answer.status().is_success(),
                        "garbage was accepted: {}",
                        answer.status()
                    );
                }
            }
        }
        for body in POISON {
            let subject = streams::subject::ELEVENLABS_CALL_STATUS;
            self.jetstream.publish(subject, body.into()).await?.await?;
            self.poison += 1;
        }
        Ok(())
    }

    async fn dribble(&mut self) {
        for n in 0..SLOW_CLIENTS {
            let url = &self.urls[n % self.urls.len()];
            let address = url.trim_start_matches("http://").split('/').next().unwrap_or_default();
            let Ok(mut client) = TcpStream::connect(address).await else { continue };
            let begun: &[u8] = match n % 3 {
                0 => b"",
                1 => b"POST /api/webhooks/elevenlabs/call-status HTTP/1.1\r\nHost: x\r\nX-Slow: ",
                _ => b"POST /api/webhooks/elevenlabs/call-status HTTP/1.1\r\nHost: x\r\nContent-Length: 100\r\n\r\n{",
            };
            if client.write_all(begun).await.is_ok() {
                self.slow.push(client);
            }
        }
    }

    /// Waits until every gateway accepts, everything stored so far is settled, and no spool holds anything.
    pub async fn until_recovered(&self, http: &reqwest::Client, patience: Duration) -> anyhow::Result<()> {
        let recovered = async {
            for gateway in &self.gateways {
                while !gateway.is_ready_and_drained(http).await {
                    tokio::time::sleep(Duration::from_millis(50)).await;
                }
            }
            let last = loop {
                if let Ok(stream) = self.jetstream.get_stream(streams::WEBHOOKS).await {
                    break stream.cached_info().state.last_sequence;
                }
                tokio::time::sleep(Duration::from_millis(50)).await;
            };
            while self.settled_up_to().await.is_none_or(|floor| floor < last) {
                tokio::time::sleep(Duration::from_millis(50)).await;
            }
        };
        tokio::time::timeout(patience, recovered)
            .await
            .with_context(|| format!("no recovery within {patience:?}"))
    }

    /// Every message of `WEBHOOKS` up to this one is settled.
    async fn settled_up_to(&self) -> Option<u64> {
        let consumer: PullConsumer = self
            .jetstream
            .get_consumer_from_stream(streams::consumer::STATUS, streams::WEBHOOKS)
            .await
            .ok()?;
        let info = consumer.cached_info();
        // A consumer that was made again begins with nothing settled and everything pending.
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
