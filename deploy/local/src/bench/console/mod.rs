//! `cargo local bench console`: how quick the pages are with a million calls stored, what five hundred
//! viewers cost, and when a webhook is on their screens.
//!
//! Real servers and processes of its own, on free ports; nothing is kept.

mod seed;
mod viewers;

use std::{
    path::Path,
    process::ExitCode,
    time::{Duration, Instant},
};

use anyhow::{Context as _, ensure};
use mongodb::{
    Collection,
    bson::{Document, doc},
};
use reqwest::redirect::Policy;

use self::{
    seed::seed,
    viewers::{BESIDE, Watched, viewers},
};
use super::{measure, table::Bar};
use crate::{
    OPEN_GATEWAY, http_client, http_client_builder, mongod, nats, ports,
    process::{Launcher, Process},
    progress::Progress,
    server::Server,
    servers::{self, MONGOD, NATS},
};

const DATABASE: &str = "bench";
const TOKEN: &str = "token-of-the-bench";
/// Times each page is asked for.
const ROUNDS: usize = 40;
/// Pages followed from the first.
const DEPTH: usize = 60;
const PATIENCE: Duration = Duration::from_mins(10);

const PAGE_BAR: Duration = Duration::from_millis(100);
const BYTES_BAR: u64 = 100 * 1024;
/// MiB.
const VIEWERS_BAR: f64 = 50.0;
const SCREEN_BAR: Duration = Duration::from_secs(1);

/// How much of it.
#[derive(Clone, Debug, clap::Args)]
#[command(next_help_heading = "Of the console")]
#[group(id = "console")]
pub struct Options {
    /// Calls stored
    #[arg(long, value_name = "N", default_value_t = 1_000_000)]
    calls: u32,
    /// Viewers at a time
    #[arg(long, value_name = "N", default_value_t = 500)]
    viewers: usize,
}

/// What runs.
struct Stack {
    worker: Process,
    _gateway: Process,
    _nats: Server,
    _mongod: Server,
    calls: Collection<Document>,
    http: reqwest::Client,
    /// Stays where it is led away from.
    sessions: reqwest::Client,
    webhooks: String,
    console: String,
}

/// Measures, prints, and fails where a bar is missed.
pub async fn run(options: Options) -> anyhow::Result<ExitCode> {
    let progress = Progress::new();
    let logs = tempfile::Builder::new().prefix("aftercall-bench-").tempdir()?;
    progress.step("starting servers and processes");
    let stack = Stack::start(logs.path()).await?;
    let begun = Instant::now();
    seed(&stack.calls, options.calls, &progress).await?;
    progress.done(&format!("{} calls stored in {:.0} s", options.calls, begun.elapsed().as_secs_f64()));
    progress.step("asking for pages");
    let pages = pages(&stack).await?;
    ensure!(ask(&stack, "/calls").await?.1.matches("id=\"c-").count() == 50, "the first page is not full");
    let first = transferred(&stack).await?;
    progress.step(&format!("{} viewers look on", options.viewers));
    let watched = viewers(&stack, options.viewers).await?;
    progress.finish();
    Ok(report(&options, &pages, first, &watched))
}

impl Stack {
    async fn start(logs: &Path) -> anyhow::Result<Self> {
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
            .env("ROLES", "status,console")
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
            console: format!("http://{console}"),
            worker,
            _gateway: gateway,
            _nats: nats,
            _mongod: mongod,
            sessions: http_client_builder(Duration::from_mins(1)).redirect(Policy::none()).build()?,
            http,
        })
    }

    /// A request for a page, as a tool makes it.
    fn get(&self, path: &str) -> reqwest::RequestBuilder {
        self.http.get(format!("{}{path}", self.console)).bearer_auth(TOKEN)
    }

    /// The cookie of a new session: each viewer has one.
    async fn session(&self) -> anyhow::Result<String> {
        let answer = self.sessions.get(format!("{}/?token={TOKEN}", self.console)).send().await?;
        let cookie = answer.headers().get("set-cookie").context("the console opened no session")?;
        Ok(cookie.to_str()?.split(';').next().unwrap_or_default().to_owned())
    }

    /// MiB that the worker holds.
    fn resident(&self) -> anyhow::Result<f64> {
        measure::resident_mib(self.worker.pid())
    }
}

/// How long one page took, over some rounds.
struct Timed {
    name: String,
    times: Vec<Duration>,
}

impl Timed {
    fn at(&self, share: usize) -> Duration {
        let n = (self.times.len() * share / 100).min(self.times.len().saturating_sub(1));
        self.times.get(n).copied().unwrap_or_default()
    }
}

async fn ask(stack: &Stack, path: &str) -> anyhow::Result<(Duration, String)> {
    let begun = Instant::now();
    let answer = stack.get(path).send().await?;
    let status = answer.status();
    let page = answer.text().await?;
    ensure!(status.is_success(), "{path} was answered {status}");
    Ok((begun.elapsed(), page))
}

async fn pages(stack: &Stack) -> anyhow::Result<Vec<Timed>> {
    let last = stack.calls.find_one(doc! {}).sort(doc! { "createdAt": 1 }).await?.context("no calls")?;
    let (at, id) = (last.get_datetime("createdAt")?.timestamp_millis(), last.get_object_id("_id")?);
    let middle = at + 15 * 24 * 3600 * 1000;
    let call = last.get_str("callId")?.to_owned();
    let conversation = last.get_str("conversationId")?.to_owned();
    let number = last.get_str("toNumber")?.replace('+', "%2B");
    let paths = [
        ("the first page", "/calls".to_owned()),
        ("a page in the middle", format!("/calls?older={middle}.{id}")),
        ("the last page", format!("/calls?newer={at}.{id}")),
        ("a call id", format!("/calls?q={call}")),
        ("a conversation id", format!("/calls?q={conversation}")),
        ("the beginning of many ids", "/calls?q=CA".to_owned()),
        ("a number", format!("/calls?q={number}")),
        ("a number and a status", format!("/calls?q={number}&status=busy")),
        ("a frequent status", "/calls?status=ended".to_owned()),
        ("a rare status", "/calls?status=unreachable".to_owned()),
        ("a status that never was", "/calls?status=canceled".to_owned()),
        (
            "six statuses",
            "/calls?status=initiation_failed%2Cbusy%2Cno_answer%2Cfailed%2Cunreachable%2Crejected".to_owned(),
        ),
        ("a frequent reason", "/calls?reason=Recipient+was+busy".to_owned()),
        ("a part of many reasons", "/calls?reason=trunk".to_owned()),
        (
            "a reason and a status that do not go together",
            "/calls?status=no_answer&reason=Recipient+was+busy".to_owned(),
        ),
        ("a period", "/calls?period=24h".to_owned()),
        ("a status in a period", "/calls?status=busy&period=7d".to_owned()),
        ("a reason and a status in a period", "/calls?status=busy&reason=busy&period=7d".to_owned()),
        ("one call", format!("/calls/{call}")),
        ("the overview, counted before", "/overview?window=24h".to_owned()),
    ];
    let mut all = Vec::new();
    for (name, path) in paths {
        if path.starts_with("/overview") {
            all.push(counting(stack, &path).await?);
        }
        // The first is like the others once the database has its pages in memory: it counts with them.
        let mut times = Vec::with_capacity(ROUNDS);
        for _ in 0..ROUNDS {
            times.push(ask(stack, &path).await?.0);
        }
        times.sort_unstable();
        all.push(Timed { name: name.to_owned(), times });
    }
    all.push(followed(stack).await?);
    Ok(all)
}

/// From the first request for the overview until it is there.
async fn counting(stack: &Stack, path: &str) -> anyhow::Result<Timed> {
    let begun = Instant::now();
    while !ask(stack, path).await?.1.contains("By status") {
        ensure!(begun.elapsed() < PATIENCE, "the overview was never counted");
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    let name = "counting for the overview, behind the page".to_owned();
    Ok(Timed { name, times: vec![begun.elapsed()] })
}

/// One page after the other, by their links.
async fn followed(stack: &Stack) -> anyhow::Result<Timed> {
    let (mut path, mut times) = ("/calls?status=busy".to_owned(), Vec::new());
    for _ in 0..DEPTH {
        let (time, page) = ask(stack, &path).await?;
        times.push(time);
        let Some((_, rest)) = page.split_once("rel=\"next\" href=\"") else { break };
        path = rest.split('"').next().unwrap_or_default().replace("&#38;", "&").replace("&amp;", "&");
    }
    times.sort_unstable();
    Ok(Timed { name: format!("{} pages, one after the other", times.len()), times })
}

/// Bytes that a browser gets for the first page and all that belongs to it.
async fn transferred(stack: &Stack) -> anyhow::Result<u64> {
    let (_, page) = ask(stack, "/calls").await?;
    let links = page.split('"').filter(|part| part.starts_with("/assets/"));
    let mut bytes = 0;
    for path in links.chain(["/calls"]) {
        let request = stack.get(path).header("accept-encoding", "gzip");
        let answer = request.send().await?;
        let headers: usize =
            answer.headers().iter().map(|(name, value)| name.as_str().len() + value.len() + 4).sum();
        bytes += headers as u64 + answer.bytes().await?.len() as u64;
    }
    Ok(bytes)
}

fn report(options: &Options, pages: &[Timed], first: u64, watched: &Watched) -> ExitCode {
    let ms = |time: Duration| time.as_secs_f64() * 1000.0;
    println!(
        "\n{:<52} {:>9} {:>9} {:>9}",
        format!("with {} calls stored, ms", options.calls),
        "median",
        "p95",
        "most"
    );
    for page in pages.iter().chain([&watched.times]) {
        println!(
            "{:<52} {:>9.1} {:>9.1} {:>9.1}",
            page.name,
            ms(page.at(50)),
            ms(page.at(95)),
            ms(page.at(100))
        );
    }
    #[expect(clippy::cast_precision_loss, reason = "sizes in words")]
    let kib = |bytes: u64| bytes as f64 / 1024.0;
    let cost = watched.busy - watched.before;
    println!(
        "\nthe worker held {:.1} MiB, with {} viewers {:.1} MiB, and {:.1} MiB with {BESIDE} webhooks per second\n",
        watched.before, options.viewers, watched.idle, watched.busy
    );
    let page = pages.first().map(|page| page.at(95)).unwrap_or_default();
    let slowest = watched.times.at(100);
    let bars = [
        (page <= PAGE_BAR, format!("first page in {:.1} ms (p95; bar {:.0})", ms(page), ms(PAGE_BAR))),
        (first <= BYTES_BAR, format!("{:.1} KiB transferred in all (bar {:.0})", kib(first), kib(BYTES_BAR))),
        (
            cost <= VIEWERS_BAR,
            format!("{} viewers cost {cost:.1} MiB (bar {VIEWERS_BAR:.0})", options.viewers),
        ),
        (
            slowest <= SCREEN_BAR,
            format!(
                "on the screen {:.0} ms after the webhook at most (bar {:.0})",
                ms(slowest),
                ms(SCREEN_BAR)
            ),
        ),
    ]
    .map(|(met, text)| Bar { met, text });
    for bar in &bars {
        println!("{bar}");
    }
    if bars.iter().all(|bar| bar.met) { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}
