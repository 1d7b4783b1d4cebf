//! The sums of the calls of a window by agent and by batch, with those of the window before, and what needs
//! attention. The server reads every call of both windows, so this takes seconds.

use std::{collections::HashMap, time::Duration};

use jiff::Timestamp;

use super::{
    connection::Views,
    filter::{Filter, ResultFilter},
    matches::Matches,
    rising::RisingReason,
    trends::TrendsOf,
    window::Window,
};
use crate::{
    domain::{delivery::Endpoint, time::before},
    store::{
        error::StoreError,
        registration_problems::RegistrationCheck,
        statistics::{Grouping, Statistics, Sums, statistics},
    },
};

/// Age from which a check of the webhook is ignored. A worker checks every hour.
const MAX_CHECK_AGE: Duration = Duration::from_hours(3);

/// A group of calls in both windows.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Compared {
    /// Id of the agent or of the batch. `None`: calls without it.
    pub is: Option<String>,
    /// Name of the agent.
    pub name: Option<String>,
    /// The sums of the window.
    pub now: Sums,
    /// The sums of the window before.
    pub before: Sums,
    /// The calls in each step of the window. Empty: not counted.
    pub trend: Vec<u64>,
}

/// The sums of a window.
#[derive(Clone, Debug)]
pub struct PeriodFigures {
    /// The time of the count.
    pub at: Timestamp,
    /// The window.
    pub window: Window,
    /// All calls.
    pub total: Compared,
    /// Calls by agent, the agent with the most calls first.
    pub agents: Vec<Compared>,
    /// Calls by batch, the batch with the most calls first.
    pub batches: Vec<Compared>,
    /// Calls that hang at that time. `None`: not counted in time.
    pub stuck: Option<Matches>,
    /// The endpoints that get events.
    pub endpoints: Vec<Endpoint>,
    /// Failure reasons that became much more frequent.
    pub rising: Vec<RisingReason>,
    /// The latest check of the webhook at ElevenLabs, if it is not old.
    pub registration: Option<RegistrationCheck>,
}

impl Views {
    /// The sums of `window` at `now`.
    pub async fn period_figures(&self, window: Window, now: Timestamp) -> Result<PeriodFigures, StoreError> {
        let length = window.length();
        let (mut agents, total) = self.compare(Grouping::Agent, length, now).await?;
        let (mut batches, _) = self.compare(Grouping::Batch, length, now).await?;
        for (of, groups) in [(TrendsOf::Agents, &mut agents), (TrendsOf::Batches, &mut batches)] {
            let ids = groups.iter().filter_map(|group| group.is.as_ref());
            let mut trends = optional("calls over time", self.trends(of, ids, window, now).await);
            for group in groups {
                group.trend = group.is.as_ref().and_then(|id| trends.remove(id)).unwrap_or_default();
            }
        }
        let stuck = Filter { result: Some(ResultFilter::Stuck(now)), ..Filter::default() };
        let stuck = optional("stuck calls", self.matches(&stuck).await);
        Ok(PeriodFigures {
            at: now,
            window,
            total,
            agents,
            batches,
            stuck,
            endpoints: self.store.endpoints().await?,
            rising: optional("rising failure reasons", self.rising_reasons(window, now).await),
            registration: self.store.registration_check(before(now, MAX_CHECK_AGE)).await?,
        })
    }

    /// The groups of the last `length` at `now` with those of the `length` before, and all calls.
    async fn compare(
        &self,
        grouping: Grouping,
        length: Duration,
        now: Timestamp,
    ) -> Result<(Vec<Compared>, Compared), StoreError> {
        let since = before(now, length);
        let ask = async |since, until| {
            self.store.statistics(grouping, &statistics(grouping, "UTC", since, until)).await
        };
        let (current, earlier) = (ask(since, now).await?, ask(before(since, length), since).await?);
        Ok(compared(current, earlier))
    }
}

/// The value of a part, or its default if it could not be counted: a busy server may be too slow, and a server that builds
/// an index refuses to. The other figures are shown all the same.
fn optional<T: Default>(part: &str, counted: Result<T, StoreError>) -> T {
    counted.unwrap_or_else(|error| {
        tracing::warn!(part, %error, "a part of the overview was not counted");
        T::default()
    })
}

/// Pairs the groups of two periods. A group that is only in the earlier one had no calls in the current one. If the current
/// groups were cut, it is left out, because it may have had some.
fn compared(current: Statistics, earlier: Statistics) -> (Vec<Compared>, Compared) {
    let total =
        Compared { is: None, name: None, now: current.total, before: earlier.total, trend: Vec::new() };
    let mut before: HashMap<_, _> =
        earlier.groups.into_iter().map(|group| (group.is.clone(), group)).collect();
    let mut groups = Vec::new();
    for group in current.groups {
        let before = before.remove(&group.is).map(|group| group.sums).unwrap_or_default();
        groups.push(Compared {
            is: group.is,
            name: group.agent_name,
            now: group.sums,
            before,
            trend: Vec::new(),
        });
    }
    let mut gone: Vec<_> = if current.more { Vec::new() } else { before.into_values().collect() };
    gone.sort_by(|a, b| (b.sums.calls, &a.is).cmp(&(a.sums.calls, &b.is)));
    groups.extend(gone.into_iter().map(|group| Compared {
        is: group.is,
        name: group.agent_name,
        now: Sums::default(),
        before: group.sums,
        trend: Vec::new(),
    }));
    (groups, total)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::store::statistics::Group;

    #[test]
    fn a_group_is_compared_with_itself_and_one_without_calls_is_kept() {
        let group = |is: &str, calls| Group {
            is: Some(is.to_owned()),
            agent_name: None,
            sums: Sums { calls, ..Sums::default() },
        };
        let of = |groups| Statistics { groups, ..Statistics::default() };
        let current = of(vec![group("b", 5), group("a", 3)]);
        let earlier = of(vec![group("c", 9), group("a", 4)]);
        let (groups, _) = compared(current, earlier);
        let shown: Vec<_> = groups
            .iter()
            .map(|group| (group.is.as_deref().unwrap(), group.now.calls, group.before.calls))
            .collect();
        assert_eq!(shown, [("b", 5, 0), ("a", 3, 4), ("c", 0, 9)]);
    }
}
