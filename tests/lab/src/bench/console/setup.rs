//! Gateway, worker with console, broker and database of the benchmark.

use std::{path::Path, time::Duration};

use aftercall_local::{
    OPEN_GATEWAY, http_client, http_client_builder, mongod, nats, ports,
    process::{Launcher, Process},
    server::Server,
    servers::{self, MONGOD, NATS},
};
use anyhow::Context as _;
use mongodb::{Collection, bson::Document};
use reqwest::redirect::Policy;

use super::super::measure;

const DATABASE: &str = "bench";
const TOKEN: &str = "token-of-the-bench";

/// The running processes and servers.
pub struct ConsoleSetup {
    pub worker: Process,
    _gateway: Process,
    _nats: Server,
    _mongod: Server,
    pub calls: Collection<Document>,
    pub http: reqwest::Client,
    /// Client that does not follow redirects.
    sessions: reqwest::Client,
    /// URL of the webhooks.
    pub webhooks: String,
    /// URL of the lists of the reading API.
    pub lists: String,
    /// Base URL of the console.
    pub console: String,
}

impl ConsoleSetup {
    /// Starts everything, and waits until it is ready.
    pub async fn start(logs: &Path) -> anyhow::Result<Self> {
        let launcher = Launcher::current()?;
        let services = servers::shared_services();
        let nats = servers::locate(&NATS, &services).await?;
        let nats = nats::start(&launcher, &nats, nats::Options::default()).await?;
        let mongod = servers::locate(&MONGOD, &services).await?;
        let mongod = mongod::start(&launcher, &mongod, mongod::Options::default()).await?;
        let address = |port: u16| format!("127.0.0.1:{port}");
        let (public, console) = (address(ports::free()?), address(ports::free()?));
        let (gateway_admin, worker_admin) = (address(ports::free()?), address(ports::free()?));
        let service = |part: &str, admin: &str| {
            let command = launcher.service(part, logs.join(format!("{part}.log"))).clean_env();
            command.env("ADMIN_ADDR", admin).env("NATS_URL", nats.url()).env("RUST_LOG", "warn")
        };
        let gateway = service("gateway", &gateway_admin).envs(OPEN_GATEWAY).env("LISTEN_ADDR", &public);
        let worker = service("worker", &worker_admin)
            .env("MONGODB_URI", mongod.url())
            .env("MONGODB_DATABASE", DATABASE)
            .env("ROLES", "status,api,console")
            .env("CONSOLE_ADDR", &console)
            .env("CONSOLE_TOKEN", TOKEN);
        let (mut gateway, mut worker) = (launcher.spawn(&gateway).await?, launcher.spawn(&worker).await?);
        let http = http_client(Duration::from_mins(1))?;
        for (process, admin) in [(&mut gateway, gateway_admin), (&mut worker, worker_admin)] {
            let url = format!("http://{admin}/readyz");
            let ready = async || http.get(&url).send().await.is_ok_and(|answer| answer.status().is_success());
            process.until(Duration::from_mins(1), ready).await?;
        }
        let client = mongodb::Client::with_uri_str(mongod.url()).await?;
        Ok(Self {
            calls: client.database(DATABASE).collection("agent_calls"),
            webhooks: format!("http://{public}/api/webhooks/elevenlabs/call-status"),
            lists: format!("http://{public}/api/agent-calls"),
            console: format!("http://{console}"),
            worker,
            _gateway: gateway,
            _nats: nats,
            _mongod: mongod,
            sessions: http_client_builder(Duration::from_mins(1)).redirect(Policy::none()).build()?,
            http,
        })
    }

    /// A request for a page, authenticated by the token.
    pub fn get(&self, path: &str) -> reqwest::RequestBuilder {
        self.http.get(format!("{}{path}", self.console)).bearer_auth(TOKEN)
    }

    /// Logs in, and returns the cookie of the session.
    pub async fn session(&self) -> anyhow::Result<String> {
        let answer = self.sessions.get(format!("{}/?token={TOKEN}", self.console)).send().await?;
        let cookie = answer.headers().get("set-cookie").context("the console opened no session")?;
        Ok(cookie.to_str()?.split(';').next().unwrap_or_default().to_owned())
    }

    /// Resident memory of the worker, in MiB.
    pub fn resident(&self) -> anyhow::Result<f64> {
        measure::resident_mib(self.worker.pid())
    }
}
