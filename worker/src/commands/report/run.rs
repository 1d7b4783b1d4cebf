//! Asks the database and prints the report.

use std::time::Duration;

use aftercall_common::phone_numbers::Numbers;
use anyhow::ensure;
use jiff::Timestamp;

use super::{
    answer::{self, Answer, failure_rate},
    batch, by,
    options::Options,
    text,
};
use crate::{
    commands::print_line,
    elevenlabs::ElevenLabs,
    store::{Question, Store, questions},
};

/// Length of the default period.
const DEFAULT_PERIOD: Duration = Duration::from_hours(24);

/// Prints the report. `api`: ElevenLabs, if there is a key; only the report of a batch asks it. `shows_numbers`:
/// the configuration allows complete telephone numbers.
pub async fn run(
    store: &Store,
    api: Option<&ElevenLabs>,
    options: &Options,
    shows_numbers: bool,
) -> anyhow::Result<()> {
    let numbers = Numbers::shown(shows_numbers || options.show_numbers);
    if let Some(id) = &options.batch {
        return batch::run(store, api, id, options.json, numbers).await;
    }
    let now = Timestamp::now();
    let until = options.until.unwrap_or(now);
    let since = options.since.unwrap_or_else(|| until.checked_sub(DEFAULT_PERIOD).unwrap_or(until));
    ensure!(since < until, "--since must be before --until");
    if let Some(grouping) = options.by {
        let period = by::Period { since, until, zone: &options.time_zone };
        return by::run(store, grouping, period, options.json, numbers).await;
    }
    let mut answers = Vec::new();
    for question in questions(since, until, options.calls) {
        answers.push(ask(store, &question, numbers).await?);
    }
    let rate = failure_rate(&answers);
    if options.json {
        return print_line(answer::json(since, until, rate, answers));
    }
    print_line(text::report(since, until, &rate, &answers).trim_end())
}

async fn ask(store: &Store, question: &Question, numbers: Numbers) -> anyhow::Result<Answer> {
    let rows = store.ask(question).await?.into_iter().map(|found| answer::row(found, numbers)).collect();
    Ok(Answer { name: question.name, rows, plan: store.explain(question).await? })
}
