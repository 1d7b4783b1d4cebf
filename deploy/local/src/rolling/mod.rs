//! `cargo local rolling`: gateways and workers are replaced one after the other under load, and every answer
//! that is not 200 counts.
//!
//! The gateways share one socket, as systemd's socket activation has it: a new one takes connections before the
//! old one is told to stop. Workers share their consumers by nature. With `--other` every second process
//! is of another build, so old and new run side by side.

mod load;

use std::{
    net::{Ipv4Addr, TcpListener},
    path::PathBuf,
    process::ExitCode,
    sync::Arc,
    time::{Duration, Instant},
};

use anyhow::{Context as _, ensure};
use mongodb::bson::doc;

pub use self::load::Answers;
use self::load::Load;
use crate::{
    OPEN_GATEWAY, http_client, mongod, nats, ports,
    process::{Launcher, Process},
    progress::Progress,
    running::Data,
    server::Server,
    servers::{self, MONGOD, NATS},
};

const DATABASE: &str = "rolling";
/// Gateways, and workers.
const COPIES: usize = 2;
const READY: Duration = Duration::from_mins(1);
/// Longest until every webhook has become a document.
const SETTLE: Duration = Duration::from_mins(2);
/// Load before, between and after replacements.
const PAUSE: Duration = Duration::from_millis(500);
const LOOK: Duration = Duration::from_millis(100);

/// How fast, and how often.
#[derive(Clone, Debug, clap::Args)]
pub struct Options {
    /// Webhooks per second
    #[arg(long, value_name = "R", default_value_t = 2000.0)]
    rate: f64,
    /// How often every gateway and every worker is replaced
    #[arg(long, value_name = "N", default_value_t = 3)]
    rounds: usize,
    /// Another build of `cargo local`'s binary, to run side by side with this one
    #[arg(long, value_name = "FILE")]
    other: Option<PathBuf>,
}

/// One run.
#[derive(Clone, Debug)]
pub struct Run {
    /// Webhooks per second.
    pub rate: f64,
    /// How often everything is replaced.
    pub rounds: usize,
    /// Starts every second process.
    pub other: Option<Launcher>,
    /// Logs.
    pub folder: PathBuf,
}

/// What came of it.
#[derive(Clone, Debug)]
pub struct Outcome {
    /// What was answered.
    pub answers: Answers,
    /// Processes replaced.
    pub replaced: usize,
    /// Calls of which a webhook was answered 200, and that have no document.
    pub missing: usize,
}

/// The command.
pub async fn command(data: &Data, options: Options) -> anyhow::Result<ExitCode> {
    ensure!(options.rate > 0.0, "--rate must be more than 0");
    let folder = data.path("rolling");
    let _gone = std::fs::remove_dir_all(&folder);
    if let Some(file) = &options.other {
        ensure!(file.is_file(), "--other: there is no file {}", file.display());
    }
    let other = options.other.map(Launcher::new);
    let run = Run { rate: options.rate, rounds: options.rounds, other, folder };
    let outcome = roll(&Launcher::current()?, &run, &Progress::new()).await?;
    print!("{}", outcome.table());
    let is_good = outcome.answers.failures.is_empty() && outcome.missing == 0;
    if is_good {
        std::fs::remove_dir_all(&run.folder).context("cannot remove the logs")?;
        return Ok(ExitCode::SUCCESS);
    }
    println!("logs are in {}", run.folder.display());
    Ok(ExitCode::FAILURE)
}

/// Runs silently.
pub async fn quietly(launcher: &Launcher, run: &Run) -> anyhow::Result<Outcome> {
    roll(launcher, run, &Progress::silent()).await
}

async fn roll(launcher: &Launcher, run: &Run, progress: &Progress) -> anyhow::Result<Outcome> {
    std::fs::create_dir_all(&run.folder).context("cannot make the folder for logs")?;
    progress.step("starting nats-server, mongod, two gateways and two workers");
    let mut stack = Stack::start(launcher, run).await?;
    let load = Load::start(&stack.base, run.rate)?;
    tokio::time::sleep(PAUSE).await;
    let mut replaced = 0;
    for round in 1..=run.rounds {
        for part in ["gateway", "worker"] {
            for n in 0..COPIES {
                progress.step(&format!("round {round}: replacing {part} {}", n + 1));
                stack.replace(part, n).await?;
                replaced += 1;
                tokio::time::sleep(PAUSE).await;
            }
        }
        let (webhooks, failures) = load.so_far();
        progress.note(&format!("round {round}: {webhooks} webhooks so far, {failures} not answered 200"));
    }
    let answers = load.finish().await;
    progress.step("waiting until every webhook has become a document");
    let missing = stack.missing(&answers).await?;
    progress.finish();
    Ok(Outcome { answers, replaced, missing })
}

impl Outcome {
    /// For people.
    pub fn table(&self) -> String {
        let answers = &self.answers;
        let latency = |share: f64| {
            #[expect(
                clippy::cast_possible_truncation,
                clippy::cast_sign_loss,
                clippy::cast_precision_loss,
                reason = "a position in a list, small"
            )]
            let place = (answers.latencies.len() as f64 * share) as usize;
            answers
                .latencies
                .get(place)
                .or(answers.latencies.last())
                .map_or(0.0, |time| time.as_secs_f64() * 1e3)
        };
        #[expect(clippy::cast_precision_loss, reason = "a count, small")]
        let rate = answers.webhooks as f64 / answers.elapsed.as_secs_f64();
        let failures: usize = answers.failures.values().sum();
        let mut text = format!(
            "{} webhooks ({rate:.0}/s) and {} lookups while {} processes were replaced\n\
             answer to a webhook: p50 {:.1} ms, p99 {:.1} ms, longest {:.1} ms\n\
             not answered 200: {failures}\nwithout a document: {}\n",
            answers.webhooks,
            answers.lookups,
            self.replaced,
            latency(0.5),
            latency(0.99),
            latency(1.0),
            self.missing,
        );
        text.extend(answers.failures.iter().map(|(what, count)| format!("  {count} × {what}\n")));
        text
    }
}

/// Everything that runs.
struct Stack {
    gateways: Vec<Process>,
    workers: Vec<Process>,
    database: Server,
    broker: Server,
    socket: Arc<TcpListener>,
    base: String,
    http: reqwest::Client,
    launchers: [Launcher; 2],
    folder: PathBuf,
    started: usize,
}

impl Stack {
    async fn start(launcher: &Launcher, run: &Run) -> anyhow::Result<Self> {
        let services = servers::shared_services();
        let log = |name: &str| Some(run.folder.join(name));
        let options = nats::Options { log: log("nats-server.log"), ..nats::Options::default() };
        let broker = nats::start(launcher, &servers::locate(&NATS, &services).await?, options).await?;
        let options = mongod::Options { log: log("mongod.log"), ..mongod::Options::default() };
        let database = mongod::start(launcher, &servers::locate(&MONGOD, &services).await?, options).await?;
        let socket = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).context("no free port")?;
        let other = run.other.clone().unwrap_or_else(|| launcher.clone());
        let mut stack = Self {
            gateways: Vec::new(),
            workers: Vec::new(),
            database,
            broker,
            base: format!("http://{}", socket.local_addr()?),
            socket: Arc::new(socket),
            http: http_client(Duration::from_secs(5))?,
            launchers: [launcher.clone(), other],
            folder: run.folder.clone(),
            started: 0,
        };
        for _ in 0..COPIES {
            let gateway = stack.begin("gateway").await?;
            stack.gateways.push(gateway);
            let worker = stack.begin("worker").await?;
            stack.workers.push(worker);
        }
        Ok(stack)
    }

    /// Starts one more, of the builds in turn, and waits until it is ready.
    async fn begin(&mut self, part: &str) -> anyhow::Result<Process> {
        let admin = ports::free()?;
        let launcher = &self.launchers[(self.started / 2) % 2];
        self.started += 1;
        let command = launcher
            .service(part, self.folder.join(format!("{part}-{}.log", self.started)))
            .clean_env()
            .env("ADMIN_ADDR", format!("127.0.0.1:{admin}"))
            .env("NATS_URL", self.broker.url())
            .env("MONGODB_URI", self.database.url())
            .env("MONGODB_DATABASE", DATABASE)
            .env("SHUTDOWN_DELAY", "500ms")
            .envs(OPEN_GATEWAY);
        let command = if part == "gateway" { command.socket(self.socket.clone()) } else { command };
        let mut process = launcher.spawn(&command).await?;
        let url = format!("http://127.0.0.1:{admin}/readyz");
        let ready = async || self.http.get(&url).send().await.is_ok_and(|answer| answer.status() == 200);
        process.until(READY, ready).await?;
        Ok(process)
    }

    /// Starts the next, then stops the old one in order.
    async fn replace(&mut self, part: &str, n: usize) -> anyhow::Result<()> {
        let next = self.begin(part).await?;
        let place = if part == "gateway" { &mut self.gateways[n] } else { &mut self.workers[n] };
        let mut old = std::mem::replace(place, next);
        let ended = old.stop().await?;
        ensure!(ended.success(), "the old {part} ended with {ended}:\n{}", old.log_tail(12));
        Ok(())
    }

    /// Calls of which a webhook was answered 200, and that have no document in the end.
    async fn missing(&self, answers: &Answers) -> anyhow::Result<usize> {
        let client = mongodb::Client::with_uri_str(self.database.url()).await?;
        let calls = client.database(DATABASE).collection::<mongodb::bson::Document>("agent_calls");
        let wanted = answers.calls.len();
        let deadline = Instant::now() + SETTLE;
        loop {
            let found = calls.count_documents(doc! { "callId": { "$regex": "^r" } }).await?;
            let missing = wanted.saturating_sub(usize::try_from(found).unwrap_or(usize::MAX));
            if missing == 0 || Instant::now() > deadline {
                return Ok(missing);
            }
            tokio::time::sleep(LOOK).await;
        }
    }
}
