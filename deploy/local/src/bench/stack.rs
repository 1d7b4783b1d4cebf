//! What is measured, started: servers of the bench's own, and a gateway or a worker before them.

use std::{
    net::{Ipv4Addr, SocketAddr},
    time::Duration,
};

use aftercall_worker::{Config, Metrics, store::Store};
use prometheus_client::registry::Registry;

use super::{Bench, load};
use crate::{
    OPEN_GATEWAY, mongod, nats, ports,
    process::Process,
    server::Server,
    servers::{self, MONGOD, NATS},
};

/// The database that workers of a bench write to.
pub const DATABASE: &str = "bench";
const READY: Duration = Duration::from_secs(20);

/// Whose turn it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Side {
    Ours,
    Twin,
}

/// A fresh broker.
pub async fn broker(bench: &Bench, sync_always: bool) -> anyhow::Result<Server> {
    let binary = servers::locate(&NATS, &servers::shared_services()).await?;
    let data = tempfile::Builder::new().prefix("nats-").tempdir_in(bench.folder.path())?.keep();
    let options = nats::Options { data: Some(data), sync_always, ..nats::Options::default() };
    nats::start(&bench.launcher, &binary, options).await
}

/// A fresh database with all our indexes.
pub async fn database(bench: &Bench) -> anyhow::Result<Server> {
    database_with(bench, None).await
}

/// The same, with so many gigabytes in memory.
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

/// A worker's own store of the bench's database.
pub async fn store(mongodb_uri: &str) -> anyhow::Result<Store> {
    let vars = [("MONGODB_URI", mongodb_uri), ("MONGODB_DATABASE", DATABASE)];
    let config = Config::from_vars(vars.map(|(name, value)| (name.to_owned(), value.to_owned())))?;
    Store::new(&config, Metrics::register(&mut Registry::default())).await
}

/// A gateway that stores webhooks.
pub struct Gateway {
    pub process: Process,
    pub address: SocketAddr,
    /// Health and metrics; the twin has none.
    pub admin: SocketAddr,
}

/// Starts a gateway and waits until it stores webhooks.
pub async fn gateway(bench: &Bench, side: Side, broker: &Server) -> anyhow::Result<Gateway> {
    start_gateway(bench, side, broker, &[]).await
}

/// Starts a gateway of ours with these variables.
pub async fn gateway_with(bench: &Bench, broker: &Server, vars: &[(&str, &str)]) -> anyhow::Result<Gateway> {
    start_gateway(bench, Side::Ours, broker, vars).await
}

async fn start_gateway(
    bench: &Bench,
    side: Side,
    broker: &Server,
    vars: &[(&str, &str)],
) -> anyhow::Result<Gateway> {
    let [address, admin] =
        [ports::free()?, ports::free()?].map(|port| SocketAddr::from((Ipv4Addr::LOCALHOST, port)));
    let part = if side == Side::Ours { "gateway" } else { "naive-gateway" };
    let command = bench.launcher.service(part, bench.folder.path().join(format!("{part}.log"))).clean_env();
    let command = match side {
        Side::Ours => command
            .envs(OPEN_GATEWAY)
            .envs(vars.iter().copied())
            .env("LISTEN_ADDR", address.to_string())
            .env("ADMIN_ADDR", admin.to_string())
            .env("NATS_URL", broker.url()),
        Side::Twin => command.args(["--listen", &address.to_string(), "--nats-url", &broker.url()]),
    };
    let mut process = bench.launcher.spawn(&command).await?;
    process.until(READY, async || load::is_answered(address).await).await?;
    Ok(Gateway { process, address, admin })
}

/// A worker that begins to work. Ours has the role `status` alone, as the twin has.
pub async fn worker(
    bench: &Bench,
    side: Side,
    broker: &Server,
    mongodb_uri: &str,
) -> anyhow::Result<Process> {
    let part = if side == Side::Ours { "worker" } else { "naive-worker" };
    let command = bench.launcher.service(part, bench.folder.path().join(format!("{part}.log"))).clean_env();
    let nats_url = broker.url();
    let command = match side {
        Side::Ours => command
            .env("ADMIN_ADDR", "127.0.0.1:0")
            .env("ROLES", "status")
            .env("NATS_URL", nats_url)
            .env("MONGODB_URI", mongodb_uri)
            .env("MONGODB_DATABASE", DATABASE),
        Side::Twin => {
            command.args(["--nats-url", &nats_url, "--mongodb-uri", mongodb_uri, "--database", DATABASE])
        }
    };
    bench.launcher.spawn(&command).await
}
