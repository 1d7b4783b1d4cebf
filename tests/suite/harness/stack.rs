//! Broker, database, simulated API, gateway and worker, wired to each other.

use std::{
    net::SocketAddr,
    sync::atomic::{AtomicU32, Ordering},
    time::Duration,
};

use aftercall_common::contract::streams;
use aftercall_local::{
    nats::{self, User, Users},
    ports,
    process::Command,
    server::Server,
    simulator::{self, Simulator},
};
use async_nats::jetstream;
use base64::{Engine as _, prelude::BASE64_STANDARD};
use hmac::{Hmac, KeyInit as _, Mac as _};
use mongodb::{
    Collection,
    bson::{Document, doc},
    options::{CollectionOptions, ReadConcern},
};
use serde_json::Value;
use sha1::Sha1;
use tempfile::TempDir;

use super::{Mongo, PATIENCE, Service, servers, until, until_equal};

pub const CALL_STATUS: &str = "/api/webhooks/elevenlabs/call-status";
pub const TWILIO_CALL_STATUS: &str = "/api/webhooks/twilio/call-status";
pub const LOOKUP: &str = "/api/agent-calls/status";
/// The token that Twilio's callbacks are signed with.
pub const TWILIO_TOKEN: &str = "twilio_t0ken";

/// What a test wants to be different.
#[derive(Default)]
pub struct Setup {
    nats: nats::Options,
    broker: async_nats::ConnectOptions,
    own_mongod: bool,
    mongodb: Option<Mongo>,
    without_worker: bool,
    simulator: Option<simulator::Options>,
    gateway: Vec<(String, String)>,
    gateway_unset: Vec<&'static str>,
    gateway_behind: Option<&'static str>,
    worker: Vec<(String, String)>,
}

impl Setup {
    pub fn nats(mut self, options: nats::Options) -> Self {
        self.nats = options;
        self
    }

    /// How the test itself connects to the broker.
    pub fn broker(mut self, options: async_nats::ConnectOptions) -> Self {
        self.broker = options;
        self
    }

    /// The broker knows the users of `deploy/nats/users.conf`, and each process is its own. The test is the operator.
    pub fn users(mut self, users: &Users) -> Self {
        self.nats.users = Some(users.clone());
        let (name, password) = (User::Operator.name(), users.password(User::Operator));
        self.broker =
            async_nats::ConnectOptions::with_user_and_password(name.to_owned(), password.to_owned());
        self
    }

    /// A mongod that the test may kill.
    pub fn own_mongod(mut self) -> Self {
        self.own_mongod = true;
        self
    }

    /// A database of the test's own making.
    pub fn mongodb(mut self, uri: String) -> Self {
        self.mongodb = Some(Mongo::Shared(uri));
        self
    }

    /// The same, which the test may kill.
    pub fn database(mut self, server: Server) -> Self {
        self.mongodb = Some(Mongo::Own(Box::new(server)));
        self
    }

    /// The test starts workers itself, or wants none.
    pub fn without_worker(mut self) -> Self {
        self.without_worker = true;
        self
    }

    /// A simulated provider that reports its calls to the gateway; as Twilio too, where the options say
    /// so with any URL.
    pub fn simulator(mut self, options: simulator::Options) -> Self {
        self.simulator = Some(options);
        self
    }

    pub fn gateway_env(mut self, name: &str, value: &str) -> Self {
        self.gateway.push((name.to_owned(), value.to_owned()));
        self
    }

    /// Leaves out a variable that the gateway of a test usually has.
    pub fn gateway_unset(mut self, name: &'static str) -> Self {
        self.gateway_unset.push(name);
        self
    }

    /// For gateway and workers.
    pub fn env(self, name: &str, value: &str) -> Self {
        self.gateway_env(name, value).worker_env(name, value)
    }

    /// Words of the shell's before the gateway, such as `ulimit -n 64 && exec`.
    pub fn gateway_behind(mut self, shell: &'static str) -> Self {
        self.gateway_behind = Some(shell);
        self
    }

    pub fn worker_env(mut self, name: &str, value: &str) -> Self {
        self.worker.push((name.to_owned(), value.to_owned()));
        self
    }

    /// Starts everything and waits until it is ready.
    pub async fn start(self) -> Stack {
        static DATABASES: AtomicU32 = AtomicU32::new(0);
        let logs = tempfile::Builder::new().prefix("aftercall-test-").tempdir().unwrap();
        let users = self.nats.users.clone();
        let nats = servers::nats(self.nats).await;
        let nats_url =
            |user| users.as_ref().map_or_else(|| nats.url(), |users| users.login(user, &nats.url()));
        let mongo = match self.mongodb {
            Some(mongo) => mongo,
            None if self.own_mongod => Mongo::own().await,
            None => Mongo::shared().await,
        };
        let (public, admin) = (ports::free().unwrap(), ports::free().unwrap());
        let mut options = self.simulator.clone().unwrap_or_default();
        if self.simulator.is_some() {
            options.webhook_url = Some(format!("http://127.0.0.1:{public}{CALL_STATUS}"));
            if let Some(twilio) = &mut options.twilio {
                twilio.url = format!("http://127.0.0.1:{public}{TWILIO_CALL_STATUS}");
                twilio.auth_token.get_or_insert(TWILIO_TOKEN.to_owned());
            }
        }
        let simulator = Simulator::start_with(([127, 0, 0, 1], 0).into(), options).await.unwrap();
        let http = aftercall_local::http_client(PATIENCE).unwrap();
        let database = format!("test_{}", DATABASES.fetch_add(1, Ordering::Relaxed));

        let pair = |name: &str, value: String| (name.to_owned(), value);
        let mut vars = vec![
            pair("LISTEN_ADDR", format!("127.0.0.1:{public}")),
            pair("ADMIN_ADDR", format!("127.0.0.1:{admin}")),
            pair("NATS_URL", nats_url(User::Gateway)),
            pair("LOG_FORMAT", "text".to_owned()),
            pair("TWILIO_AUTH_TOKEN", TWILIO_TOKEN.to_owned()),
            pair("PUBLIC_URL", format!("http://127.0.0.1:{public}")),
        ];
        vars.retain(|(name, _)| !self.gateway_unset.contains(&name.as_str()));
        vars.extend(self.gateway);
        let command = match self.gateway_behind {
            Some(shell) => Service::behind(shell, "gateway", logs.path(), &vars),
            None => Service::command("gateway", logs.path(), &vars),
        };
        let mut gateway = Service::start(command, admin).await;
        gateway.until_ready(&http).await;

        let worker_vars = [
            vec![
                pair("NATS_URL", nats_url(User::Worker)),
                pair("MONGODB_URI", mongo.uri()),
                pair("MONGODB_DATABASE", database.clone()),
                pair("ELEVENLABS_BASE_URL", simulator.base_url()),
                pair("ELEVENLABS_API_KEY", "simulated".to_owned()),
                pair("LOG_FORMAT", "text".to_owned()),
            ],
            self.worker,
        ]
        .concat();
        let client = mongodb::Client::with_uri_str(mongo.uri()).await.unwrap();
        // What is read here is what the worker reads: what a majority has.
        let majority = CollectionOptions::builder().read_concern(ReadConcern::majority()).build();
        let calls = client.database(&database).collection_with_options("agent_calls", majority);
        let broker = self.broker.connect(nats.url()).await.unwrap();
        let mut stack = Stack {
            base: format!("http://127.0.0.1:{public}"),
            public: SocketAddr::from(([127, 0, 0, 1], public)),
            jetstream: jetstream::new(broker),
            workers: Vec::new(),
            worker_vars,
            gateway,
            nats,
            mongo,
            simulator,
            http,
            calls,
            logs,
        };
        if !self.without_worker {
            stack.add_worker().await;
        }
        stack
    }
}

/// The answer to a request.
#[derive(Debug, PartialEq)]
pub struct Answer {
    pub status: u16,
    /// `Null` for a body that is no JSON.
    pub body: Value,
}

impl Answer {
    /// The stable code of a problem.
    pub fn code(&self) -> &str {
        self.body["code"].as_str().unwrap_or_default()
    }
}

/// A running Aftercall. Dropping it ends its processes.
pub struct Stack {
    pub gateway: Service,
    pub workers: Vec<Service>,
    pub nats: Server,
    pub mongo: Mongo,
    pub simulator: Simulator,
    pub http: reqwest::Client,
    pub calls: Collection<Document>,
    pub jetstream: jetstream::Context,
    pub base: String,
    pub public: SocketAddr,
    worker_vars: Vec<(String, String)>,
    logs: TempDir,
}

impl Stack {
    pub async fn start() -> Self {
        Setup::default().start().await
    }

    /// Changes the environment of the workers to come.
    pub fn worker_env(&mut self, name: &str, value: &str) {
        self.worker_vars.retain(|(other, _)| other != name);
        self.worker_vars.push((name.to_owned(), value.to_owned()));
    }

    /// The command of one more worker, and the port of its admin listener.
    pub fn worker_command(&self) -> (Command, u16) {
        let admin = ports::free().unwrap();
        let mut vars = self.worker_vars.clone();
        vars.push(("ADMIN_ADDR".to_owned(), format!("127.0.0.1:{admin}")));
        (Service::command("worker", self.logs.path(), &vars), admin)
    }

    /// Starts one more worker and waits until it is ready.
    pub async fn add_worker(&mut self) -> &mut Service {
        let (command, admin) = self.worker_command();
        let mut worker = Service::start(command, admin).await;
        worker.until_ready(&self.http).await;
        self.workers.push(worker);
        self.workers.last_mut().unwrap()
    }

    /// Runs a command of the worker in the workers' environment; its exit code, and what it printed.
    pub async fn command(&self, args: &[&str], vars: &[(&str, &str)]) -> (Option<i32>, String, String) {
        let mut command = tokio::process::Command::new(env!("CARGO_BIN_EXE_aftercall-tests"));
        command.env_clear().envs(self.worker_vars.iter().cloned()).envs(vars.iter().copied());
        command.arg("worker").args(args).kill_on_drop(true).stdin(std::process::Stdio::null());
        let output = tokio::time::timeout(PATIENCE, command.output()).await.unwrap().unwrap();
        let text = |bytes| String::from_utf8(bytes).unwrap();
        (output.status.code(), text(output.stdout), text(output.stderr))
    }

    /// Posts `body` as it is.
    pub async fn post_to(&self, path: &str, body: impl Into<reqwest::Body>) -> Answer {
        self.send(self.http.post(format!("{}{path}", self.base)).body(body)).await
    }

    /// Sends `request`; panics where there is no answer.
    pub async fn send(&self, request: reqwest::RequestBuilder) -> Answer {
        let answer = request.header("content-type", "application/json").send().await.unwrap();
        let status = answer.status().as_u16();
        Answer { status, body: answer.json().await.unwrap_or_default() }
    }

    /// Posts a status callback as Twilio does: `form` URL-encoded, to the path with `query`, signed.
    pub async fn twilio_to(&self, query: &str, form: &str) -> Answer {
        let url = format!("{}{TWILIO_CALL_STATUS}{query}", self.base);
        let signature = twilio_signature(&url, form);
        let request = self.http.post(url).body(form.to_owned()).header("x-twilio-signature", signature);
        let answer =
            request.header("content-type", "application/x-www-form-urlencoded").send().await.unwrap();
        Answer { status: answer.status().as_u16(), body: answer.json().await.unwrap_or_default() }
    }

    /// Posts a status callback that must be accepted; its answer.
    pub async fn twilio(&self, form: &str) -> Value {
        let answer = self.twilio_to("", form).await;
        assert_eq!(answer.status, 200, "{}", answer.body);
        answer.body
    }

    /// Posts a webhook that must be accepted; its answer.
    pub async fn webhook(&self, body: &Value) -> Value {
        let answer = self.post_to(CALL_STATUS, body.to_string()).await;
        assert_eq!(answer.status, 200, "{}", answer.body);
        answer.body
    }

    /// Posts a webhook until it is accepted, as a sender that repeats would.
    pub async fn webhook_until_accepted(&self, body: &Value) {
        until("webhook accepted", async || {
            let request = self.http.post(format!("{}{CALL_STATUS}", self.base)).body(body.to_string());
            let answer = request.timeout(Duration::from_secs(10)).send().await.ok()?;
            (answer.status() == 200).then_some(())
        })
        .await;
    }

    /// The status lookup.
    pub async fn lookup(&self, query: Value) -> Answer {
        self.post_to(LOOKUP, query.to_string()).await
    }

    /// Waits until no webhook is pending or unsettled.
    pub async fn settled(&self) {
        until_equal("webhooks pending and unsettled", Some((0, 0)), async || self.backlog().await).await;
    }

    /// Webhooks not delivered yet, and delivered but not settled.
    pub async fn backlog(&self) -> Option<(u64, usize)> {
        self.lag(streams::consumer::STATUS, streams::WEBHOOKS).await
    }

    /// The same of transcript jobs.
    pub async fn jobs(&self) -> Option<(u64, usize)> {
        self.lag(streams::consumer::TRANSCRIPTS, streams::TRANSCRIPTS).await
    }

    async fn lag(&self, consumer: &str, stream: &str) -> Option<(u64, usize)> {
        let info = self.consumer(consumer, stream).await?;
        Some((info.num_pending, info.num_ack_pending))
    }

    /// What the broker says of a consumer, if there is one.
    pub async fn consumer(&self, consumer: &str, stream: &str) -> Option<jetstream::consumer::Info> {
        let consumer: jetstream::consumer::PullConsumer =
            self.jetstream.get_consumer_from_stream(consumer, stream).await.ok()?;
        consumer.get_info().await.ok()
    }

    /// The one document that matches; waits for it.
    pub async fn document(&self, filter: Document) -> Document {
        until(&format!("a document with {filter}"), async || {
            self.calls.find_one(filter.clone()).await.unwrap()
        })
        .await
    }

    /// Waits until the call's document has these values.
    pub async fn until_call(&self, call_id: &str, wanted: Document) -> Document {
        let mut filter = doc! { "callId": call_id };
        filter.extend(wanted);
        self.document(filter).await
    }

    pub async fn count(&self, filter: Document) -> u64 {
        self.calls.count_documents(filter).await.unwrap()
    }

    /// Messages in a stream.
    pub async fn stored(&self, stream: &str) -> u64 {
        self.jetstream.get_stream(stream).await.unwrap().cached_info().state.messages
    }

    /// The message of `stream` at `sequence`.
    pub async fn message(&self, stream: &str, sequence: u64) -> jetstream::message::StreamMessage {
        self.jetstream.get_stream(stream).await.unwrap().get_raw_message(sequence).await.unwrap()
    }
}

/// `X-Twilio-Signature` of `form` posted to `url`.
pub fn twilio_signature(url: &str, form: &str) -> String {
    let form = form.trim_start_matches('\u{feff}');
    let mut parameters: Vec<_> = form_urlencoded::parse(form.as_bytes()).collect();
    parameters.sort();
    let mut mac = Hmac::<Sha1>::new_from_slice(TWILIO_TOKEN.as_bytes()).unwrap();
    mac.update(url.as_bytes());
    for (name, value) in parameters {
        mac.update(name.as_bytes());
        mac.update(value.as_bytes());
    }
    BASE64_STANDARD.encode(mac.finalize().into_bytes())
}
