//! What needs attention, each with the page that shows it. Pure.

use std::collections::BTreeMap;

use aftercall_common::phone_numbers::Numbers;

use super::groups::{By, href};
use crate::{
    dead_letters::GroupCount,
    domain::delivery::{Endpoint, Reason, State},
    registration::drift::Problem,
    roles::console::{
        pages::dead_letters::Params,
        view::{address, choices::agent_name, format},
    },
    store::views::PeriodFigures,
};

/// Most items about agents.
const MAX_AGENTS: usize = 5;

/// One item.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Item {
    pub text: String,
    /// The page that shows it. Empty: no page.
    pub href: String,
}

/// The dead letters by reason.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct DeadLetterCounts {
    by_reason: BTreeMap<String, u64>,
    /// Whether all dead letters are counted.
    is_complete: bool,
}

impl DeadLetterCounts {
    pub fn new(groups: &[GroupCount], is_complete: bool) -> Self {
        let mut by_reason = BTreeMap::new();
        for found in groups {
            *by_reason.entry(found.group.reason.clone()).or_insert(0) += found.count;
        }
        Self { by_reason, is_complete }
    }
}

/// What needs attention.
pub(super) fn items(figures: &PeriodFigures, letters: &DeadLetterCounts, numbers: Numbers) -> Vec<Item> {
    let period = figures.window.as_str();
    let mut items = Vec::new();
    if let Some(stuck) = figures.stuck.filter(|stuck| stuck.calls > 0) {
        let more = if stuck.is_complete { "" } else { "+" };
        let calls = format::count(stuck.calls);
        items.push(Item {
            text: format!(
                "{calls}{more} {}: no event ended {} in time",
                plural("call is stuck", "calls are stuck", stuck.calls),
                plural("it", "them", stuck.calls)
            ),
            href: "/calls?outcome=stuck".to_owned(),
        });
    }
    let failed = figures.total.now.failure;
    if failed > 0 {
        items.push(Item {
            text: format!(
                "{} {} not successful",
                format::count(failed),
                plural("conversation was", "conversations were", failed)
            ),
            href: format!("/calls?evaluation=failure&period={period}"),
        });
    }
    // Without calls before, every reason is new.
    let has_before = figures.total.before.calls > 0;
    items.extend(figures.rising.iter().filter(|_| has_before).map(|rising| Item {
        text: format!(
            "{} ended with “{}”; {} in the period before",
            calls(rising.now),
            format::sender_text(&rising.reason, numbers),
            format::count(rising.before)
        ),
        href: address::of_reason(&rising.reason, period, numbers),
    }));
    if let Some(check) = &figures.registration {
        let problems = check.problems.iter().filter_map(|label| Problem::from_label(label));
        // An agent with a webhook of its own may be intended. The log names it.
        let problems = problems.filter(|problem| *problem != Problem::Overridden);
        let age = format::age(check.at, figures.at);
        items.extend(problems.map(|problem| Item {
            text: format!("{} (checked {age} before this count)", problem.description()),
            href: String::new(),
        }));
    }
    let at_least = if letters.is_complete { "" } else { "at least " };
    items.extend(letters.by_reason.iter().map(|(reason, count)| Item {
        text: format!(
            "{at_least}{} dead {}: {}",
            format::count(*count),
            plural("letter", "letters", *count),
            format::words(reason, Numbers::Whole)
        ),
        href: Params { reason: reason.clone(), ..Params::default() }.address(),
    }));
    items.extend(figures.endpoints.iter().filter_map(endpoint));
    let silent = figures.agents.iter().filter(|agent| agent.now.calls == 0 && agent.before.calls > 0);
    items.extend(silent.take(MAX_AGENTS).filter_map(|agent| {
        let id = agent.is.as_deref()?;
        Some(Item {
            text: format!(
                "{}: no webhook in this period, after {} in the one before",
                agent_name(id, agent.name.as_deref(), numbers),
                calls(agent.before.calls)
            ),
            href: href(By::Agent, id, "7d", numbers),
        })
    }));
    items
}

/// An endpoint that gets no messages although nobody paused it, or at which every attempt fails.
fn endpoint(endpoint: &Endpoint) -> Option<Item> {
    let text = match (endpoint.state, endpoint.failing_since) {
        (State::Stopped(Reason::Failing), _) => "is paused, because every attempt failed for days",
        (State::Stopped(Reason::Gone), _) => "is disabled, because it answered 410",
        (State::Stopped(Reason::Operator), _) => "is paused by an operator",
        (State::Active, Some(_)) => "fails at every attempt",
        (State::Active, None) => return None,
    };
    Some(Item {
        text: format!("endpoint {} {text}", endpoint.id),
        href: format!("/endpoints/{}", endpoint.id),
    })
}

fn calls(n: u64) -> String {
    format!("{} {}", format::count(n), plural("call", "calls", n))
}

fn plural(one: &'static str, many: &'static str, n: u64) -> &'static str {
    if n == 1 { one } else { many }
}
