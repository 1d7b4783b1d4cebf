//! `cargo local chaos`: everything is broken in turn, under load, and then counted.
//!
//! A seed decides the calls, the faults, their order and their length. Real processes, a real
//! nats-server and a real mongod run behind links that can be cut ([`link`]); every webhook and its
//! answers are remembered (`load`); at the end stream and database must agree with that (`verdict`).
//!
//! The processes are of the build that runs it: `cargo run --release --package aftercall-local -- chaos` breaks
//! what would be shipped.

mod fault;
pub mod link;
mod load;
mod service;
mod stack;
mod verdict;

use std::{
    path::{Path, PathBuf},
    process::ExitCode,
    time::{Duration, Instant},
};

use anyhow::Context as _;
use rand::{RngExt as _, SeedableRng as _, rngs::StdRng, seq::SliceRandom as _};

pub use self::{fault::Fault, verdict::Verdict};
use self::{
    load::{Load, Pace},
    stack::Stack,
};
use crate::{
    disk::{Disk, Durability},
    process::Launcher,
    progress::Progress,
    running::Data,
};

/// A fault that is not recovered from by then is not waited for any longer.
const PATIENCE: Duration = Duration::from_mins(2);
/// Longest a recovery may take on a machine that does nothing else.
const BAR: Duration = Duration::from_secs(15);
/// How often a second fault begins before the first has ended.
const OVERLAP: f64 = 0.3;

/// How long, and by which seed.
#[derive(Debug, clap::Args)]
pub struct Options {
    /// Minutes of faults
    #[arg(long, value_name = "N", default_value_t = 5)]
    minutes: u64,
    /// Makes the same calls and the same faults again [default: random, printed]
    #[arg(long, value_name = "S")]
    seed: Option<u64>,
    /// Webhooks per second [default: 150, with --power-cuts 800]
    #[arg(long, value_name = "R")]
    rate: Option<f64>,
    /// Cut the power so many times, and break nothing else
    #[arg(long, value_name = "N", conflicts_with = "minutes")]
    power_cuts: Option<usize>,
}

/// One run.
#[derive(Debug)]
pub struct Round {
    /// Decides everything.
    pub seed: u64,
    /// Webhooks per second.
    pub rate: f64,
    /// What is broken.
    pub plan: Plan,
    /// Whether the broker syncs before it acknowledges, as it must.
    pub sync_always: bool,
    /// Logs and history.
    pub folder: PathBuf,
}

/// What is broken, and how long.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Plan {
    /// Every fault once.
    Once,
    /// Every fault again and again; none begins after so long.
    For(Duration),
    /// The power is cut so many times.
    PowerCuts(usize),
}

/// The command: runs, prints, keeps the history of a run that went wrong.
pub async fn command(data: &Data, options: Options) -> anyhow::Result<ExitCode> {
    let seed = options.seed.unwrap_or_else(|| rand::rng().random_range(0..1_000_000));
    let folder = data.path("chaos");
    let _gone = std::fs::remove_dir_all(&folder);
    let (plan, rate, what) = if let Some(cuts) = options.power_cuts {
        (Plan::PowerCuts(cuts), 800.0, format!("{cuts} power cuts"))
    } else {
        let time = Duration::from_secs(options.minutes * 60);
        (Plan::For(time), 150.0, format!("{} minutes of faults", options.minutes))
    };
    println!("{what}  (--seed {seed})");
    let round = Round { seed, rate: options.rate.unwrap_or(rate), plan, sync_always: true, folder };
    let verdict = run(Launcher::current()?, &round, &Progress::new()).await?;
    print!("{}", verdict.table());
    if verdict.is_good(BAR) {
        std::fs::remove_dir_all(&round.folder).context("cannot remove the logs")?;
        return Ok(ExitCode::SUCCESS);
    }
    println!("logs and history are in {}", round.folder.display());
    Ok(ExitCode::FAILURE)
}

/// Runs `round` silently.
pub async fn quietly(launcher: Launcher, round: &Round) -> anyhow::Result<Verdict> {
    run(launcher, round, &Progress::silent()).await
}

async fn run(launcher: Launcher, round: &Round, progress: &Progress) -> anyhow::Result<Verdict> {
    std::fs::create_dir_all(&round.folder).context("cannot make the folder for logs")?;
    progress.step("starting two gateways, two workers, nats-server and mongod");
    let disk = match Disk::mount(Durability::Journaled) {
        Ok(disk) => Some(disk),
        Err(why) if matches!(round.plan, Plan::PowerCuts(_)) => return Err(why),
        Err(why) => {
            progress.note(&format!("the disk stays whole, it cannot be broken here: {why:#}"));
            None
        }
    };
    let faults: Vec<_> = Fault::all().filter(|fault| disk.is_some() || !fault.needs_disk()).collect();
    let mut stack = Stack::start(launcher, &round.folder, disk, round.sync_always).await?;
    let duplicates = if matches!(round.plan, Plan::PowerCuts(_)) { 0.01 } else { 0.2 };
    let pace = Pace { rate: round.rate, duplicates };
    let load = Load::start(stack.urls.clone(), stack.http.clone(), round.seed, pace);
    let mut breaker = Breaker {
        // A round in which each comes once is for tests, which are waited for.
        longest: if round.plan == Plan::Once { 0.3 } else { 1.0 },
        load: &load,
        progress,
        rng: StdRng::seed_from_u64(round.seed),
        begin: Instant::now(),
        recoveries: Vec::new(),
    };
    let broken = breaker.run(&mut stack, &faults, round.plan).await;
    let recoveries = breaker.recoveries;
    progress.step("waiting until everything is settled");
    let sent = load.finish(if broken.is_ok() { PATIENCE } else { Duration::ZERO }).await?;
    keep(&sent.history, &round.folder)?;
    broken?;
    let mut verdict = verdict::reach(&stack, &sent, &format!("chaos{:x}", round.seed)).await?;
    for (fault, took) in recoveries {
        verdict.recoveries.entry(fault).or_default().push(took);
    }
    progress.finish();
    Ok(verdict)
}

fn keep(history: &[load::Posted], folder: &Path) -> anyhow::Result<()> {
    load::keep(history, &folder.join("history.jsonl")).context("cannot write the history")
}

/// Breaks one thing after the other, now and then two at a time.
struct Breaker<'a> {
    /// How long faults last at most, between 0 and 1 of what they may.
    longest: f64,
    load: &'a Load,
    progress: &'a Progress,
    rng: StdRng,
    begin: Instant,
    recoveries: Vec<(Fault, Duration)>,
}

impl Breaker<'_> {
    async fn run(&mut self, stack: &mut Stack, faults: &[Fault], plan: Plan) -> anyhow::Result<()> {
        if let Plan::PowerCuts(cuts) = plan {
            for _ in 0..cuts {
                self.strike(stack, &[Fault::PowerCut]).await?;
            }
            return Ok(());
        }
        loop {
            let mut left = faults.to_vec();
            left.shuffle(&mut self.rng);
            while let Some(fault) = left.pop() {
                let second = left.last().copied().filter(|second| second.goes_with(fault));
                let second = second.filter(|_| self.rng.random_bool(OVERLAP));
                let pair: Vec<_> = [Some(fault), second].into_iter().flatten().collect();
                left.truncate(left.len() + 1 - pair.len());
                self.strike(stack, &pair).await?;
                if matches!(plan, Plan::For(time) if self.begin.elapsed() >= time) {
                    return Ok(());
                }
            }
            if plan == Plan::Once {
                return Ok(());
            }
        }
    }

    /// Begins `faults`, ends them, and waits until they are recovered from.
    async fn strike(&mut self, stack: &mut Stack, faults: &[Fault]) -> anyhow::Result<()> {
        let (share, pick) =
            (self.rng.random_range(0.0..self.longest), self.rng.random_range(0..usize::MAX / 2));
        let names = faults.iter().copied().map(Fault::name).collect::<Vec<_>>().join(" and ");
        let since = self.begin.elapsed().as_secs();
        self.progress.step(&format!("{since:>5} s  {:>8} accepted  {names}", self.load.accepted()));
        let length = faults.iter().map(|fault| fault.lasts(share)).max().unwrap_or_default();
        for (n, fault) in faults.iter().enumerate() {
            stack.begin(*fault, pick + n).await.with_context(|| format!("while beginning: {names}"))?;
        }
        tokio::time::sleep(length).await;
        for (n, fault) in faults.iter().enumerate() {
            stack.end(*fault, pick + n).await.with_context(|| format!("while ending: {names}"))?;
        }
        let ended = Instant::now();
        stack.until_recovered(&stack.http, PATIENCE).await.with_context(|| format!("after: {names}"))?;
        let took = ended.elapsed();
        self.recoveries.extend(faults.iter().map(|fault| (*fault, took)));
        self.progress.note(&format!(
            "{since:>5} s  {names}: {:.1} s, recovered in {:.1} s",
            length.as_secs_f64(),
            took.as_secs_f64()
        ));
        Ok(())
    }
}
