//! nats-server and mongod for tests, by the code of `cargo local`.

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

/// Starts processes through the tests' copy of the `cargo local` binary.
pub fn launcher() -> Launcher {
    Launcher::new(env!("CARGO_BIN_EXE_aftercall-tests"))
}

async fn binary(server: &'static Program) -> PathBuf {
    servers::locate(server, &servers::shared_services()).await.unwrap()
}

/// A broker of the test's own.
pub async fn nats(options: nats::Options) -> Server {
    nats::start(&launcher(), &binary(&NATS).await, options).await.unwrap()
}

/// Three databases that are one, and their URI.
pub async fn mongod_set() -> ([Server; 3], String) {
    mongod::start_replica_set(&launcher(), &binary(&MONGOD).await).await.unwrap()
}

/// A broker by a configuration file of its own, its log in `folder`. Whoever connects waits for it.
pub async fn nats_with(configuration: &Path, folder: &Path) -> Process {
    let command = Command::new("nats-server", binary(&NATS).await, folder.join("nats-server.log"));
    launcher().spawn(&command.arg("--config").arg(configuration)).await.unwrap()
}

/// A database server: the shared one, or the test's own.
pub enum Mongo {
    /// Ends with the test process.
    Shared(String),
    /// Ends with the test, and may be killed by it.
    Own(Box<Server>),
}

impl Mongo {
    /// The one that all tests use which do no harm to it.
    pub async fn shared() -> Self {
        static SHARED: OnceCell<String> = OnceCell::const_new();
        /// Kept for as long as the process lives; its guard stops it afterwards. Started on a runtime
        /// of its own, since that of the first test ends with that test.
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

    /// One that the test may kill, and tell to fail.
    pub async fn own() -> Self {
        Self::Own(Box::new(mongod(mongod::Options { fail_points: true, ..mongod::Options::default() }).await))
    }

    pub fn uri(&self) -> String {
        match self {
            Self::Shared(uri) => uri.clone(),
            Self::Own(mongod) => mongod.url(),
        }
    }

    /// The test's own server, to be killed.
    pub fn process(&mut self) -> &mut Server {
        match self {
            Self::Own(mongod) => mongod,
            Self::Shared(_) => panic!("this test shares its mongod and may not harm it"),
        }
    }
}

/// A database server of the test's own, as `options` say.
pub async fn mongod(options: mongod::Options) -> Server {
    mongod::start(&launcher(), &binary(&MONGOD).await, options).await.unwrap()
}
