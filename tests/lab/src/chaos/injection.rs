//! Begins and ends each fault.

use std::time::Duration;

use aftercall_common::contract::streams;
use aftercall_local::{
    process::Signal,
    simulator::{Answer, Faults},
};
use anyhow::Context as _;
use bytes::Bytes;
use mongodb::bson;
use tokio::{io::AsyncWriteExt as _, net::TcpStream};

use super::{
    fault::Fault,
    service::{READY_TIMEOUT, Service},
    system::{COPIES, System},
};
use crate::{
    disk::{Disk, Loss},
    link::Mode,
};

/// Connections of [`Fault::SlowClients`].
const SLOW_CLIENTS: usize = 300;
/// Delay of every answer of a slow database.
const DATABASE_DELAY: Duration = Duration::from_millis(300);
/// Duration of a sync on a slow disk.
const SLOW_SYNC: Duration = Duration::from_millis(80);
/// Longest time for a sync of the database on a disk with free space.
const SYNC_TIMEOUT: Duration = Duration::from_secs(5);
/// Time before a power cut. In a third of the cuts, the broker is down during this time, so that the spool
/// fills.
const LOAD_BEFORE_CUT: Duration = Duration::from_millis(1_500);
/// Possible durations of a sync before a power cut, in milliseconds. With the first, gateways publish every
/// webhook alone; with the last, they publish batches.
const SYNC_MILLIS: [u64; 4] = [0, 3, 6, 10];
/// Messages that are no valid webhooks. The worker has to move each of them to the dead letters.
const POISON: [&str; 6] = [
    "\u{0}\u{1}\u{2}",
    "[]",
    r#"{"event_type":"call.busy"}"#,
    r#"{"event_type":"call.vanished","call_id":"c"}"#,
    r#"{"event_type":"call.busy","conversation_id":"../../etc"}"#,
    r#"{"event_type":null,"call_id":{"$gt":""}}"#,
];

impl System {
    /// Begins `fault`. `pick` selects the affected gateway or worker.
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
                let new = Service { process, command, admin };
                let mut old = std::mem::replace(&mut self.workers[pick % COPIES], new);
                old.end(false).await?;
            }
            Fault::DatabaseKilled => self.database.kill().await?,
            Fault::DatabaseFrozen => self.database.freeze()?,
            Fault::DatabaseSlow => self.to_database.set(Mode::Slow(DATABASE_DELAY)),
            Fault::DatabaseMute => self.to_database.set(Mode::AnswersCut),
            Fault::ApiStorm => {
                let faults =
                    Faults { slow: Duration::from_secs(1), rate_limit: 0.3, fail: 0.3, ..Faults::default() };
                self.simulator.set_faults(faults);
                let answers =
                    [Answer::Status(500), Answer::Reset, Answer::Garbage, Answer::NotFound, Answer::Done];
                self.simulator.script_default(answers);
            }
            Fault::Garbage => self.send_garbage().await?,
            Fault::SlowClients => self.open_slow_clients().await,
            Fault::PowerCut => self.cut_power(pick).await?,
            Fault::DiskFull => self.disk()?.fill(),
            Fault::DiskSlow => self.disk()?.slow(SLOW_SYNC),
        }
        Ok(())
    }

    /// Ends `fault`: starts, resumes or repairs the affected parts, without waiting until they are ready.
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
            Fault::SlowClients => self.slow_clients.clear(),
            Fault::PowerCut => {
                self.broker.restart().await?;
                self.database.restart().await?;
                for service in self.gateways.iter_mut().chain(&mut self.workers) {
                    service.restart(&self.launcher).await?;
                }
            }
            Fault::DiskFull => {
                self.disk()?.make_room();
                // After an error of its disk, nats-server stores nothing until it is restarted (see
                // deploy/RUNBOOK.md). mongod ends by itself some time after such an error.
                self.broker.restart().await?;
                if !self.database_syncs().await {
                    self.database.restart().await?;
                }
            }
            Fault::DiskSlow => self.disk()?.slow(Duration::ZERO),
        }
        Ok(())
    }

    /// Whether the database runs and can sync its data.
    async fn database_syncs(&mut self) -> bool {
        let admin = self.calls.client().database("admin");
        let synced = tokio::time::timeout(SYNC_TIMEOUT, admin.run_command(bson::doc! { "fsync": 1 })).await;
        self.database.process().is_running() && matches!(synced, Ok(Ok(_)))
    }

    fn disk(&mut self) -> anyhow::Result<&mut Disk> {
        self.disk.as_mut().context("there is no disk for faults")
    }

    /// Kills all processes at once, and removes unsynced data. `pick` selects whether the broker is killed
    /// earlier, how long a sync takes, and whether parts of the unsynced data survive.
    async fn cut_power(&mut self, pick: usize) -> anyhow::Result<()> {
        self.disk()?.slow(Duration::from_millis(SYNC_MILLIS[pick / 7 % SYNC_MILLIS.len()]));
        if pick.is_multiple_of(3) {
            self.broker.kill().await?;
        }
        tokio::time::sleep(LOAD_BEFORE_CUT).await;
        // All processes get the signal before this task waits for the first one to end. So no process can
        // react to the end of another.
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
            process.wait(READY_TIMEOUT).await?;
        }
        let loss = if pick.is_multiple_of(2) { Loss::Everything } else { Loss::Some(pick as u64) };
        let disk = self.disk()?;
        disk.slow(Duration::ZERO);
        let removed = disk.cut(loss)?;
        self.power_cut_loss.pages += removed.pages;
        self.power_cut_loss.changes += removed.changes;
        Ok(())
    }

    /// Limits the stream to its present messages, or removes the limit.
    async fn limit_stream(&self, full: bool) -> anyhow::Result<()> {
        let stream = self.jetstream.get_stream(streams::WEBHOOKS).await?;
        let info = stream.cached_info();
        let mut config = info.config.clone();
        config.max_messages = if full { i64::try_from(info.state.messages)?.max(1) } else { -1 };
        self.jetstream.update_stream(&config).await?;
        Ok(())
    }

    /// Posts bodies that the gateways must refuse, and publishes poison messages.
    async fn send_garbage(&mut self) -> anyhow::Result<()> {
        let huge = Bytes::from(vec![b' '; 33 * 1024 * 1024]);
        for url in &self.urls {
            for body in [Bytes::from_static(b"{"), Bytes::from_static(b"\xff\xfe"), huge.clone()] {
                // A gateway may close the connection before it has read the whole body.
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

    /// Opens connections that send a part of a request.
    async fn open_slow_clients(&mut self) {
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
                self.slow_clients.push(client);
            }
        }
    }
}
