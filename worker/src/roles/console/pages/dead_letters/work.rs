//! `/dead-letters/work`: work on several dead letters, its progress, and how to cancel it.

use std::sync::Arc;

use aftercall_common::phone_numbers::Numbers;
use askama::Template;
use axum::{
    extract::{RawForm, State},
    http::StatusCode,
    response::{IntoResponse as _, Redirect, Response},
};

use super::{
    queue::{self, SECTION},
    selection::{FormError, Selection, read_form},
};
use crate::{
    domain::audit::{Action, Object, ObjectKind},
    roles::console::{
        access::user,
        audit, letter_work,
        live::letter_work::{Progress, SentAgain, State as WorkState, Work},
        pages::shell::{self, Shell},
        state::Console,
        view::format,
    },
};

/// Address of the page.
const ADDRESS: &str = "/dead-letters/work";

#[derive(Template)]
#[template(path = "letter_work.html")]
struct Page {
    shell: Shell,
    work: Option<WorkView>,
}

/// The latest work, as texts.
struct WorkView {
    title: &'static str,
    selected: String,
    by: String,
    iso: String,
    moment: String,
    time: String,
    state: String,
    tone: &'static str,
    glyph: &'static str,
    is_running: bool,
    /// Whether the state will still change.
    is_open: bool,
    taken: u64,
    total: u64,
    facts: Vec<(&'static str, String)>,
    failures: Vec<String>,
}

/// What became of the messages that were sent again.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct Fate {
    /// Whether workers have processed all of them.
    is_known: bool,
    /// How many are dead letters again.
    returned: u64,
}

impl WorkView {
    /// The texts of `progress`. `fate` is what became of the messages that were sent again. `None`: none were.
    fn new(progress: &Progress, fate: Option<Fate>) -> Self {
        let (title, done) = match progress.work {
            Work::Replay => ("Send dead letters again", "Sent again"),
            Work::Delete => ("Delete dead letters", "Deleted"),
        };
        let is_open = progress.is_running() || fate.is_some_and(|fate| !fate.is_known);
        let returned = fate.map_or(0, |fate| fate.returned);
        let (tone, glyph) = match &progress.state {
            WorkState::Stopped(_) => ("failed", "failed"),
            _ if is_open => ("going", "ringing"),
            WorkState::Finished if progress.failed == 0 && returned == 0 => ("done", "done"),
            _ => ("missed", "missed"),
        };
        let taken = progress.done + progress.gone + progress.failed;
        let count = |n: u64| Some(n).filter(|n| *n > 0).map(format::count);
        let facts = [
            ("Selected", Some(format::count(progress.total))),
            (done, Some(format::count(progress.done))),
            ("Gone before", count(progress.gone)),
            ("Dead letters again", fate.map(|fate| format::count(fate.returned))),
            ("Must not be sent", count(progress.failed)),
            ("Left", count(progress.total - taken.min(progress.total))),
            ("Ended", progress.ended_at.map(format::moment)),
        ];
        Self {
            title,
            selected: progress.selected.clone(),
            by: progress.by.clone(),
            iso: progress.started_at.to_string(),
            moment: format::moment(progress.started_at),
            time: format::short_moment(progress.started_at),
            state: state_text(&progress.state)
                + &fate.map(|fate| fate_text(fate, progress.done)).unwrap_or_default(),
            tone,
            glyph,
            is_running: progress.is_running(),
            is_open,
            taken,
            total: progress.total,
            facts: facts.into_iter().filter_map(|(name, fact)| Some((name, fact?))).collect(),
            failures: progress.failures.clone(),
        }
    }
}

fn state_text(state: &WorkState) -> String {
    match state {
        WorkState::Running => "In progress.".to_owned(),
        WorkState::Canceling => "Canceling. Dead letters that were begun are finished first.".to_owned(),
        WorkState::Finished => "Finished.".to_owned(),
        WorkState::Canceled => "Canceled. What is left is still among the dead letters.".to_owned(),
        WorkState::Stopped(reason) => {
            format!("Stopped: {reason}. What is left is still among the dead letters; start again later.")
        }
    }
}

/// What became of the `sent` messages.
fn fate_text(fate: Fate, sent: u64) -> String {
    match fate {
        Fate { is_known: false, .. } => " Workers have not processed all of these messages yet.".to_owned(),
        Fate { returned: 0, .. } => " Workers have processed these messages, and none came back.".to_owned(),
        Fate { returned, .. } => format!(
            " {} of {} failed again. Each is a new dead letter with a new number. What made it fail is not mended yet.",
            format::count(returned),
            format::count(sent)
        ),
    }
}

/// `GET /dead-letters/work`
pub async fn show(State(console): State<Arc<Console>>) -> Response {
    let work = match console.letter_work.progress() {
        Some(progress) => Some(WorkView::new(&progress, fate(&console).await)),
        None => None,
    };
    shell::render(StatusCode::OK, &Page { shell: Shell::new(&console, SECTION), work })
}

/// What became of the messages that the latest work sent again. `None`: it sent none.
async fn fate(console: &Console) -> Option<Fate> {
    let last = console.letter_work.sent(SentAgain::last).filter(|last| !last.is_empty())?;
    // Asked first: a worker stores the dead letter before it acknowledges the message.
    let mut is_known = true;
    for (stream, sequence) in last {
        is_known &= queue::is_acknowledged(&console.context.jetstream, stream, sequence).await;
    }
    is_known &= console.update_letters().await;
    let count = |sent: &SentAgain| console.letters.get().count_at(sent.first_new, &sent.places);
    let returned = console.letter_work.sent(count).unwrap_or(0);
    Some(Fate { is_known, returned: returned as u64 })
}

/// `POST /dead-letters/work`
pub async fn start(State(console): State<Arc<Console>>, RawForm(body): RawForm) -> Response {
    let refuse = |status: StatusCode, text: &str| {
        shell::message(&console, SECTION, status, "Nothing was started", text)
    };
    let (work, selection) = match read_form(&body) {
        Ok(read) => read,
        Err(error) => return refuse(StatusCode::UNPROCESSABLE_ENTITY, problem(error)),
    };
    if !console.health().nats {
        return shell::broker_unavailable(&console, SECTION);
    }
    let (mut numbers, selected) = match selection {
        Selection::Numbers(numbers) => {
            let count = format::count(numbers.len() as u64);
            (numbers, format!("{count} selected dead letters"))
        }
        Selection::Group { reason, kind, end } => {
            let numbers: Vec<_> = console.letters.get().numbers(&reason, kind.as_deref(), end).collect();
            let kind = kind.map(|kind| format!(" · {}", format::sender_text(&kind, console.numbers)));
            let count = format::count(numbers.len() as u64);
            (
                numbers,
                format!(
                    "{count} dead letters: {}{}",
                    format::words(&reason, Numbers::Whole),
                    kind.unwrap_or_default()
                ),
            )
        }
    };
    numbers.sort_unstable(); // The oldest is sent first.
    if numbers.is_empty() {
        return refuse(StatusCode::NOT_FOUND, "None of these dead letters are left.");
    }
    if letter_work::start(&console, work, numbers, selected.clone(), user::author().name).is_err() {
        let text = "Other work on dead letters is running. Wait until it ends, or cancel it.";
        return refuse(StatusCode::CONFLICT, text);
    }
    let action = match work {
        Work::Replay => Action::ReplayDeadLetters,
        Work::Delete => Action::DeleteDeadLetters,
    };
    audit::record(&console, action, Object::new(ObjectKind::DeadLetters, &selected)).await;
    Redirect::to(ADDRESS).into_response()
}

/// `POST /dead-letters/work/cancel`
pub async fn cancel(State(console): State<Arc<Console>>) -> Response {
    let selected = console.letter_work.progress().map(|progress| progress.selected).unwrap_or_default();
    if console.letter_work.cancel() {
        let object = Object::new(ObjectKind::DeadLetters, &selected);
        audit::record(&console, Action::CancelDeadLetters, object).await;
    }
    Redirect::to(ADDRESS).into_response()
}

fn problem(error: FormError) -> &'static str {
    match error {
        FormError::NothingSelected => "Select at least one dead letter, or open a group and take all of it.",
        FormError::TooMany => {
            "Select at most the dead letters of one page, or open a group and take all of it."
        }
        FormError::NoWork => {
            "The form does not say whether to send the dead letters again or to delete them."
        }
    }
}
