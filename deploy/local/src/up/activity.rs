//! Counts what gateway and workers do, by their metrics, for the status line of `up`.

use std::time::Duration;

use reqwest::Client;

use crate::{client::http_client, running::Running};

/// Longest wait for the metrics of one process.
const METRICS_TIMEOUT: Duration = Duration::from_secs(2);

/// Reads counts from the metrics of the processes.
#[derive(Debug)]
pub struct Activity {
    client: Client,
    gateway: String,
    workers: Vec<String>,
}

/// Numbers since the start of the processes.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Counts {
    /// Webhooks that the gateway has stored.
    pub stored: f64,
    /// Events that workers have applied to a call.
    pub applied: f64,
    /// Transcripts that workers have fetched.
    pub transcripts: f64,
    /// Messages that could not be processed.
    pub dead_letters: f64,
}

impl Activity {
    /// Reads the counts of the processes in `running`.
    pub fn of(running: &Running) -> anyhow::Result<Self> {
        let metrics = |admin: &String| format!("{admin}/metrics");
        Ok(Self {
            client: http_client(METRICS_TIMEOUT)?,
            gateway: metrics(&running.gateway_admin_url),
            workers: running.worker_admin_urls.iter().map(metrics).collect(),
        })
    }

    /// The counts of now. A process that does not answer counts as one that has done nothing.
    pub async fn counts(&self) -> Counts {
        let gateway = self.metrics(&self.gateway).await;
        let stored = sum(&gateway, "aftercall_publishes_total{outcome=\"stored\"}");
        let mut counts = Counts { stored, ..Counts::default() };
        for worker in &self.workers {
            let page = self.metrics(worker).await;
            counts.applied += sum(&page, "aftercall_events_applied_total{");
            counts.transcripts += sum(&page, "aftercall_transcripts_total{outcome=\"saved\"}");
            counts.dead_letters += sum(&page, "aftercall_dead_letters_total{");
        }
        counts
    }

    async fn metrics(&self, url: &str) -> String {
        let Ok(answer) = self.client.get(url).send().await else { return String::new() };
        answer.text().await.unwrap_or_default()
    }
}

/// The sum of the values of all lines of a metrics page that begin with `prefix`.
fn sum(page: &str, prefix: &str) -> f64 {
    let lines = page.lines().filter(|line| line.starts_with(prefix));
    let values = lines.filter_map(|line| line.rsplit(' ').next()?.parse::<f64>().ok());
    values.fold(0.0, |sum, value| sum + value) // `sum` of nothing is -0.0, which a line would show.
}

/// The counts in one line. `problems`: warnings and errors in the logs.
pub fn line(counts: Counts, problems: u64) -> String {
    let Counts { stored, applied, transcripts, dead_letters } = counts;
    format!(
        "{stored} webhooks, {applied} events, {transcripts} transcripts fetched, {dead_letters} dead letters, {problems} problems"
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn series_of_a_metric_are_summed() {
        let page =
            "# TYPE a counter\na_total{x=\"1\"} 2\na_total{x=\"2\"} 3\nab_total 9\na_total_created 7\n";
        for (series, expected) in [("a_total{", 5.0), ("a_total{x=\"2\"}", 3.0), ("none", 0.0)] {
            assert_eq!(sum(page, series).to_string(), expected.to_string(), "{series}");
        }
    }

    #[test]
    fn line_shows_all_counts() {
        let counts = Counts { stored: 1204.0, applied: 1200.0, transcripts: 3.0, dead_letters: 0.0 };
        assert_eq!(
            line(counts, 1),
            "1204 webhooks, 1200 events, 3 transcripts fetched, 0 dead letters, 1 problems"
        );
    }
}
