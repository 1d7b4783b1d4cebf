//! A parameter of the list that cannot be read. Pure.

use aftercall_common::phone_numbers::Numbers;

use super::words::{EVALUATIONS, GOING, PERIODS, STUCK};
use crate::{
    domain::call::{Outcome, Status},
    roles::console::view::format,
    store::views::DIRECTIONS,
};

/// Most characters of a value: as many as pages show of a text, so that every link can be read.
pub const MAX_TEXT: usize = format::MAX_TEXT;
/// Most characters of an unknown name that the text repeats.
const MAX_NAME: usize = 32;

/// A parameter that cannot be read. The list is not shown then, because it would have more calls than were asked for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Problem {
    /// What is wrong, and what the parameter takes.
    pub text: String,
}

impl Problem {
    /// The parameter `name` is there twice.
    pub(super) fn twice(name: &str) -> Self {
        let with = if ["older", "newer"].contains(&name) { ", or with newer" } else { "" };
        Self { text: format!("The filter {} is given twice{with}.", shown(name)) }
    }

    /// What has no pages takes no position in the list.
    pub(super) fn position() -> Self {
        Self { text: "The filters older and newer select a page of the list.".to_owned() }
    }

    /// The value of the parameter `name` cannot be read, or there is no such parameter.
    pub(super) fn new(name: &str) -> Self {
        let text = match (values(name), form(name)) {
            (Some(values), _) => {
                let alone = if name == "outcome" { "; going and stuck stand alone" } else { "" };
                format!("The filter {name} takes {}{alone}.", values.join(", "))
            }
            (None, Some(form)) => format!("The filter {name} takes {form}."),
            (None, None) => format!("There is no filter with the name “{}”.", shown(name)),
        };
        Self { text }
    }
}

/// Whether there is a filter with this name.
pub fn is_filter(name: &str) -> bool {
    values(name).is_some() || form(name).is_some()
}

/// A name from outside, which may be anything, a telephone number too.
fn shown(name: &str) -> String {
    let name: String = name.chars().filter(|c| !c.is_control()).collect();
    format::masked(&name, MAX_NAME, Numbers::Masked)
}

/// The values of a filter that has few.
fn values(name: &str) -> Option<Vec<&'static str>> {
    Some(match name {
        "outcome" => Outcome::ALL.into_iter().map(Outcome::as_str).chain([GOING, STUCK]).collect(),
        "status" => Status::ALL.into_iter().map(Status::as_str).collect(),
        "direction" => DIRECTIONS.to_vec(),
        "evaluation" => EVALUATIONS.iter().map(|(word, _)| *word).collect(),
        "period" => PERIODS.iter().map(|period| period.word).collect(),
        _ => return None,
    })
}

/// What the values of another filter look like.
fn form(name: &str) -> Option<&'static str> {
    Some(match name {
        "duration" => "seconds, such as 10-60, 300- or -10",
        "sip" => "the SIP response code of a failure, 400 to 699",
        "since" | "until" => "a time, such as 2026-11-25T14:00 (in UTC) or 2026-11-25T14:00-05:00",
        "q" | "agent" | "batch" | "campaign" | "reason" => "a text of at most 500 characters",
        "older" | "newer" => "a position in the list, as its links have it",
        _ => return None,
    })
}
