//! Decides which fault is injected when, and measures recoveries.

use std::time::{Duration, Instant};

use aftercall_local::progress::Progress;
use anyhow::Context as _;
use rand::{RngExt as _, SeedableRng as _, rngs::StdRng, seq::SliceRandom as _};

use super::{fault::Fault, load::Load, system::System};

/// Longest wait for a recovery.
const RECOVERY_TIMEOUT: Duration = Duration::from_mins(2);
/// Probability that two faults are active at once.
const OVERLAP: f64 = 0.3;

/// The faults that a round injects, and how often it injects them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Plan {
    /// Every fault once.
    Once,
    /// Every fault repeatedly. No fault begins after this time.
    For(Duration),
    /// Only this number of power cuts.
    PowerCuts(usize),
}

/// Injects one fault after the other, and sometimes two at once.
pub(super) struct FaultInjector<'a> {
    /// Largest share of the maximum duration of a fault.
    max_share: f64,
    plan: Plan,
    load: &'a Load,
    progress: &'a Progress,
    rng: StdRng,
    begin: Instant,
    /// Time from the end of each fault until the system had recovered.
    pub recoveries: Vec<(Fault, Duration)>,
}

impl<'a> FaultInjector<'a> {
    /// An injector for a round that begins now.
    pub fn new(load: &'a Load, progress: &'a Progress, seed: u64, plan: Plan) -> Self {
        Self {
            // Tests inject each fault once. Their faults are short, so that tests are fast.
            max_share: if plan == Plan::Once { 0.3 } else { 1.0 },
            plan,
            load,
            progress,
            rng: StdRng::seed_from_u64(seed),
            begin: Instant::now(),
            recoveries: Vec::new(),
        }
    }

    /// Injects `faults` by the plan. Fails if the system does not recover from one.
    pub async fn run(&mut self, system: &mut System, faults: &[Fault]) -> anyhow::Result<()> {
        if let Plan::PowerCuts(cuts) = self.plan {
            for _ in 0..cuts {
                self.inject(system, &[Fault::PowerCut]).await?;
            }
            return Ok(());
        }
        loop {
            let mut remaining = faults.to_vec();
            remaining.shuffle(&mut self.rng);
            while let Some(fault) = remaining.pop() {
                let second = remaining.last().copied().filter(|second| second.goes_with(fault));
                let second = second.filter(|_| self.rng.random_bool(OVERLAP));
                let pair: Vec<_> = [Some(fault), second].into_iter().flatten().collect();
                remaining.truncate(remaining.len() + 1 - pair.len());
                self.inject(system, &pair).await?;
                if matches!(self.plan, Plan::For(time) if self.begin.elapsed() >= time) {
                    return Ok(());
                }
            }
            if self.plan == Plan::Once {
                return Ok(());
            }
        }
    }

    /// Begins `faults`, ends them, and waits until the system has recovered.
    async fn inject(&mut self, system: &mut System, faults: &[Fault]) -> anyhow::Result<()> {
        let (share, pick) =
            (self.rng.random_range(0.0..self.max_share), self.rng.random_range(0..usize::MAX / 2));
        let names = faults.iter().copied().map(Fault::name).collect::<Vec<_>>().join(" and ");
        let since = self.begin.elapsed().as_secs();
        self.progress.step(&format!("{since:>5} s  {:>8} accepted  {names}", self.load.accepted()));
        let duration = faults.iter().map(|fault| fault.duration(share)).max().unwrap_or_default();
        for (n, fault) in faults.iter().enumerate() {
            system.begin(*fault, pick + n).await.with_context(|| format!("cannot begin: {names}"))?;
        }
        tokio::time::sleep(duration).await;
        for (n, fault) in faults.iter().enumerate() {
            system.end(*fault, pick + n).await.with_context(|| format!("cannot end: {names}"))?;
        }
        let ended = Instant::now();
        system
            .until_recovered(&system.http, RECOVERY_TIMEOUT)
            .await
            .with_context(|| format!("after: {names}"))?;
        let took = ended.elapsed();
        self.recoveries.extend(faults.iter().map(|fault| (*fault, took)));
        self.progress.note(&format!(
            "{since:>5} s  {names}: {:.1} s, recovered in {:.1} s",
            duration.as_secs_f64(),
            took.as_secs_f64()
        ));
        Ok(())
    }
}
