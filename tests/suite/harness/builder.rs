//! Configures and starts a [`TestStack`].

use std::{
    net::SocketAddr,
    sync::atomic::{AtomicU32, Ordering},
};

use aftercall_local::{
    nats::{self, User, UserPasswords},
    ports,
    server::Server,
    simulator::{self, Simulator},
};
use async_nats::jetstream;
use mongodb::options::{CollectionOptions, ReadConcern};
use tempfile::TempDir;

use super::{
    requests::{CALL_STATUS, TWILIO_CALL_STATUS, TWILIO_TOKEN},
    servers::{self, Mongo},
    service::Service,
    stack::TestStack,
    timeouts::test_timeout,
};

/// The configuration of a [`TestStack`]. The default is a broker, a gateway, a worker and the shared mongod.
#[derive(Default)]
pub struct TestStackBuilder {
    nats: nats::Options,
    broker: async_nats::ConnectOptions,
    own_mongod: bool,
    mongodb: Option<Mongo>,
    without_worker: bool,
    simulator: Option<simulator::Options>,
    gateway: Vec<(String, String)>,
    gateway_unset: Vec<&'static str>,
    gateway_shell_prefix: Option<&'static str>,
    worker: Vec<(String, String)>,
}

impl TestStack {
    /// Configures a stack that differs from the default.
    pub fn builder() -> TestStackBuilder {
        TestStackBuilder::default()
    }

    /// Starts a stack with the default configuration.
    pub async fn start() -> Self {
        Self::builder().start().await
    }
}

impl TestStackBuilder {
    /// Starts the broker with these options.
    pub fn nats(mut self, options: nats::Options) -> Self {
        self.nats = options;
        self
    }

    /// Sets how the test itself connects to the broker.
    pub fn broker(mut self, options: async_nats::ConnectOptions) -> Self {
        self.broker = options;
        self
    }

    /// Configures the broker with the users of `deploy/nats/users.conf`. Gateway and worker use their own
    /// users, the test uses the user of operators.
    pub fn users(mut self, users: &UserPasswords) -> Self {
        self.nats.users = Some(users.clone());
        let (name, password) = (User::Operator.name(), users.password(User::Operator));
        self.broker =
            async_nats::ConnectOptions::with_user_and_password(name.to_owned(), password.to_owned());
        self
    }

    /// Starts a mongod for this test alone, which the test may kill.
    pub fn own_mongod(mut self) -> Self {
        self.own_mongod = true;
        self
    }

    /// Uses the database at `uri`, which the test has started.
    pub fn mongodb(mut self, uri: String) -> Self {
        self.mongodb = Some(Mongo::Shared(uri));
        self
    }

    /// Uses `server`, which the test has started and may kill.
    pub fn database(mut self, server: Server) -> Self {
        self.mongodb = Some(Mongo::Own(Box::new(server)));
        self
    }

    /// Starts no worker.
    pub fn without_worker(mut self) -> Self {
        self.without_worker = true;
        self
    }

    /// The simulated API reports its calls to the gateway. If the options contain Twilio, with any URL, the
    /// simulator also sends Twilio's callbacks.
    pub fn simulator(mut self, options: simulator::Options) -> Self {
        self.simulator = Some(options);
        self
    }

    /// Sets a variable of the gateway.
    pub fn gateway_env(mut self, name: &str, value: &str) -> Self {
        self.gateway.push((name.to_owned(), value.to_owned()));
        self
    }

    /// Leaves out a variable that the gateway has by default.
    pub fn gateway_unset(mut self, name: &'static str) -> Self {
        self.gateway_unset.push(name);
        self
    }

    /// Sets a variable of gateway and workers.
    pub fn env(self, name: &str, value: &str) -> Self {
        self.gateway_env(name, value).worker_env(name, value)
    }

    /// Starts the gateway from a shell, behind `prefix`, such as `ulimit -n 64 && exec`.
    pub fn gateway_shell_prefix(mut self, prefix: &'static str) -> Self {
        self.gateway_shell_prefix = Some(prefix);
        self
    }

    /// Sets a variable of workers.
    pub fn worker_env(mut self, name: &str, value: &str) -> Self {
        self.worker.push((name.to_owned(), value.to_owned()));
        self
    }

    /// Starts all processes and waits until they are ready.
    pub async fn start(mut self) -> TestStack {
        static DATABASES: AtomicU32 = AtomicU32::new(0);
        let logs = tempfile::Builder::new().prefix("aftercall-test-").tempdir().unwrap();
        let users = self.nats.users.clone();
        let nats = servers::nats(std::mem::take(&mut self.nats)).await;
        let nats_url =
            |user| users.as_ref().map_or_else(|| nats.url(), |users| users.url_with_login(user, &nats.url()));
        let mongo = match self.mongodb.take() {
            Some(mongo) => mongo,
            None if self.own_mongod => Mongo::own().await,
            None => Mongo::shared().await,
        };
        let public = ports::free().unwrap();
        let simulator = start_simulator(self.simulator.take(), public).await;
        let http = aftercall_local::http_client(test_timeout()).unwrap();
        let database = format!("test_{}", DATABASES.fetch_add(1, Ordering::Relaxed));
        let gateway = self.start_gateway(public, &nats_url(User::Gateway), &logs, &http).await;

        let mut worker_vars = vec![
            pair("NATS_URL", nats_url(User::Worker)),
            pair("MONGODB_URI", mongo.uri()),
            pair("MONGODB_DATABASE", database.clone()),
            pair("ELEVENLABS_BASE_URL", simulator.base_url()),
            pair("ELEVENLABS_API_KEY", "simulated".to_owned()),
            pair("LOG_FORMAT", "text".to_owned()),
        ];
        worker_vars.extend(self.worker);
        let client = mongodb::Client::with_uri_str(mongo.uri()).await.unwrap();
        // The tests read with the read concern of the worker.
        let majority = CollectionOptions::builder().read_concern(ReadConcern::majority()).build();
        let calls = client.database(&database).collection_with_options("agent_calls", majority);
        let broker = self.broker.connect(nats.url()).await.unwrap();
        let mut stack = TestStack {
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

    /// Starts the gateway on the port `public` and waits until it is ready.
    async fn start_gateway(
        &mut self,
        public: u16,
        nats_url: &str,
        logs: &TempDir,
        http: &reqwest::Client,
    ) -> Service {
        let admin = ports::free().unwrap();
        let mut vars = vec![
            pair("LISTEN_ADDR", format!("127.0.0.1:{public}")),
            pair("ADMIN_ADDR", format!("127.0.0.1:{admin}")),
            pair("NATS_URL", nats_url.to_owned()),
            pair("LOG_FORMAT", "text".to_owned()),
            pair("TWILIO_AUTH_TOKEN", TWILIO_TOKEN.to_owned()),
            pair("PUBLIC_URL", format!("http://127.0.0.1:{public}")),
        ];
        vars.retain(|(name, _)| !self.gateway_unset.contains(&name.as_str()));
        vars.append(&mut self.gateway);
        let command = match self.gateway_shell_prefix {
            Some(prefix) => Service::shell_command(prefix, "gateway", logs.path(), &vars),
            None => Service::command("gateway", logs.path(), &vars),
        };
        let mut gateway = Service::start(command, admin).await;
        gateway.until_ready(http).await;
        gateway
    }
}

/// Starts the simulated API. With `options` it reports its calls to the gateway on the port `public`.
async fn start_simulator(options: Option<simulator::Options>, public: u16) -> Simulator {
    let options = options.map(|mut options| {
        options.webhook_url = Some(format!("http://127.0.0.1:{public}{CALL_STATUS}"));
        if let Some(twilio) = &mut options.twilio {
            twilio.url = format!("http://127.0.0.1:{public}{TWILIO_CALL_STATUS}");
            twilio.auth_token.get_or_insert(TWILIO_TOKEN.to_owned());
        }
        options
    });
    Simulator::start_with(([127, 0, 0, 1], 0).into(), options.unwrap_or_default()).await.unwrap()
}

/// A variable of a process.
fn pair(name: &str, value: String) -> (String, String) {
    (name.to_owned(), value)
}
