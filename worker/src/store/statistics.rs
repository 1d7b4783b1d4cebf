//! Sums over the calls of a period, grouped by one property. The server computes them; it reads every call of the
//! period once, through the index of the time.

use std::time::Duration;

use futures_util::TryStreamExt as _;
use jiff::Timestamp;
use mongodb::{
    bson::{Bson, DateTime, Document, doc},
    error::ErrorKind,
};

use super::{
    connection::{SERVER_TIME, Store},
    convert::{bson_date, count_if, whole_number},
    error::StoreError,
    report::Question,
};
use crate::domain::call::Outcome;

/// Most groups in one answer.
pub const MAX_GROUPS: usize = 1000;
/// Longest time that the server may work: it reads some ten thousand calls in a second.
const STATISTICS_TIME: Duration = Duration::from_mins(5);
/// Longest wait for the answer.
const STATISTICS_TIMEOUT: Duration = Duration::from_secs(5 * 60 + 10);

/// The property by which calls are grouped.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Grouping {
    /// The agent.
    Agent,
    /// The day of `createdAt`.
    Day,
    /// The hour of `createdAt`.
    Hour,
    /// The outcome.
    Outcome,
    /// The batch.
    Batch,
    /// The direction.
    Direction,
}

impl Grouping {
    /// Every property.
    pub const ALL: [Self; 6] =
        [Self::Agent, Self::Day, Self::Hour, Self::Outcome, Self::Batch, Self::Direction];

    /// The property of a word on the command line.
    pub fn from_word(word: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|grouping| grouping.as_str() == word)
    }

    /// The word on the command line.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Agent => "agent",
            Self::Day => "day",
            Self::Hour => "hour",
            Self::Outcome => "outcome",
            Self::Batch => "batch",
            Self::Direction => "direction",
        }
    }

    /// The expression of the group, with days and hours in the time zone `zone`.
    fn key(self, zone: &str) -> Bson {
        let local = |format: &str| {
            doc! { "$dateToString": { "date": "$createdAt", "format": format, "timezone": { "$literal": zone } } }
        };
        match self {
            Self::Agent => "$agentId".into(),
            Self::Day => local("%Y-%m-%d").into(),
            // With the offset, because an hour is repeated when summer time ends.
            Self::Hour => local("%Y-%m-%dT%H:00:00%z").into(),
            Self::Outcome => "$outcome".into(),
            Self::Batch => "$batchCallId".into(),
            Self::Direction => "$direction".into(),
        }
    }

    /// Times in their order, other groups by the number of calls.
    fn order(self) -> Document {
        match self {
            Self::Day | Self::Hour => doc! { "first": 1 },
            Self::Agent | Self::Outcome | Self::Batch | Self::Direction => doc! { "calls": -1, "_id": 1 },
        }
    }
}

/// The sums of a group of calls.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Sums {
    /// Calls.
    pub calls: u64,
    /// Calls by outcome, in the order of [`Outcome::ALL`]. A call that goes on has none.
    pub outcomes: [u64; Outcome::ALL.len()],
    /// Length of the calls in seconds.
    pub seconds: u64,
    /// ElevenLabs' credits.
    pub cost: u64,
    /// Calls that ElevenLabs judges as a success.
    pub success: u64,
    /// Calls that ElevenLabs judges as a failure.
    pub failure: u64,
}

impl Sums {
    /// Calls with this outcome.
    pub fn of(&self, outcome: Outcome) -> u64 {
        let position = Outcome::ALL.iter().position(|other| *other == outcome);
        position.map_or(0, |position| self.outcomes[position])
    }

    /// Calls that are over.
    pub fn over(&self) -> u64 {
        self.outcomes.iter().sum()
    }

    /// Answered calls as a fraction of the calls that are over. `None`: no call is over.
    pub fn answer_rate(&self) -> Option<f64> {
        rate(self.of(Outcome::Answered), self.over())
    }

    /// Successful calls as a fraction of the calls that ElevenLabs judged. `None`: it judged none.
    pub fn success_rate(&self) -> Option<f64> {
        rate(self.success, self.success + self.failure)
    }

    /// Length of the calls in minutes.
    #[expect(clippy::cast_precision_loss, reason = "seconds of calls")]
    pub fn minutes(&self) -> f64 {
        self.seconds as f64 / 60.0
    }
}

#[expect(clippy::cast_precision_loss, reason = "counts of calls")]
fn rate(part: u64, whole: u64) -> Option<f64> {
    (whole > 0).then(|| part as f64 / whole as f64)
}

/// A group of calls.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Group {
    /// The common property. `None`: calls without it.
    pub is: Option<String>,
    /// A name of the agent, if calls are grouped by agent.
    pub agent_name: Option<String>,
    /// The sums of its calls.
    pub sums: Sums,
}

/// The sums of a period.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Statistics {
    /// The groups, at most [`MAX_GROUPS`].
    pub groups: Vec<Group>,
    /// The sums of all calls.
    pub total: Sums,
    /// Whether there are more groups.
    pub more: bool,
}

/// The fields of a `$group` that [`sums`] reads.
pub(super) fn sum_fields() -> Document {
    let is = |field: &str, word: &str| count_if(doc! { "$eq": [field, word] });
    let mut fields = doc! { "calls": { "$sum": 1_i64 } };
    for outcome in Outcome::ALL {
        fields.insert(outcome.as_str(), is("$outcome", outcome.as_str()));
    }
    fields.insert("seconds", doc! { "$sum": "$durationSecs" });
    fields.insert("cost", doc! { "$sum": "$cost" });
    fields.insert("judgedSuccess", is("$callSuccessful", "success"));
    fields.insert("judgedFailure", is("$callSuccessful", "failure"));
    fields
}

/// The fields of a `$group` that adds up groups with the sums `fields`.
pub(super) fn totals(fields: &Document) -> Document {
    fields.keys().map(|name| (name.clone(), doc! { "$sum": format!("${name}") }.into())).collect()
}

/// The query for the sums of the calls that were created between `since` and `until`.
pub fn statistics(grouping: Grouping, zone: &str, since: Timestamp, until: Timestamp) -> Question {
    let within = doc! { "createdAt": { "$gte": bson_date(since), "$lt": bson_date(until) } };
    let sums = sum_fields();
    let mut total = totals(&sums);
    total.insert("_id", Bson::Null);
    let mut group = doc! { "_id": grouping.key(zone), "first": { "$min": "$createdAt" } };
    if grouping == Grouping::Agent {
        group.insert("agentName", doc! { "$max": "$agentName" });
    }
    group.extend(sums);
    let most = i64::try_from(MAX_GROUPS + 1).expect("a small constant");
    Question::new(
        "statistics",
        vec![
            doc! { "$match": within },
            doc! { "$group": group },
            doc! { "$facet": {
                "groups": [{ "$sort": grouping.order() }, { "$limit": most }],
                "total": [{ "$group": total }],
            } },
        ],
    )
}

impl Store {
    /// The answer to `question`, which [`statistics`] made for this grouping.
    pub async fn statistics(
        &self,
        grouping: Grouping,
        question: &Question,
    ) -> Result<Statistics, StoreError> {
        let (calls, stages) = (self.calls.clone(), question.stages().to_vec());
        let found = self.run_within(STATISTICS_TIMEOUT, async move {
            // The server keeps a few hundred bytes for each group. Beyond its limit of 100 MiB it uses its disk.
            let asked = calls.aggregate(stages).allow_disk_use(true).max_time(STATISTICS_TIME);
            asked.await?.try_collect::<Vec<_>>().await
        });
        Ok(found.await?.first().map(|answer| read(grouping, answer)).unwrap_or_default())
    }

    /// Whether the server knows a time zone: a name such as `Europe/Berlin`, or an offset such as `+02:00`.
    pub async fn knows_time_zone(&self, zone: &str) -> Result<bool, StoreError> {
        const UNKNOWN_TIME_ZONE: i32 = 40_485;
        let date = doc! { "date": DateTime::from_millis(0), "timezone": { "$literal": zone } };
        let stages =
            [doc! { "$documents": [{}] }, doc! { "$project": { "date": { "$dateToString": date } } }];
        let database = self.database.clone();
        let asked = self.run(async move {
            match database.aggregate(stages).max_time(SERVER_TIME).await {
                Ok(_date) => Ok(true),
                Err(error) => match &*error.kind {
                    ErrorKind::Command(command) if command.code == UNKNOWN_TIME_ZONE => Ok(false),
                    _ => Err(error),
                },
            }
        });
        asked.await
    }
}

/// Reads the answer of the server.
fn read(grouping: Grouping, answer: &Document) -> Statistics {
    let part = |name| answer.get_array(name).into_iter().flatten().filter_map(Bson::as_document);
    let mut groups: Vec<_> = part("groups").map(|found| group(grouping, found)).collect();
    let more = groups.len() > MAX_GROUPS;
    groups.truncate(MAX_GROUPS);
    Statistics { groups, total: part("total").map(sums).next().unwrap_or_default(), more }
}

fn group(grouping: Grouping, found: &Document) -> Group {
    let text = |field: &str| found.get_str(field).ok().map(str::to_owned);
    let is = text("_id").map(|is| if grouping == Grouping::Hour { rfc3339_hour(&is) } else { is });
    Group { is, agent_name: text("agentName"), sums: sums(found) }
}

/// The hour in RFC 3339. The server writes the offset without a colon, and the offset of UTC as `+0000`.
fn rfc3339_hour(hour: &str) -> String {
    match hour.split_at_checked(hour.len().saturating_sub(2)) {
        Some((utc, "00")) if utc.ends_with("+00") => format!("{}Z", utc.trim_end_matches("+00")),
        Some((hours, minutes)) => format!("{hours}:{minutes}"),
        None => hour.to_owned(),
    }
}

/// Reads the sums of a group with [`sum_fields`].
pub(super) fn sums(found: &Document) -> Sums {
    let number = |field: &str| whole_number(found, field).unwrap_or(0);
    Sums {
        calls: number("calls"),
        outcomes: Outcome::ALL.map(|outcome| number(outcome.as_str())),
        seconds: number("seconds"),
        cost: number("cost"),
        success: number("judgedSuccess"),
        failure: number("judgedFailure"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_hour_is_written_in_rfc_3339() {
        assert_eq!(rfc3339_hour("2026-11-25T10:00:00+0000"), "2026-11-25T10:00:00Z");
        assert_eq!(rfc3339_hour("2026-11-25T10:00:00+0530"), "2026-11-25T10:00:00+05:30");
        assert_eq!(rfc3339_hour("2026-11-25T10:00:00-0800"), "2026-11-25T10:00:00-08:00");
    }
}
