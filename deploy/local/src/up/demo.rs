//! The demo calls of `up`: asks the simulated API to place them, and then runs `aftercall-worker reconcile`.
//!
//! The calls of a day have the same ids in every run. The times of the last two days with calls are kept in
//! `demo.json`, so that a second run on the same day sends the same webhooks and adds no calls.

use std::{path::Path, time::Duration};

use anyhow::{Context as _, ensure};
use jiff::{SignedDuration, Timestamp, Zoned};

use super::{
    activity::Activity,
    deployment::{Deployment, StartContext},
};
use crate::{
    client::http_client,
    process::{Command, Launcher, TAIL_LINES},
    simulator::demo::{Campaign, PATH},
};

/// File with the campaigns of earlier runs.
pub const FILE: &str = "demo.json";
/// Longest time until the webhooks of all demo calls are sent.
const PLACE_TIMEOUT: Duration = Duration::from_mins(2);
/// Longest wait until the worker has applied the webhooks.
const APPLY_TIMEOUT: Duration = Duration::from_secs(30);
const POLL_INTERVAL: Duration = Duration::from_millis(200);
/// Longest time that reading the conversations takes.
const RECONCILE_TIMEOUT: Duration = Duration::from_mins(1);
/// Number of campaigns in the file: that of today, and the one before it.
const MAX_CAMPAIGNS: usize = 2;

/// The demo calls to place.
#[derive(Debug)]
pub struct Demo {
    url: String,
    campaigns: Vec<Campaign>,
    activity: Activity,
    launcher: Launcher,
    reconcile: Command,
}

impl Demo {
    /// The demo of this run. `None`: there is none, because the API is real, a server is not one of `up`, or the user
    /// wants none.
    pub fn prepare(start: &StartContext<'_>, deployment: &Deployment) -> anyhow::Result<Option<Self>> {
        let is_own = deployment.nats.is_some() && deployment.mongod.is_some();
        let Some(url) = deployment.running.simulator_url.as_ref().filter(|_| is_own && !start.options.empty)
        else {
            return Ok(None);
        };
        let reconcile = deployment.worker_command(start, "reconcile").args(["reconcile", "--since", "3d"]);
        Ok(Some(Self {
            url: format!("{url}{PATH}"),
            campaigns: campaigns(&start.data.path(FILE), &Zoned::now())?,
            activity: Activity::of(&deployment.running)?,
            launcher: start.launcher.clone(),
            reconcile: reconcile.env("RECONCILE_RATE", "100"),
        }))
    }

    /// Places the calls, waits until their webhooks are applied, and runs one pass of reconciliation.
    ///
    /// Fails if the simulated API refuses the calls, or if the pass fails. The wait does not fail.
    pub async fn place(&self) -> anyhow::Result<()> {
        let client = http_client(PLACE_TIMEOUT)?;
        let body = serde_json::to_string(&self.campaigns)?;
        let answer = client
            .post(&self.url)
            .body(body)
            .send()
            .await
            .context("no answer to the request for demo calls")?;
        let status = answer.status();
        ensure!(status.is_success(), "the simulated API refused to place the demo calls: {status}");
        let is_applied = async || {
            let counts = self.activity.counts().await;
            counts.applied >= counts.stored
        };
        let applied = tokio::time::timeout(APPLY_TIMEOUT, async {
            while !is_applied().await {
                tokio::time::sleep(POLL_INTERVAL).await;
            }
        });
        // The time limit is no error: a webhook of another sender may never be applied, so the counts may never be equal.
        let _ignored = applied.await;
        // The webhook of a call that was not connected names neither its batch nor the name of its agent. The
        // conversation does.
        let mut pass = self.launcher.spawn(&self.reconcile).await?;
        let exit_status = pass.wait(RECONCILE_TIMEOUT).await?;
        ensure!(
            exit_status.success(),
            "`aftercall-worker reconcile` failed, so some demo calls may lack their batch and agent; its log ends with:\n{}",
            pass.log_tail(TAIL_LINES)
        );
        Ok(())
    }
}

/// Reads the campaigns from `file`, adds the campaign of today if it is missing, and writes them back. The first run also adds
/// a campaign of the day before.
fn campaigns(file: &Path, now: &Zoned) -> anyhow::Result<Vec<Campaign>> {
    // If the file is missing or invalid, the calls of today get new times. Their ids depend on the day alone.
    let kept = std::fs::read_to_string(file).ok().and_then(|text| serde_json::from_str(&text).ok());
    let campaigns = with_today(kept.unwrap_or_default(), now);
    std::fs::write(file, serde_json::to_string(&campaigns)?)
        .with_context(|| format!("cannot write {}", file.display()))?;
    Ok(campaigns)
}

/// Adds the campaign of today to `kept` unless it has one. Returns the last [`MAX_CAMPAIGNS`] campaigns.
fn with_today(mut kept: Vec<Campaign>, now: &Zoned) -> Vec<Campaign> {
    let at = |until: Timestamp| Campaign { day: until.to_zoned(now.time_zone().clone()).date(), until };
    // Whole seconds, because webhooks count in seconds.
    let until = Timestamp::from_second(now.timestamp().as_second()).unwrap_or(now.timestamp());
    if kept.is_empty() {
        kept.push(at(until.saturating_sub(SignedDuration::from_hours(24)).unwrap_or(until)));
    }
    if kept.iter().all(|campaign| campaign.day != now.date()) {
        kept.push(at(until));
    }
    kept.split_off(kept.len().saturating_sub(MAX_CAMPAIGNS))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn zoned(text: &str) -> Zoned {
        text.parse().unwrap()
    }

    fn days(campaigns: &[Campaign]) -> Vec<String> {
        campaigns.iter().map(|campaign| campaign.day.to_string()).collect()
    }

    #[test]
    fn second_run_on_a_day_keeps_its_campaign() {
        let first = with_today(Vec::new(), &zoned("2026-11-29T14:11:00.7+08:00[Asia/Singapore]"));
        assert_eq!(days(&first), ["2026-11-28", "2026-11-29"]);
        assert_eq!(first[1].until.to_string(), "2026-11-29T06:11:00Z");
        let again = with_today(first.clone(), &zoned("2026-11-29T23:59:00+08:00[Asia/Singapore]"));
        assert_eq!(again, first);
        let next = with_today(first.clone(), &zoned("2026-11-30T00:05:00+08:00[Asia/Singapore]"));
        assert_eq!(days(&next), ["2026-11-29", "2026-11-30"]);
        assert_eq!(next[0], first[1]);
    }

    #[test]
    fn invalid_file_is_replaced_by_new_campaigns() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join(FILE);
        std::fs::write(&file, "{").unwrap();
        let now = zoned("2026-11-29T14:11:00+00:00[UTC]");
        let first = campaigns(&file, &now).unwrap();
        assert_eq!(campaigns(&file, &zoned("2026-11-29T18:00:00+00:00[UTC]")).unwrap(), first);
    }
}
