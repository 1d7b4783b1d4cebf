//! `cargo local chaos`: everything is broken in turn, under load, and then counted.
//!
//! A seed decides the calls, the faults, their order and their length. Real processes, a real
//! nats-server and a real mongod run behind links that can be cut ([`link`]); every webhook and its
//! answers are remembered (`load`); at the end stream and database must agree with that (`verdict`).

mod fault;
pub mod link;
mod load;
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
use self::{load::Load, stack::Stack};
use crate::{process::Launcher, progress::Progress, running::Data};

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
    /// Webhooks per second
    #[arg(long, value_name = "R", default_value_t = 150.0)]
    rate: f64,
}

/// One run.
#[derive(Debug)]
pub struct Round {
    /// Decides everything.
    pub seed: u64,
    /// Webhooks per second.
    pub rate: f64,
    /// No new fault begins after so long; every fault once where it is zero.
    pub time: Duration,
    /// Logs, spool and history.
    pub folder: PathBuf,
}

/// The command: runs, prints, keeps the history of a run that went wrong.
pub async fn command(data: &Data, options: Options) -> anyhow::Result<ExitCode> {
    let seed = options.seed.unwrap_or_else(|| rand::rng().random_range(0..1_000_000));
    let folder = data.path("chaos");
    let _gone = std::fs::remove_dir_all(&folder);
    let time = Duration::from_secs(options.minutes * 60);
    println!("{} minutes of faults  (--seed {seed})", options.minutes);
    let round = Round { seed, rate: options.rate, time, folder };
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
    let mut stack = Stack::start(launcher, &round.folder).await?;
    let load = Load::start(stack.urls.clone(), stack.http.clone(), round.seed, round.rate);
    let mut recoveries = Vec::new();
    let broken = break_everything(&mut stack, &load, round, progress, &mut recoveries).await;
    progress.step("waiting until everything is settled");
    let sent = load.finish(PATIENCE).await?;
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

async fn break_everything(
    stack: &mut Stack,
    load: &Load,
    round: &Round,
    progress: &Progress,
    recoveries: &mut Vec<(Fault, Duration)>,
) -> anyhow::Result<()> {
    let mut rng = StdRng::seed_from_u64(round.seed);
    let begin = Instant::now();
    loop {
        let mut faults: Vec<_> = Fault::all().collect();
        faults.shuffle(&mut rng);
        while let Some(fault) = faults.pop() {
            let second =
                faults.last().copied().filter(|second| second.goes_with(fault) && rng.random_bool(OVERLAP));
            if second.is_some() {
                faults.pop();
            }
            let (share, pick) = (rng.random_range(0.0..1.0), rng.random_range(0..usize::MAX / 2));
            let names = [Some(fault), second]
                .into_iter()
                .flatten()
                .map(Fault::name)
                .collect::<Vec<_>>()
                .join(" and ");
            let since = begin.elapsed().as_secs();
            progress.step(&format!("{since:>5} s  {:>8} accepted  {names}", load.accepted()));
            let length = fault.lasts(share).max(second.map_or(Duration::ZERO, |second| second.lasts(share)));
            stack.begin(fault, pick).await.with_context(|| format!("while beginning: {names}"))?;
            if let Some(second) = second {
                stack.begin(second, pick + 1).await.with_context(|| format!("while beginning: {names}"))?;
            }
            tokio::time::sleep(length).await;
            for fault in [Some(fault), second].into_iter().flatten() {
                stack
                    .end(fault, pick + usize::from(Some(fault) == second))
                    .await
                    .with_context(|| format!("while ending: {names}"))?;
            }
            let ended = Instant::now();
            stack.until_recovered(&stack.http, PATIENCE).await.with_context(|| format!("after: {names}"))?;
            let took = ended.elapsed();
            recoveries.extend([Some(fault), second].into_iter().flatten().map(|fault| (fault, took)));
            progress.note(&format!(
                "{since:>5} s  {names}: {:.1} s, recovered in {:.1} s",
                length.as_secs_f64(),
                took.as_secs_f64()
            ));
            if !round.time.is_zero() && begin.elapsed() >= round.time {
                return Ok(());
            }
        }
        if round.time.is_zero() {
            return Ok(());
        }
    }
}
