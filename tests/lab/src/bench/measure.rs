//! Resources that a process has used, times, and medians of several measurements.

use std::time::Duration;

use anyhow::Context as _;
use hdrhistogram::Histogram;
use serde::Serialize;

/// Ticks per second in `/proc/*/stat`. Linux fixes this number independently of the timer of the kernel.
const TICKS_PER_SECOND: f64 = 100.0;

/// Processor time that the process has used, in seconds, including threads that have ended.
pub fn cpu_seconds(pid: u32) -> anyhow::Result<f64> {
    let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).context("the process is gone")?;
    // The name of the program may contain spaces and brackets. It ends at the last bracket.
    let rest = stat.rsplit(')').next().unwrap_or_default();
    let field = |n: usize| rest.split_whitespace().nth(n)?.parse::<f64>().ok();
    let (user, system) = field(11).zip(field(12)).context("/proc/*/stat is not as expected")?;
    Ok((user + system) / TICKS_PER_SECOND)
}

/// Resident memory of the process, in MiB.
pub fn resident_mib(pid: u32) -> anyhow::Result<f64> {
    status_mib(pid, "VmRSS:")
}

/// Largest resident memory of the process so far, in MiB.
pub fn peak_mib(pid: u32) -> anyhow::Result<f64> {
    status_mib(pid, "VmHWM:")
}

fn status_mib(pid: u32, name: &'static str) -> anyhow::Result<f64> {
    let status = std::fs::read_to_string(format!("/proc/{pid}/status")).context("the process is gone")?;
    let line = status.lines().find_map(|line| line.strip_prefix(name)).context(name)?;
    let kib: f64 = line.split_whitespace().next().and_then(|kib| kib.parse().ok()).context(name)?;
    Ok(kib / 1024.0)
}

/// A histogram of times.
#[derive(Clone, Debug)]
pub struct Times(Histogram<u64>);

impl Times {
    /// An empty histogram.
    pub fn new() -> anyhow::Result<Self> {
        Ok(Self(Histogram::new(3)?))
    }

    /// Adds a time.
    pub fn record(&mut self, time: Duration) -> anyhow::Result<()> {
        Ok(self.0.record(u64::try_from(time.as_micros()).unwrap_or(u64::MAX))?)
    }

    /// Adds all times of another histogram.
    pub fn add(&mut self, others: Self) -> anyhow::Result<()> {
        Ok(self.0.add(others.0)?)
    }

    /// Number of times.
    #[expect(clippy::cast_precision_loss, reason = "figures for people")]
    pub fn count(&self) -> f64 {
        self.0.len() as f64
    }

    /// The quantile `share`, from 0 to 1, in milliseconds.
    #[expect(clippy::cast_precision_loss, reason = "figures for people")]
    pub fn ms(&self, share: f64) -> f64 {
        self.0.value_at_quantile(share) as f64 / 1e3
    }
}

/// Repeated measurements of one figure.
#[derive(Clone, Debug, Default, Serialize)]
#[serde(into = "Summary")]
pub struct Series(Vec<f64>);

impl Series {
    /// A series of one measurement.
    pub fn of(value: f64) -> Self {
        Self(vec![value])
    }

    /// Adds a measurement.
    pub fn push(&mut self, value: f64) {
        self.0.push(value);
    }

    /// Median and range. NaN if there is no measurement.
    pub fn summary(&self) -> Summary {
        let mut sorted = self.0.clone();
        sorted.sort_by(f64::total_cmp);
        let at = |n: usize| sorted.get(n).copied().unwrap_or(f64::NAN);
        Summary { median: at(sorted.len() / 2), least: at(0), most: at(sorted.len().saturating_sub(1)) }
    }

    /// Ratio of each measurement to the measurement of `other` in the same round.
    pub fn ratio_to(&self, other: &Self) -> Self {
        Self(self.0.iter().zip(&other.0).map(|(a, b)| a / b).collect())
    }
}

/// Median and range of a series.
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
    fn resources_of_this_process_are_read() {
        let pid = std::process::id();
        assert!(
            cpu_seconds(pid).unwrap() >= 0.0
                && resident_mib(pid).unwrap() > 1.0
                && peak_mib(pid).unwrap() > 1.0
        );
    }

    #[test]
    fn summary_has_median_and_range() {
        let mut series = Series::default();
        for value in [3.0, 1.0, 2.0] {
            series.push(value);
        }
        let Summary { median, least, most } = series.summary();
        assert_eq!((median, least, most), (2.0, 1.0, 3.0));
        assert!((series.ratio_to(&series).summary().median - 1.0).abs() < f64::EPSILON);
    }
}
