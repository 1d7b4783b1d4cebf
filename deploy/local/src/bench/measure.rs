//! What a process has used so far, and the middle of several measurements.

use std::time::Duration;

use anyhow::Context as _;
use hdrhistogram::Histogram;
use serde::Serialize;

/// Ticks of `/proc/*/stat` in a second; fixed on Linux, whatever the kernel's own.
const TICKS: f64 = 100.0;

/// Processor time that the process has used, in seconds, its ended threads included.
pub fn cpu_seconds(pid: u32) -> anyhow::Result<f64> {
    let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).context("the process is gone")?;
    // The name may hold anything, even spaces; it ends with the last bracket.
    let rest = stat.rsplit(')').next().unwrap_or_default();
    let field = |n: usize| rest.split_whitespace().nth(n)?.parse::<f64>().ok();
    let (user, system) = field(11).zip(field(12)).context("/proc/*/stat is not as expected")?;
    Ok((user + system) / TICKS)
}

/// Memory of the process that is resident, in MiB.
pub fn resident_mib(pid: u32) -> anyhow::Result<f64> {
    status_mib(pid, "VmRSS:")
}

/// The most that it ever was.
pub fn peak_mib(pid: u32) -> anyhow::Result<f64> {
    status_mib(pid, "VmHWM:")
}

fn status_mib(pid: u32, name: &'static str) -> anyhow::Result<f64> {
    let status = std::fs::read_to_string(format!("/proc/{pid}/status")).context("the process is gone")?;
    let line = status.lines().find_map(|line| line.strip_prefix(name)).context(name)?;
    let kib: f64 = line.split_whitespace().next().and_then(|kib| kib.parse().ok()).context(name)?;
    Ok(kib / 1024.0)
}

/// How long each of many things of one kind took.
#[derive(Clone, Debug)]
pub struct Times(Histogram<u64>);

impl Times {
    /// None so far.
    pub fn new() -> anyhow::Result<Self> {
        Ok(Self(Histogram::new(3)?))
    }

    pub fn record(&mut self, time: Duration) -> anyhow::Result<()> {
        Ok(self.0.record(u64::try_from(time.as_micros()).unwrap_or(u64::MAX))?)
    }

    pub fn add(&mut self, others: Self) -> anyhow::Result<()> {
        Ok(self.0.add(others.0)?)
    }

    #[expect(clippy::cast_precision_loss, reason = "figures for people")]
    pub fn count(&self) -> f64 {
        self.0.len() as f64
    }

    /// Milliseconds within which this share of them was done.
    #[expect(clippy::cast_precision_loss, reason = "figures for people")]
    pub fn ms(&self, share: f64) -> f64 {
        self.0.value_at_quantile(share) as f64 / 1e3
    }
}

/// Several measurements of one thing.
#[derive(Clone, Debug, Default, Serialize)]
#[serde(into = "Summary")]
pub struct Series(Vec<f64>);

impl Series {
    /// One measurement.
    pub fn of(value: f64) -> Self {
        Self(vec![value])
    }

    pub fn push(&mut self, value: f64) {
        self.0.push(value);
    }

    pub fn summary(&self) -> Summary {
        let mut sorted = self.0.clone();
        sorted.sort_by(f64::total_cmp);
        let at = |n: usize| sorted.get(n).copied().unwrap_or(f64::NAN);
        Summary { median: at(sorted.len() / 2), least: at(0), most: at(sorted.len().saturating_sub(1)) }
    }

    /// Each of these by its counterpart of `other`: they were measured in turn.
    pub fn by(&self, other: &Self) -> Self {
        Self(self.0.iter().zip(&other.0).map(|(a, b)| a / b).collect())
    }
}

/// Median and spread.
#[derive(Clone, Copy, Debug, Serialize)]
pub struct Summary {
    pub median: f64,
    pub least: f64,
    pub most: f64,
}

impl From<Series> for Summary {
    fn from(series: Series) -> Self {
        series.summary()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_own_process_has_used_something() {
        let pid = std::process::id();
        assert!(
            cpu_seconds(pid).unwrap() >= 0.0
                && resident_mib(pid).unwrap() > 1.0
                && peak_mib(pid).unwrap() > 1.0
        );
    }

    #[test]
    fn the_middle_and_the_spread() {
        let mut series = Series::default();
        for value in [3.0, 1.0, 2.0] {
            series.push(value);
        }
        let Summary { median, least, most } = series.summary();
        assert_eq!((median, least, most), (2.0, 1.0, 3.0));
        assert!((series.by(&series).summary().median - 1.0).abs() < f64::EPSILON);
    }
}
