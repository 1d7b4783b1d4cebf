//! Starts the servers and processes of a benchmark.

use std::{
    net::{Ipv4Addr, SocketAddr},
    time::Duration,
};

use aftercall_local::{
    OPEN_GATEWAY, mongod, nats, ports,
    process::Process,
    server::Server,
    servers::{self, MONGOD, NATS},
};
use aftercall_worker::{Config, Metrics, store::Store};
use prometheus_client::registry::Registry;

use super::{context::Bench, load};

/// Name of the database that workers write to.
pub const DATABASE: &str = "bench";
/// Longest time until a gateway stores webhooks.
const READY_TIMEOUT: Duration = Duration::from_secs(20);

/// The measured implementation.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Implementation {
    /// The shipped gateway and worker.
    Aftercall,
    /// The simplest gateway and worker (`naive`).
    Naive,
}

/// Starts a new broker.
pub async fn broker(bench: &Bench, sync_always: bool) -> anyhow::Result<Server> {
    let binary = servers::locate(&NATS, &servers::shared_services()).await?;
    let data = tempfile::Builder::new().prefix("nats-").tempdir_in(bench.folder.path())?.keep();
    let options = nats::Options { data: Some(data), sync_always, ..nats::Options::default() };
    nats::start(&bench.launcher, &binary, options).await
}

/// Starts a new database with all indexes of the worker.
pub async fn database(bench: &Bench) -> anyhow::Result<Server> {
    database_with(bench, None).await
}

/// [`database`] with a cache of this many gigabytes.
pub async fn database_with(bench: &Bench, cache: Option<u32>) -> anyhow::Result<Server> {
    let binary = servers::locate(&MONGOD, &servers::shared_services()).await?;
    let data = tempfile::Builder::new().prefix("mongod-").tempdir_in(bench.folder.path())?.keep();
    let options = mongod::Options { data: Some(data), cache, ..mongod::Options::default() };
    let database = mongod::start(&bench.launcher, &binary, options).await?;
    let store = store(&database.url()).await?;
    store.prepare().await?;
    store.shutdown().await;
    Ok(database)
}

/// The store of a worker for the database at `mongodb_uri`.
pub async fn store(mongodb_uri: &str) -> anyhow::Result<Store> {
    let vars = [("MONGODB_URI", mongodb_uri), ("MONGODB_DATABASE", DATABASE)];
    let config = Config::from_vars(vars.map(|(name, value)| (name.to_owned(), value.to_owned())))?;
    Store::new(&config, Metrics::register(&mut Registry::default())).await
}

/// A running gateway.
pub struct Gateway {
    pub process: Process,
    pub address: SocketAddr,
    /// Address for health and metrics. The naive gateway has none.
    pub admin: SocketAddr,
}

/// Starts a gateway, and waits until it stores webhooks.
pub async fn gateway(
    bench: &Bench,
    implementation: Implementation,
    broker: &Server,
) -> anyhow::Result<Gateway> {
    start_gateway(bench, implementation, broker, &[]).await
}

/// Starts a gateway of Aftercall with additional variables, and waits until it stores webhooks.
pub async fn gateway_with(bench: &Bench, broker: &Server, vars: &[(&str, &str)]) -> anyhow::Result<Gateway> {
    start_gateway(bench, Implementation::Aftercall, broker, vars).await
}

async fn start_gateway(
    bench: &Bench,
    implementation: Implementation,
    broker: &Server,
    vars: &[(&str, &str)],
) -> anyhow::Result<Gateway> {
    let [address, admin] =
        [ports::free()?, ports::free()?].map(|port| SocketAddr::from((Ipv4Addr::LOCALHOST, port)));
    let part = if implementation == Implementation::Aftercall { "gateway" } else { "naive-gateway" };
    let command = bench.launcher.service(part, bench.folder.path().join(format!("{part}.log"))).clean_env();
    let command = match implementation {
        Implementation::Aftercall => command
            .envs(OPEN_GATEWAY)
            .envs(vars.iter().copied())
            .env("LISTEN_ADDR", address.to_string())
            .env("ADMIN_ADDR", admin.to_string())
            .env("NATS_URL", broker.url()),
        Implementation::Naive => {
            command.args(["--listen", &address.to_string(), "--nats-url", &broker.url()])
        }
    };
    let mut process = bench.launcher.spawn(&command).await?;
    process.until(READY_TIMEOUT, async || load::accepts_webhooks(address).await).await?;
    Ok(Gateway { process, address, admin })
}

/// Starts a worker with the roles of the benchmark. The naive worker does what the role `status` does.
pub async fn worker(
    bench: &Bench,
    implementation: Implementation,
    broker: &Server,
    mongodb_uri: &str,
) -> anyhow::Result<Process> {
    worker_with(bench, implementation, broker, mongodb_uri, &bench.roles).await
}

/// Starts a worker with these `roles`.
pub async fn worker_with(
    bench: &Bench,
    implementation: Implementation,
    broker: &Server,
    mongodb_uri: &str,
    roles: &str,
) -> anyhow::Result<Process> {
    let part = if implementation == Implementation::Aftercall { "worker" } else { "naive-worker" };
    let command = bench.launcher.service(part, bench.folder.path().join(format!("{part}.log"))).clean_env();
    let nats_url = broker.url();
    let command = match implementation {
        Implementation::Aftercall => command
            .env("ADMIN_ADDR", "127.0.0.1:0")
            .env("ROLES", roles)
            .env("DELIVER_TO_PRIVATE_NETWORKS", "true")
            .env("NATS_URL", nats_url)
            .env("MONGODB_URI", mongodb_uri)
            .env("MONGODB_DATABASE", DATABASE),
        Implementation::Naive => {
            command.args(["--nats-url", &nats_url, "--mongodb-uri", mongodb_uri, "--database", DATABASE])
        }
    };
    bench.launcher.spawn(&command).await
}
