//! The demo calls of `up`: asks the simulated API to place them, and reads their conversations as a pass of
//! reconciliation does.
//!
//! The calls of a day have the same ids in every run. The times of the last two days with calls are kept in
//! `demo.json`, so that a later run repeats the same webhooks and adds nothing.

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
/// Campaigns that are kept: of today and of the day before, with which the console compares.
const KEPT: usize = 2;

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

    /// Places the calls. Fails if the simulated API or the worker does not take them.
    pub async fn place(&self) -> anyhow::Result<()> {
        let client = http_client(PLACE_TIMEOUT)?;
        let body = serde_json::to_string(&self.campaigns)?;
        let answer = client
            .post(&self.url)
            .body(body)
            .send()
            .await
            .context("no answer to the request for demo calls")?;
        ensure!(answer.status().is_success(), "the simulated API places no demo calls: {}", answer.status());
        let is_applied = async || {
            let counts = self.activity.counts().await;
            counts.applied >= counts.stored
        };
        let applied = tokio::time::timeout(APPLY_TIMEOUT, async {
            while !is_applied().await {
                tokio::time::sleep(POLL_INTERVAL).await;
            }
        });
        // A webhook of somebody else may have no effect on a call. The pass then reads what it finds.
        let _waited = applied.await;
        // The webhook of a call that was not connected names neither its batch nor the name of its agent. The
        // conversation does.
        let mut pass = self.launcher.spawn(&self.reconcile).await?;
        let ended = pass.wait(RECONCILE_TIMEOUT).await?;
        ensure!(
            ended.success(),
            "demo calls were not read again; the log ends with:\n{}",
            pass.log_tail(TAIL_LINES)
        );
        Ok(())
    }
}

/// The campaigns to place at `now`, and keeps them in `file`. The first run also has calls of the day before.
fn campaigns(file: &Path, now: &Zoned) -> anyhow::Result<Vec<Campaign>> {
    // Without a readable file, the calls of this day get new times, and keep their ids.
    let kept = std::fs::read_to_string(file).ok().and_then(|text| serde_json::from_str(&text).ok());
    let campaigns = with_today(kept.unwrap_or_default(), now);
    std::fs::write(file, serde_json::to_string(&campaigns)?)
        .with_context(|| format!("cannot write {}", file.display()))?;
    Ok(campaigns)
}

/// The campaigns `kept`, with one of today in any case. The latest come last.
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
    kept.split_off(kept.len().saturating_sub(KEPT))
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
    fn a_day_has_one_campaign_whose_times_stay() {
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
    fn a_file_that_cannot_be_read_counts_as_none() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join(FILE);
        std::fs::write(&file, "{").unwrap();
        let now = zoned("2026-11-29T14:11:00+00:00[UTC]");
        let first = campaigns(&file, &now).unwrap();
        assert_eq!(campaigns(&file, &zoned("2026-11-29T18:00:00+00:00[UTC]")).unwrap(), first);
    }
}
