//! `aftercall-worker report`: how calls go, for people and for scripts. Reads the database only.

mod table;

use std::time::Duration;

use aftercall_common::phone_numbers::Numbers;
use anyhow::ensure;
use jiff::Timestamp;
use mongodb::bson::{Bson, Document};
use serde_json::{Map, Value, json};

use super::{print_line, terminal};
use crate::{
    domain::{
        text::{MAX_REASON, cut},
        time::rfc3339,
    },
    store::{Plan, Question, Store, questions},
};

/// The default window.
const WINDOW: Duration = Duration::from_hours(24);

/// Which calls, and in which form.
#[derive(Clone, Debug, clap::Args)]
pub struct Options {
    /// Calls that began from then on: RFC 3339, or how long ago [default: 24h]
    #[arg(long, value_name = "TIME", value_parser = terminal::moment)]
    since: Option<Timestamp>,
    /// Calls that began until then [default: now]
    #[arg(long, value_name = "TIME", value_parser = terminal::moment)]
    until: Option<Timestamp>,
    /// Calls to name of each kind
    #[arg(long, value_name = "N", default_value_t = 10, value_parser = clap::value_parser!(u32).range(1..=1000))]
    calls: u32,
    /// Show telephone numbers whole, also where the console hides them
    #[arg(long)]
    show_numbers: bool,
    /// Print the answers as JSON
    #[arg(long)]
    json: bool,
}

/// One answer, and how it was found.
struct Answer {
    name: &'static str,
    rows: Vec<Value>,
    plan: Plan,
}

/// Asks and prints.
pub async fn run(store: &Store, options: &Options, shows_numbers: bool) -> anyhow::Result<()> {
    let numbers = Numbers::shown(shows_numbers || options.show_numbers);
    let now = Timestamp::now();
    let until = options.until.unwrap_or(now);
    let since = options.since.unwrap_or_else(|| until.checked_sub(WINDOW).unwrap_or(until));
    ensure!(since < until, "--since must be before --until");
    let mut answers = Vec::new();
    for question in questions(since, until, options.calls) {
        answers.push(ask(store, &question, numbers).await?);
    }
    let rate = failure_rate(&answers);
    if options.json {
        let mut whole = Map::new();
        whole.insert("since".to_owned(), rfc3339(since).into());
        whole.insert("until".to_owned(), rfc3339(until).into());
        whole.insert("calls".to_owned(), rate.calls.into());
        whole.insert("failed".to_owned(), rate.failed.into());
        whole.insert("failureRate".to_owned(), json!(rate.share()));
        for answer in answers {
            let plan = json!({ "stages": answer.plan.stages, "indexes": answer.plan.indexes });
            whole.insert(answer.name.to_owned(), json!({ "rows": answer.rows, "plan": plan }));
        }
        return print_line(Value::Object(whole));
    }
    print_line(table::text(since, until, &rate, &answers).trim_end())
}

async fn ask(store: &Store, question: &Question, numbers: Numbers) -> anyhow::Result<Answer> {
    let rows = store.ask(question).await?.into_iter().map(|found| row(found, numbers)).collect();
    Ok(Answer { name: question.name, rows, plan: store.explain(question).await? })
}

/// A row as plain JSON: dates as text, the group under the name `is`, and numbers as `numbers` says.
fn row(document: Document, numbers: Numbers) -> Value {
    let cells = document.into_iter().map(|(name, value)| {
        let name = if name == "_id" { "is".to_owned() } else { name };
        let value = match value {
            Bson::DateTime(date) => Timestamp::from_millisecond(date.timestamp_millis())
                .map_or(Value::Null, |date| rfc3339(date).into()),
            Bson::String(id) if name.ends_with("Id") => numbers.id(&id).into(),
            // Documents of earlier versions hold texts of any length.
            Bson::String(text) => numbers.text(&cut(&text, MAX_REASON)).into(),
            Bson::Int32(number) => number.into(),
            Bson::Int64(number) => number.into(),
            Bson::Null => Value::Null,
            other => other.to_string().into(),
        };
        (name, value)
    });
    Value::Object(cells.collect())
}

/// How many calls there were, and how many of them failed.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct Rate {
    calls: u64,
    failed: u64,
}

impl Rate {
    /// Of 1; none where there were no calls.
    #[expect(clippy::cast_precision_loss, reason = "counts of calls")]
    fn share(self) -> Option<f64> {
        (self.calls > 0).then(|| self.failed as f64 / self.calls as f64)
    }
}

fn failure_rate(answers: &[Answer]) -> Rate {
    let hours = answers.iter().find(|answer| answer.name == "hours");
    hours.iter().flat_map(|answer| &answer.rows).fold(Rate::default(), |sum, hour| Rate {
        calls: sum.calls + hour["calls"].as_u64().unwrap_or(0),
        failed: sum.failed + hour["failed"].as_u64().unwrap_or(0),
    })
}
