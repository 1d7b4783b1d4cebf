//! A running Aftercall for one test: broker, database, simulated API, gateway and workers.

use std::{net::SocketAddr, time::Duration};

use aftercall_common::contract::streams;
use aftercall_local::{ports, process::Command, server::Server, simulator::Simulator};
use async_nats::jetstream::{self, consumer::pull};
use mongodb::{
    Collection,
    bson::{Document, doc},
};
use tempfile::TempDir;

use super::{
    servers::Mongo,
    service::Service,
    timeouts::{until, until_equal, within_more},
};

/// A running Aftercall. Dropping it ends its processes.
pub struct TestStack {
    pub gateway: Service,
    pub workers: Vec<Service>,
    pub nats: Server,
    pub mongo: Mongo,
    pub simulator: Simulator,
    pub http: reqwest::Client,
    pub calls: Collection<Document>,
    pub jetstream: jetstream::Context,
    /// The URL of the public listener.
    pub base: String,
    /// The address of the public listener.
    pub public: SocketAddr,
    /// The environment of workers.
    pub(super) worker_vars: Vec<(String, String)>,
    pub(super) logs: TempDir,
}

impl TestStack {
    /// Changes the environment of workers that start later.
    pub fn worker_env(&mut self, name: &str, value: &str) {
        self.worker_vars.retain(|(other, _)| other != name);
        self.worker_vars.push((name.to_owned(), value.to_owned()));
    }

    /// The command of a further worker, and the port of its admin listener.
    pub fn worker_command(&self) -> (Command, u16) {
        let admin = ports::free().unwrap();
        let mut vars = self.worker_vars.clone();
        vars.push(("ADMIN_ADDR".to_owned(), format!("127.0.0.1:{admin}")));
        (Service::command("worker", self.logs.path(), &vars), admin)
    }

    /// Starts a further worker and waits until it is ready.
    pub async fn add_worker(&mut self) -> &mut Service {
        let (command, admin) = self.worker_command();
        let mut worker = Service::start(command, admin).await;
        worker.until_ready(&self.http).await;
        self.workers.push(worker);
        self.workers.last_mut().unwrap()
    }

    /// Runs a command of the worker in the environment of workers. Returns exit code, standard output and
    /// standard error.
    pub async fn command(&self, args: &[&str], vars: &[(&str, &str)]) -> (Option<i32>, String, String) {
        self.long_command(args, vars, Duration::ZERO).await
    }

    /// [`Self::command`] for a command that may take `more` than the usual time.
    pub async fn long_command(
        &self,
        args: &[&str],
        vars: &[(&str, &str)],
        more: Duration,
    ) -> (Option<i32>, String, String) {
        let mut command = tokio::process::Command::new(env!("CARGO_BIN_EXE_aftercall-tests"));
        command.env_clear().envs(self.worker_vars.iter().cloned()).envs(vars.iter().copied());
        command.arg("worker").args(args).kill_on_drop(true).stdin(std::process::Stdio::null());
        let output = within_more("the command ends", more, command.output()).await.unwrap();
        let text = |bytes| String::from_utf8(bytes).unwrap();
        (output.status.code(), text(output.stdout), text(output.stderr))
    }

    /// Waits until workers have acknowledged all webhooks.
    pub async fn all_acknowledged(&self) {
        until_equal("webhooks pending and unacknowledged", Some((0, 0)), async || self.backlog().await).await;
    }

    /// Two numbers of webhooks: not delivered yet, and delivered but not acknowledged.
    pub async fn backlog(&self) -> Option<(u64, usize)> {
        let last = self.jetstream.get_stream(streams::WEBHOOKS).await.ok()?.cached_info().state.last_sequence;
        let info = self.consumer(streams::consumer::STATUS, streams::WEBHOOKS).await?;
        // The broker counts a new message as pending a moment after it has stored it.
        let undelivered = last.saturating_sub(info.delivered.stream_sequence);
        Some((info.num_pending.max(undelivered), info.num_ack_pending))
    }

    /// Two numbers of transcript jobs: not delivered yet, and delivered but not acknowledged.
    pub async fn jobs(&self) -> Option<(u64, usize)> {
        self.lag(streams::consumer::TRANSCRIPTS, streams::TRANSCRIPTS).await
    }

    async fn lag(&self, consumer: &str, stream: &str) -> Option<(u64, usize)> {
        let info = self.consumer(consumer, stream).await?;
        Some((info.num_pending, info.num_ack_pending))
    }

    /// Makes the broker deliver unacknowledged messages of a killed worker again at once instead of after
    /// [`streams::ACK_WAIT`]. The next worker that starts restores the setting.
    pub async fn expire_deliveries(&self) {
        const ACK_WAIT: Duration = Duration::from_millis(100);
        for (stream, config) in streams::consumers() {
            let config = pull::Config { ack_wait: ACK_WAIT, ..config };
            self.jetstream.create_consumer_on_stream(config, stream).await.unwrap();
        }
        tokio::time::sleep(ACK_WAIT * 3).await; // The broker checks its deliveries in the meantime.
    }

    /// The broker's information on a consumer; `None` if there is no such consumer.
    pub async fn consumer(&self, consumer: &str, stream: &str) -> Option<jetstream::consumer::Info> {
        let consumer: jetstream::consumer::PullConsumer =
            self.jetstream.get_consumer_from_stream(consumer, stream).await.ok()?;
        consumer.get_info().await.ok()
    }

    /// Waits for a document that matches `filter`.
    pub async fn document(&self, filter: Document) -> Document {
        until(&format!("a document with {filter}"), async || {
            self.calls.find_one(filter.clone()).await.unwrap()
        })
        .await
    }

    /// Waits until the document of the call has the values in `wanted`.
    pub async fn until_call(&self, call_id: &str, wanted: Document) -> Document {
        let mut filter = doc! { "callId": call_id };
        filter.extend(wanted);
        self.document(filter).await
    }

    /// Number of documents that match `filter`.
    pub async fn count(&self, filter: Document) -> u64 {
        self.calls.count_documents(filter).await.unwrap()
    }

    /// Number of messages in `stream`.
    pub async fn stored(&self, stream: &str) -> u64 {
        self.jetstream.get_stream(stream).await.unwrap().cached_info().state.messages
    }

    /// The message of `stream` at `sequence`.
    pub async fn message(&self, stream: &str, sequence: u64) -> jetstream::message::StreamMessage {
        self.jetstream.get_stream(stream).await.unwrap().get_raw_message(sequence).await.unwrap()
    }
}
