//! The report by groups as text and as JSON. Pure.

use aftercall_common::phone_numbers::Numbers;
use jiff::Timestamp;
use serde_json::{Map, Value, json};

use crate::{
    commands::table::{self, Column, printable},
    domain::{call::Outcome, time::rfc3339},
    store::{Group, Grouping, MAX_GROUPS, Plan, Statistics, Sums},
};

/// The calls of the report, and the time zone of its days and hours.
#[derive(Clone, Copy, Debug)]
pub struct Period<'a> {
    pub since: Timestamp,
    pub until: Timestamp,
    pub zone: &'a str,
}

/// The sums of a period, and how they are shown.
pub(super) struct GroupReport<'a> {
    pub grouping: Grouping,
    pub period: Period<'a>,
    pub statistics: &'a Statistics,
    /// How the database executed the query.
    pub plan: &'a Plan,
    pub numbers: Numbers,
}

impl GroupReport<'_> {
    /// A line about the period, a line for each group, and the sums of all calls.
    pub(super) fn text(&self) -> String {
        let Statistics { groups, total, more } = self.statistics;
        let Period { since, until, zone } = self.period;
        let columns = columns(self.grouping);
        let is = |group: &Group| {
            let name = self.agent_name(group).map(|name| format!(" ({})", printable(&name)));
            let is = self.is(group).map_or_else(|| "-".to_owned(), |is| printable(&is));
            is + &name.unwrap_or_default()
        };
        let calls = total.calls;
        let mut lines = vec![
            format!("{calls} calls from {since:.0} to {until:.0}; days and hours in {}", printable(zone)),
            String::new(),
            table::header(&columns),
        ];
        lines.extend(groups.iter().map(|group| line(&columns, &group.sums, &is(group))));
        if *more {
            lines.push(format!("only {MAX_GROUPS} groups are shown; choose a shorter period"));
        }
        lines.push(line(&columns, total, "all calls"));
        lines.join("\n")
    }

    /// The report as one JSON object.
    pub(super) fn json(&self) -> Value {
        let Statistics { groups, total, more } = self.statistics;
        let rows = groups.iter().map(|group| {
            let mut row = Map::new();
            row.insert("is".to_owned(), self.is(group).into());
            if let Some(name) = self.agent_name(group) {
                row.insert("agentName".to_owned(), name.into());
            }
            row.extend(figures(&group.sums));
            Value::Object(row)
        });
        json!({
            "by": self.grouping.as_str(), "timeZone": self.period.zone,
            "since": rfc3339(self.period.since), "until": rfc3339(self.period.until),
            "rows": rows.collect::<Vec<_>>(), "more": more, "total": figures(total),
            "plan": { "stages": self.plan.stages, "indexes": self.plan.indexes },
        })
    }

    /// The common property of a group. Telephone numbers in an id are masked if [`Self::numbers`] says so.
    fn is(&self, group: &Group) -> Option<String> {
        let is = group.is.as_deref()?;
        Some(match self.grouping {
            Grouping::Agent | Grouping::Batch => self.numbers.id(is).into_owned(),
            Grouping::Day | Grouping::Hour | Grouping::Outcome | Grouping::Direction => is.to_owned(),
        })
    }

    fn agent_name(&self, group: &Group) -> Option<String> {
        group.agent_name.as_deref().map(|name| self.numbers.text(name).into_owned())
    }
}

/// The columns. The group comes last, because its name has any length.
fn columns(grouping: Grouping) -> [Column; 11] {
    let group = match grouping {
        Grouping::Agent => "AGENT",
        Grouping::Day => "DAY",
        Grouping::Hour => "HOUR",
        Grouping::Outcome => "OUTCOME",
        Grouping::Batch => "BATCH",
        Grouping::Direction => "DIRECTION",
    };
    [
        Column::number("CALLS", 9),
        Column::number("ANSWERED", 9),
        Column::number("VOICEMAIL", 9),
        Column::number("BUSY", 9),
        Column::number("NO ANSWER", 9),
        Column::number("OTHER", 9),
        Column::number("ANSWER RATE", 11),
        Column::number("MINUTES", 10),
        Column::number("COST", 11),
        Column::number("SUCCESS", 7),
        Column::text(group, 0),
    ]
}

fn line(columns: &[Column; 11], sums: &Sums, group: &str) -> String {
    const SHOWN: [Outcome; 4] = [Outcome::Answered, Outcome::Voicemail, Outcome::Busy, Outcome::NoAnswer];
    let shown = SHOWN.map(|outcome| sums.of(outcome));
    let other = sums.over() - shown.iter().sum::<u64>();
    let [answered, voicemail, busy, no_answer] = shown.map(|count| count.to_string());
    let cells = [
        sums.calls.to_string(),
        answered,
        voicemail,
        busy,
        no_answer,
        other.to_string(),
        percent(sums.answer_rate()),
        format!("{:.1}", sums.minutes()),
        sums.cost.to_string(),
        percent(sums.success_rate()),
        group.to_owned(),
    ];
    table::row(columns, cells.each_ref().map(String::as_str))
}

fn percent(rate: Option<f64>) -> String {
    rate.map_or_else(|| "-".to_owned(), |rate| format!("{:.1} %", rate * 100.0))
}

/// The sums as fields of JSON.
fn figures(sums: &Sums) -> Map<String, Value> {
    let outcomes: Map<String, Value> = Outcome::ALL
        .into_iter()
        .map(|outcome| (outcome.as_str().to_owned(), sums.of(outcome).into()))
        .collect();
    let mut figures = Map::new();
    for (name, figure) in [
        ("calls", json!(sums.calls)),
        ("over", json!(sums.over())),
        ("outcomes", outcomes.into()),
        ("answerRate", json!(sums.answer_rate())),
        ("minutes", json!(sums.minutes())),
        ("cost", json!(sums.cost)),
        ("success", json!(sums.success)),
        ("failure", json!(sums.failure)),
        ("successRate", json!(sums.success_rate())),
    ] {
        figures.insert(name.to_owned(), figure);
    }
    figures
}
