//! The tables of the overview: calls by agent and by batch. Pure.

use std::cmp::Reverse;

use aftercall_common::phone_numbers::Numbers;

use crate::{
    domain::call::Outcome,
    roles::console::view::{address, chart, choices::agent_name, format},
    store::{Sums, views::Compared},
};

/// Most rows of a table.
const MAX_ROWS: usize = 20;

/// A table.
pub(super) struct Groups {
    /// The property, in small letters and as a heading.
    pub name: &'static str,
    pub heading: &'static str,
    pub rows: Vec<GroupRow>,
    /// Number of groups that have no row.
    pub others: usize,
}

/// The sums of a group, as texts.
pub(super) struct GroupRow {
    pub name: String,
    /// Address of its calls or of its page. Empty: no link.
    pub href: String,
    pub calls: String,
    /// The change of the number of calls against the window before.
    pub change: String,
    /// Points of the line of calls over time, and the most calls of a step. `None`: not counted.
    pub trend: Option<(String, String)>,
    /// Calls that a person answered, and their share of the calls that are over.
    pub answered: String,
    pub answer_rate: String,
    pub success_rate: String,
    pub minutes: String,
    pub cost: String,
}

/// The property by which a table groups calls.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum By {
    Agent,
    Batch,
}

/// The column by which the tables are sorted. Numbers are sorted downwards, and shares upwards: what goes worst comes
/// first.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) enum Sort {
    #[default]
    Calls,
    Answered,
    AnswerRate,
    SuccessRate,
    Minutes,
    Cost,
}

impl Sort {
    /// Every column, in the order of the table, with its heading.
    pub const ALL: [(Self, &'static str); 6] = [
        (Self::Calls, "Calls"),
        (Self::Answered, "Answered by people"),
        (Self::AnswerRate, "Answer rate"),
        (Self::SuccessRate, "Success rate"),
        (Self::Minutes, "Minutes"),
        (Self::Cost, "Credits"),
    ];

    /// The word in the URL.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Calls => "calls",
            Self::Answered => "answered",
            Self::AnswerRate => "answer-rate",
            Self::SuccessRate => "success-rate",
            Self::Minutes => "minutes",
            Self::Cost => "cost",
        }
    }

    /// The column of a word in the URL.
    pub fn from_word(word: &str) -> Option<Self> {
        Self::ALL.into_iter().map(|(sort, _)| sort).find(|sort| sort.as_str() == word)
    }

    /// The direction, as `aria-sort` names it.
    pub fn direction(self) -> &'static str {
        match self {
            Self::AnswerRate | Self::SuccessRate => "ascending",
            Self::Calls | Self::Answered | Self::Minutes | Self::Cost => "descending",
        }
    }

    /// Sorts the groups. Of equal groups, the order stays. A group without the share comes last.
    fn apply(self, groups: &mut [&Compared]) {
        let rate = |rate: Option<f64>| rate.unwrap_or(f64::INFINITY);
        match self {
            Self::Calls => groups.sort_by_key(|group| Reverse(group.now.calls)),
            Self::Answered => groups.sort_by_key(|group| Reverse(group.now.of(Outcome::Answered))),
            Self::AnswerRate => {
                groups.sort_by(|a, b| rate(a.now.answer_rate()).total_cmp(&rate(b.now.answer_rate())));
            }
            Self::SuccessRate => {
                groups.sort_by(|a, b| rate(a.now.success_rate()).total_cmp(&rate(b.now.success_rate())));
            }
            Self::Minutes => groups.sort_by_key(|group| Reverse(group.now.seconds)),
            Self::Cost => groups.sort_by_key(|group| Reverse(group.now.cost)),
        }
    }
}

/// The table of those `groups` that have calls in the window `period`.
pub(super) fn groups(by: By, groups: &[Compared], sort: Sort, period: &str, numbers: Numbers) -> Groups {
    let mut groups: Vec<_> = groups
        .iter()
        .filter(|group| group.now.calls > 0 && (by == By::Agent || group.is.is_some()))
        .collect();
    sort.apply(&mut groups);
    let rows = groups.iter().take(MAX_ROWS).map(|group| {
        let (name, href) = match &group.is {
            None => ("no agent".to_owned(), String::new()),
            Some(id) => {
                let name = match by {
                    By::Agent => agent_name(id, group.name.as_deref(), numbers),
                    By::Batch => format::id(id, numbers),
                };
                (name, href(by, id, period, numbers))
            }
        };
        GroupRow { name, href, trend: trend(&group.trend), ..row(&group.now, &group.before) }
    });
    let (name, heading) = match by {
        By::Agent => ("agent", "Agent"),
        By::Batch => ("batch", "Batch"),
    };
    Groups { name, heading, rows: rows.collect(), others: groups.len().saturating_sub(MAX_ROWS) }
}

/// The address of the page of a batch, or of the calls of an agent. Empty if the address would show a telephone number
/// that is masked.
pub(super) fn href(by: By, id: &str, period: &str, numbers: Numbers) -> String {
    match by {
        By::Batch => address::of_batch(id, numbers),
        By::Agent if numbers.id(id) != id => String::new(),
        By::Agent => {
            let mut query = form_urlencoded::Serializer::new(String::new());
            format!("/calls?{}", query.append_pair("agent", id).append_pair("period", period).finish())
        }
    }
}

/// The row of a group without its name.
pub(super) fn row(now: &Sums, before: &Sums) -> GroupRow {
    let percent =
        |rate: Option<f64>| rate.map_or_else(|| "–".to_owned(), |rate| format!("{:.0} %", rate * 100.0));
    GroupRow {
        name: String::new(),
        href: String::new(),
        calls: format::count(now.calls),
        change: change(now.calls, before.calls),
        trend: None,
        answered: format::count(now.of(Outcome::Answered)),
        answer_rate: percent(now.answer_rate()),
        success_rate: percent(now.success_rate()),
        minutes: format::count((now.seconds + 30) / 60),
        cost: format::count(now.cost),
    }
}

/// The line of these numbers.
fn trend(calls: &[u64]) -> Option<(String, String)> {
    let most = calls.iter().max()?;
    let values: Vec<_> = calls.iter().map(|calls| chart::count(*calls)).collect();
    Some((chart::sparkline(&values), format::count(*most)))
}

/// The change of a number, as a percentage.
fn change(now: u64, before: u64) -> String {
    if before == 0 {
        return if now == 0 { "–".to_owned() } else { "new".to_owned() };
    }
    #[expect(clippy::cast_precision_loss, reason = "counts of calls")]
    let percent = (now as f64 / before as f64 - 1.0) * 100.0;
    if percent.abs() < 0.5 { "±0 %".to_owned() } else { format!("{percent:+.0} %").replace('-', "−") }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_change_has_its_sign() {
        let table =
            [(0, 0, "–"), (3, 0, "new"), (0, 4, "−100 %"), (6, 4, "+50 %"), (4, 4, "±0 %"), (3, 4, "−25 %")];
        for (now, before, expected) in table {
            assert_eq!(change(now, before), expected, "{now} {before}");
        }
    }

    #[test]
    fn answered_counts_people_only() {
        let mut now = Sums { calls: 10, ..Sums::default() };
        (now.outcomes[0], now.outcomes[1]) = (4, 4); // Answered, voicemail.
        let row = row(&now, &Sums::default());
        assert_eq!((row.answered.as_str(), row.answer_rate.as_str()), ("4", "50 %"));
    }

    #[test]
    fn the_worst_group_comes_first_if_a_share_is_sorted() {
        let group = |name: &str, calls, answered, success| {
            let mut now = Sums { calls, success, failure: 10 - success, ..Sums::default() };
            (now.outcomes[0], now.outcomes[1]) = (answered, calls - answered);
            Compared {
                is: Some(name.to_owned()),
                name: None,
                now,
                before: Sums::default(),
                trend: vec![1, 0],
            }
        };
        let open = Compared { now: Sums { calls: 1, ..Sums::default() }, ..group("open", 1, 0, 0) };
        let all = [group("a", 30, 20, 9), group("b", 20, 2, 10), group("c", 10, 5, 3), open];
        let order = |sort| -> String {
            let rows = groups(By::Agent, &all, sort, "24h", Numbers::Masked).rows;
            rows.into_iter().map(|row| row.name).collect::<Vec<_>>().join(" ")
        };
        assert_eq!(order(Sort::Calls), "a b c open");
        assert_eq!(order(Sort::Answered), "a c b open");
        assert_eq!(order(Sort::AnswerRate), "b c a open");
        assert_eq!(order(Sort::SuccessRate), "c a b open");
        for (sort, _) in Sort::ALL {
            assert_eq!(Sort::from_word(sort.as_str()), Some(sort));
        }
    }

    #[test]
    fn a_group_without_calls_has_no_row_and_a_number_no_link() {
        let group = |is: Option<&str>, calls| Compared {
            is: is.map(str::to_owned),
            name: None,
            now: Sums { calls, ..Sums::default() },
            before: Sums::default(),
            trend: Vec::new(),
        };
        let all =
            [group(Some("b 1"), 2), group(None, 2), group(Some("+6581234567"), 1), group(Some("b2"), 0)];
        let hrefs = |by| -> Vec<String> {
            groups(by, &all, Sort::Calls, "24h", Numbers::Masked)
                .rows
                .into_iter()
                .map(|row| row.href)
                .collect()
        };
        assert_eq!(hrefs(By::Batch), ["/batches/b%201", ""]);
        assert_eq!(hrefs(By::Agent), ["/calls?agent=b+1&period=24h", "", ""]);
    }
}
