//! Starts nats-server and mongod for tests, with the code of `cargo local`.

use std::{
    path::{Path, PathBuf},
    sync::OnceLock,
};

use aftercall_local::{
    mongod, nats,
    process::{Command, Launcher, Process},
    server::Server,
    servers::{self, MONGOD, NATS, Program},
};
use tokio::sync::OnceCell;

/// The launcher that uses the tests' copy of the `cargo local` binary.
pub fn launcher() -> Launcher {
    Launcher::new(env!("CARGO_BIN_EXE_aftercall-tests"))
}

async fn binary(server: &'static Program) -> PathBuf {
    servers::locate(server, &servers::shared_services()).await.unwrap()
}

/// Starts a broker.
pub async fn nats(options: nats::Options) -> Server {
    nats::start(&launcher(), &binary(&NATS).await, options).await.unwrap()
}

/// Starts a replica set of three databases. Returns the servers and their URI.
pub async fn mongod_set() -> ([Server; 3], String) {
    mongod::start_replica_set(&launcher(), &binary(&MONGOD).await).await.unwrap()
}

/// Starts a broker with a configuration file and its log in `folder`. Does not wait until it accepts
/// connections.
pub async fn nats_with(configuration: &Path, folder: &Path) -> Process {
    let command = Command::new("nats-server", binary(&NATS).await, folder.join("nats-server.log"));
    launcher().spawn(&command.arg("--config").arg(configuration)).await.unwrap()
}

/// A database server.
pub enum Mongo {
    /// The server that tests share. It ends with the test process.
    Shared(String),
    /// The server of one test, which the test may kill. It ends with the test.
    Own(Box<Server>),
}

impl Mongo {
    /// The server for all tests that do not kill or freeze it.
    pub async fn shared() -> Self {
        static SHARED: OnceCell<String> = OnceCell::const_new();
        /// Keeps the server running until the process ends. The server has a runtime of its own, because the
        /// runtime of a test ends with the test.
        static KEPT: OnceLock<(tokio::runtime::Runtime, Server)> = OnceLock::new();
        let uri = SHARED.get_or_init(async || {
            tokio::task::spawn_blocking(|| {
                let runtime = tokio::runtime::Builder::new_multi_thread()
                    .worker_threads(1)
                    .enable_all()
                    .build()
                    .unwrap();
                let mongod = runtime.block_on(mongod(mongod::Options::default()));
                let uri = mongod.url();
                assert!(KEPT.set((runtime, mongod)).is_ok(), "started once");
                uri
            })
            .await
            .unwrap()
        });
        Self::Shared(uri.await.clone())
    }

    /// Starts a server that the test may kill. The test can make its commands fail, and the server erases
    /// expired documents every second.
    pub async fn own() -> Self {
        Self::Own(Box::new(mongod(mongod::Options { for_tests: true, ..mongod::Options::default() }).await))
    }

    /// The connection string.
    pub fn uri(&self) -> String {
        match self {
            Self::Shared(uri) => uri.clone(),
            Self::Own(mongod) => mongod.url(),
        }
    }

    /// The server of this test. Panics if the server is shared.
    pub fn process(&mut self) -> &mut Server {
        match self {
            Self::Own(mongod) => mongod,
            Self::Shared(_) => panic!("the test uses the shared mongod, which it must not kill or freeze"),
        }
    }
}

/// Starts a database server.
pub async fn mongod(options: mongod::Options) -> Server {
    mongod::start(&launcher(), &binary(&MONGOD).await, options).await.unwrap()
}
