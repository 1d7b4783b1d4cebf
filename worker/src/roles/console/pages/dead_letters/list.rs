//! `GET /dead-letters`: dead letters by reason and type, and a list of them or of one group.

use std::sync::Arc;

use aftercall_common::phone_numbers::Numbers;
use askama::Template;
use axum::{
    extract::{RawQuery, State},
    http::StatusCode,
    response::Response,
};
use jiff::Timestamp;

use super::{
    queue::{self, SECTION},
    row::Row,
    selection::{Chosen, Params},
};
use crate::{
    dead_letters::{BrokerUnavailable, DeadLetterQueue, DeadLetterView, GroupCount, PAGE},
    roles::console::{
        live::letter_work::{Progress, Work},
        pages::shell::{self, Shell},
        state::Console,
        view::format,
    },
};

/// Most groups that are shown.
const MAX_GROUPS: usize = 50;

#[derive(Template)]
#[template(path = "dead_letters.html")]
struct List {
    shell: Shell,
    /// The group whose dead letters are listed. `None`: all are listed.
    chosen: Option<Chosen>,
    /// The groups. Empty if one is chosen.
    groups: Vec<GroupRow>,
    /// Whether all dead letters are counted in their groups.
    is_counted: bool,
    /// Number of groups that are not listed.
    other_groups: usize,
    letters: Vec<Row>,
    count: String,
    /// Work that runs, in words.
    work: Option<String>,
    address: String,
    newest: String,
    /// Address of the next page. `None`: this is the last page.
    older: Option<String>,
    is_first: bool,
}

/// A group, as texts.
struct GroupRow {
    reason: String,
    kind: String,
    count: String,
    href: String,
}

impl GroupRow {
    fn new(found: &GroupCount, console: &Console) -> Self {
        let group = &found.group;
        let params = Params { reason: group.reason.clone(), kind: Some(group.kind.clone()), before: None };
        Self {
            reason: format::words(&group.reason, Numbers::Whole),
            kind: format::sender_text(&group.kind, console.numbers),
            count: format::count(found.count),
            href: params.address(),
        }
    }
}

/// What the broker has for a page.
struct Found {
    letters: Vec<DeadLetterView>,
    more: bool,
    /// Number of all dead letters.
    count: u64,
    /// The number after the last dead letter.
    end: u64,
}

/// `GET /dead-letters?reason=&type=&before=`
pub async fn list(State(console): State<Arc<Console>>, RawQuery(query): RawQuery) -> Response {
    let query = query.unwrap_or_default();
    let params = Params::read(query.as_bytes());
    if params.before.is_none() && form_urlencoded::parse(query.as_bytes()).any(|(name, _)| name == "before") {
        return shell::unreadable(&console, SECTION, "before", "the number of a dead letter");
    }
    if !console.health().nats {
        return shell::broker_unavailable(&console, SECTION);
    }
    let jetstream = &console.context.jetstream;
    // The template says whether the index has all dead letters.
    let _is_complete = console.update_letters().await;
    let page = queue::query(jetstream, async |queue| find(&console, queue, &params).await);
    let Some(found) = page.await else {
        return shell::broker_unavailable(&console, SECTION);
    };
    shell::render(StatusCode::OK, &template(&console, &params, &found))
}

async fn find(
    console: &Console,
    queue: &DeadLetterQueue,
    params: &Params,
) -> Result<Found, BrokerUnavailable> {
    let (count, end, before) = (queue.count(), queue.end(), params.before.unwrap_or(u64::MAX));
    if !params.is_group() {
        let (letters, more) = queue.page(before).await?;
        return Ok(Found { letters, more, count, end });
    }
    let numbers: Vec<_> = {
        let index = console.letters.get();
        index.numbers(&params.reason, params.kind.as_deref(), before).take(PAGE + 1).collect()
    };
    let (mut letters, more) = (Vec::new(), numbers.len() > PAGE);
    for number in numbers.into_iter().take(PAGE) {
        letters.extend(queue.get(number).await?); // It may be gone.
    }
    Ok(Found { letters, more, count, end })
}

fn template(console: &Console, params: &Params, found: &Found) -> List {
    let now = Timestamp::now();
    let index = console.letters.get();
    let is_counted = index.is_complete(found.count, found.end.saturating_sub(1));
    let groups = index.groups();
    let chosen = params.is_group().then(|| {
        let is_chosen = |found: &&GroupCount| params.has(&found.group);
        let count = groups.iter().filter(is_chosen).map(|found| found.count).sum();
        Chosen::new(params, count, is_counted, found.end, console.numbers)
    });
    drop(index);
    let mut shell = Shell::new(console, SECTION);
    shell.dead_letters = Some(found.count);
    let newest = Params { before: None, ..params.clone() }.address();
    let last = found.letters.last().filter(|_| found.more).map(|letter| letter.number);
    List {
        shell,
        groups: if chosen.is_none() && params.before.is_none() {
            groups.iter().take(MAX_GROUPS).map(|found| GroupRow::new(found, console)).collect()
        } else {
            Vec::new()
        },
        other_groups: groups.len().saturating_sub(MAX_GROUPS),
        chosen,
        is_counted,
        older: last.map(|before| Params { before: Some(before), ..params.clone() }.address()),
        letters: found.letters.iter().map(|letter| Row::new(letter, console.numbers, now)).collect(),
        count: format::count(found.count),
        work: running(console),
        address: params.address(),
        newest,
        is_first: params.before.is_none(),
    }
}

/// Work that runs, in words.
fn running(console: &Console) -> Option<String> {
    let progress = console.letter_work.progress().filter(Progress::is_running)?;
    let verb = match progress.work {
        Work::Replay => "sent again",
        Work::Delete => "deleted",
    };
    let (done, total) = (format::count(progress.done), format::count(progress.total));
    Some(format!("{} has dead letters {verb}: {done} of {total}", progress.by))
}
