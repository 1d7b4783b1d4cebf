//! Runs one simulation: first with faults, then without faults until all work is done. Then checks the result.

use std::{fmt, time::Duration};

use jiff::Timestamp;
use rand::RngExt as _;
use tokio::{sync::watch, task::JoinSet};
use tokio_util::sync::CancellationToken;

use crate::{
    broker::Delivery,
    check, gateway, panics, roles,
    scenario::{Scenario, scenario},
    world::Simulation,
};

/// Faults occur for this time from the start of the simulation.
const FAULT_DURATION: Duration = Duration::from_secs(40);
/// Time limit for all messages to be acknowledged after the faults. Long, because workers wait for
/// transcripts.
const DRAIN_TIMEOUT: Duration = Duration::from_hours(2);
const WORKERS: usize = 2;

/// The result of one seed.
#[derive(Debug, Default)]
pub struct RunReport {
    /// Number of webhooks to post. Duplicates in the scenario count; repetitions by a sender do not.
    pub posted: usize,
    /// Posted webhooks that were answered 200.
    pub accepted: usize,
    /// Messages in the stream of webhooks.
    pub stored: usize,
    /// Violated invariants. Empty if the seed passed.
    pub violations: Vec<String>,
    /// Events of the run with their times. Empty unless `keeps_log` is set.
    pub log: Vec<String>,
}

impl fmt::Display for RunReport {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for line in self.log.iter().chain(&self.violations) {
            writeln!(f, "{line}")?;
        }
        write!(f, "{} posted, {} answered 200, {} stored", self.posted, self.accepted, self.stored)
    }
}

/// Simulates `seed`. Records a log of the events if `keeps_log` is set.
pub fn simulate(seed: u64, keeps_log: bool) -> RunReport {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_time().start_paused(true).build();
    let runtime = runtime.expect("a runtime without sockets starts");
    let (mut report, panicked) = panics::observe(|| runtime.block_on(run(seed, keeps_log)));
    // A panic ends its task, as a kill ends a process. A later task may repeat the work, and the checks would pass. So every
    // panic is a violation.
    report.violations.extend(panicked.map(|panicked| format!("a task panicked: {panicked}")));
    report
}

async fn run(seed: u64, keeps_log: bool) -> RunReport {
    let sim = Simulation::new(seed, keeps_log);
    let scenario = scenario(&mut sim.world().rng, FAULT_DURATION);
    sim.note(|| format!("{:?}", sim.world().faults.clone()));
    let Scenario { posts, conversations } = scenario;
    for (id, done, outcome) in conversations {
        let at = sim.now().saturating_add(done).unwrap_or(Timestamp::MAX);
        sim.world().conversations.insert(id, (at, outcome));
    }
    let end = CancellationToken::new();
    let (queue_sender, queue) = watch::channel(None);
    let mut processes = JoinSet::new();
    processes.spawn(gateway::run_until(sim.clone(), queue_sender, end.clone()));
    for n in 0..WORKERS {
        processes.spawn(roles::run_until(sim.clone(), format!("worker {n}"), end.clone()));
    }
    processes.spawn(break_broker(sim.clone()));
    let mut senders = JoinSet::new();
    let posted = posts.len();
    for (at, body) in posts {
        let (sim, queue) = (sim.clone(), queue.clone());
        senders.spawn(async move {
            tokio::time::sleep(at).await;
            gateway::post(&sim, &queue, body).await
        });
    }
    tokio::time::sleep(FAULT_DURATION).await;
    sim.note(|| "no more faults".to_owned());
    sim.end_faults();
    let mut accepted = 0;
    while let Some(sender) = senders.join_next().await {
        accepted += usize::from(sender.expect("no sender panics"));
    }
    drain(&sim).await;
    end.cancel();
    processes.abort_all();
    let violations = check::violations(&sim.world());
    for violation in violations {
        sim.violation(violation);
    }
    let log = sim.take_log();
    let world = sim.world();
    let (stored, violations) = (world.broker.webhooks.len(), world.violations.clone());
    RunReport { posted, accepted, stored, violations, log }
}

/// Crashes and freezes the broker at random times.
async fn break_broker(sim: Simulation) {
    loop {
        tokio::time::sleep(Duration::from_secs(1)).await;
        let now = sim.now();
        if sim.happens(|faults| faults.broker_crash / 3.0) {
            sim.note(|| "the broker crashes".to_owned());
            let downtime = Duration::from_millis(sim.below(3000));
            let mut world = sim.world();
            let world = &mut *world;
            let rng = &mut world.rng;
            world.broker.crash(now, downtime, || rng.random_bool(0.5));
        }
        if sim.happens(|faults| faults.broker_freeze / 3.0) {
            sim.note(|| "the broker freezes".to_owned());
            let time = Duration::from_millis(sim.below(8000));
            sim.world().broker.frozen_until = now.checked_add(time).ok();
        }
    }
}

/// Waits until every message is acknowledged and no job is scheduled. If that takes longer than [`DRAIN_TIMEOUT`], it is a
/// violation.
async fn drain(sim: &Simulation) {
    let deadline = sim.now().saturating_add(DRAIN_TIMEOUT).unwrap_or(Timestamp::MAX);
    loop {
        tokio::time::sleep(Duration::from_secs(1)).await;
        let unfinished = {
            let world = sim.world();
            let (status, transcripts) = (&world.broker.status, &world.broker.transcripts);
            let count =
                |deliveries: &[Delivery]| deliveries.iter().filter(|one| !one.is_acknowledged()).count();
            (count(status), count(transcripts), world.broker.scheduled.len())
        };
        if unfinished == (0, 0, 0) {
            // The database may still execute a write that it reported as failed, up to 20 seconds later.
            tokio::time::sleep(Duration::from_secs(30)).await;
            return;
        }
        if sim.now() > deadline {
            let (webhooks, jobs, scheduled) = unfinished;
            return sim.violation(format!(
                "{DRAIN_TIMEOUT:?} after the faults, {webhooks} webhooks and {jobs} jobs are not acknowledged, and \
                 {scheduled} jobs are still scheduled"
            ));
        }
    }
}

#[cfg(test)]
mod tests {
    use std::{
        io::Write as _,
        sync::atomic::{AtomicU64, Ordering},
        time::Instant,
    };

    use super::*;

    /// Number of seeds that every test run simulates, even after [`TIME_LIMIT`].
    const MIN_SEEDS: u64 = 500;
    /// After this time, no further seed starts once [`MIN_SEEDS`] have started. `cargo run --release --package
    /// aftercall-simulation -- --seeds N` simulates N seeds without a time limit.
    const TIME_LIMIT: Duration = Duration::from_secs(30);

    #[test]
    fn faults_lose_no_webhook_and_leave_no_wrong_document() {
        let (began, next, simulated) = (Instant::now(), AtomicU64::new(0), AtomicU64::new(0));
        let work = || {
            loop {
                let seed = next.fetch_add(1, Ordering::Relaxed);
                if seed >= MIN_SEEDS && began.elapsed() >= TIME_LIMIT {
                    return;
                }
                let report = simulate(seed, false);
                assert!(report.violations.is_empty(), "seed {seed}: {}", report.violations[0]);
                simulated.fetch_add(1, Ordering::Relaxed);
            }
        };
        std::thread::scope(|scope| {
            for _ in 0..std::thread::available_parallelism().map_or(1, usize::from) {
                scope.spawn(work);
            }
        });
        // Written directly, because the test harness hides what a passing test prints.
        let count = simulated.load(Ordering::Relaxed);
        writeln!(std::io::stderr(), "simulated {count} seeds in {:.0?}", began.elapsed()).unwrap();
    }

    #[test]
    fn a_seed_gives_the_same_run_every_time() {
        for seed in 0..20 {
            assert_eq!(simulate(seed, true).log, simulate(seed, true).log, "seed {seed}");
        }
    }

    #[test]
    fn most_posts_are_accepted_and_some_are_not() {
        let all: Vec<_> = (0..100).map(|seed| simulate(seed, false)).collect();
        let sum = |of: fn(&RunReport) -> usize| all.iter().map(of).sum::<usize>();
        let (posted, accepted, stored) =
            (sum(|one| one.posted), sum(|one| one.accepted), sum(|one| one.stored));
        assert!(posted > 2000 && accepted > posted * 9 / 10 && accepted < posted, "{accepted} of {posted}");
        assert!(stored > 1000, "{stored}");
    }
}
