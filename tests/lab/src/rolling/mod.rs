//! `cargo lab rolling`: replaces gateways and workers one after the other under load, and counts every answer
//! that is not 200.
//!
//! The gateways share one socket, as with socket activation of systemd: a new gateway accepts connections
//! before the old one stops. Each start makes the shared socket blocking, as systemd does, and in each round a
//! gateway with a wrong configuration starts on it, too. Workers share their consumers. With `--other` every second process runs another
//! build, so that an old and a new version run side by side.

mod fleet;
mod load;

use std::{path::PathBuf, process::ExitCode, time::Duration};

use aftercall_local::{data_folder::DataFolder, process::Launcher, progress::Progress};
use anyhow::{Context as _, ensure};

pub use self::{fleet::Run, load::Answers};
use self::{
    fleet::{COPIES, Fleet},
    load::Load,
};

/// Time under load before, between and after replacements.
const LOAD_INTERVAL: Duration = Duration::from_millis(500);

/// Rate, number of rounds, and another build.
#[derive(Clone, Debug, clap::Args)]
pub struct Options {
    /// Webhooks per second
    #[arg(long, value_name = "R", default_value_t = 2000.0)]
    rate: f64,
    /// How often every gateway and every worker is replaced
    #[arg(long, value_name = "N", default_value_t = 3)]
    rounds: usize,
    /// Another build of the binary of `cargo lab` or `cargo local`, to run side by side with this one
    #[arg(long, value_name = "FILE")]
    other: Option<PathBuf>,
}

/// Result of a run.
#[derive(Clone, Debug)]
pub struct Outcome {
    /// The answers to all requests.
    pub answers: Answers,
    /// Number of processes replaced.
    pub replaced: usize,
    /// Number of calls without a document though a webhook was answered with 200.
    pub missing: usize,
    /// Number of gateways that did not answer on their admin listener after the load.
    pub unresponsive: usize,
}

impl Outcome {
    /// Whether every request was answered with 200, every call has a document, and every gateway answers.
    pub fn is_good(&self) -> bool {
        self.answers.failures.is_empty() && self.missing == 0 && self.unresponsive == 0
    }
}

/// Runs the experiment and prints the result. Keeps the logs if a request failed or a document is missing.
pub async fn command(data: &DataFolder, options: Options) -> anyhow::Result<ExitCode> {
    ensure!(options.rate > 0.0, "--rate must be more than 0");
    let folder = data.path("rolling");
    let _absent = std::fs::remove_dir_all(&folder);
    if let Some(file) = &options.other {
        ensure!(file.is_file(), "--other: there is no file {}", file.display());
    }
    let other = options.other.map(Launcher::new);
    let run = Run { rate: options.rate, rounds: options.rounds, other, folder };
    let outcome = roll(&Launcher::current()?, &run, &Progress::visible()).await?;
    print!("{}", outcome.table());
    if outcome.is_good() {
        std::fs::remove_dir_all(&run.folder).context("cannot remove the logs")?;
        return Ok(ExitCode::SUCCESS);
    }
    println!("logs are in {}", run.folder.display());
    Ok(ExitCode::FAILURE)
}

/// Runs the experiment without progress messages.
pub async fn quietly(launcher: &Launcher, run: &Run) -> anyhow::Result<Outcome> {
    roll(launcher, run, &Progress::silent()).await
}

async fn roll(launcher: &Launcher, run: &Run, progress: &Progress) -> anyhow::Result<Outcome> {
    std::fs::create_dir_all(&run.folder).context("cannot make the folder for logs")?;
    progress.step("starting nats-server, mongod, two gateways and two workers");
    let mut fleet = Fleet::start(launcher, run).await?;
    let load = Load::start(&fleet.base, run.rate)?;
    tokio::time::sleep(LOAD_INTERVAL).await;
    let mut replaced = 0;
    for round in 1..=run.rounds {
        for part in ["gateway", "worker"] {
            for n in 0..COPIES {
                progress.step(&format!("round {round}: replacing {part} {}", n + 1));
                fleet.replace(part, n).await?;
                replaced += 1;
                tokio::time::sleep(LOAD_INTERVAL).await;
            }
        }
        fleet.fail_to_start().await?;
        tokio::time::sleep(LOAD_INTERVAL).await;
        let (webhooks, failures) = load.counts();
        progress.note(&format!("round {round}: {webhooks} webhooks so far, {failures} not answered 200"));
    }
    let answers = load.finish().await;
    progress.step("waiting for a document of every call");
    let missing = fleet.missing(&answers).await?;
    progress.step("asking the gateways whether they are ready");
    let unresponsive = fleet.unresponsive().await;
    progress.finish();
    Ok(Outcome { answers, replaced, missing, unresponsive })
}

impl Outcome {
    /// The result as text.
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
             not answered 200: {failures}\nwithout a document: {}\ngateways without an answer: {}\n",
            answers.webhooks,
            answers.lookups,
            self.replaced,
            latency(0.5),
            latency(0.99),
            latency(1.0),
            self.missing,
            self.unresponsive,
        );
        text.extend(answers.failures.iter().map(|(failure, count)| format!("  {count} × {failure}\n")));
        text
    }
}
