//! `GET /batches/{id}`: how a batch goes.

use std::sync::Arc;

use askama::Template;
use axum::{
    extract::{Path, State},
    http::StatusCode,
    response::Response,
};
use jiff::Timestamp;

use super::figures::{Texts, calls, texts};
use crate::{
    roles::console::{
        pages::{
            overview::SECTION,
            shell::{self, Shell},
        },
        state::Console,
        view::{address, format},
    },
    store::views::BatchFigures,
};

#[derive(Template)]
#[template(path = "batch.html")]
struct Batch {
    shell: Shell,
    name: String,
    /// Addresses of this page, of the calls of the batch, and of the table of those to try again. Empty: the id holds
    /// a telephone number that is masked.
    path: String,
    calls: String,
    /// `None`: the calls are not counted yet.
    figures: Option<Counted>,
}

/// The figures with their times.
struct Counted {
    texts: Texts,
    /// When the first and the last call were created: RFC 3339, and a text in UTC.
    created: Vec<(String, String)>,
    /// When the calls were counted: Unix milliseconds, and the age as a text.
    at: i64,
    age: String,
}

impl Counted {
    fn new(id: &str, figures: &BatchFigures, console: &Console, now: Timestamp) -> Self {
        let created = figures.created.iter().flat_map(|(first, last)| [first, last]);
        Self {
            texts: texts(id, figures, console.numbers),
            created: created.map(|at| (at.to_string(), format::short_moment(*at))).collect(),
            at: figures.at.as_millisecond(),
            age: format::age(figures.at, now),
        }
    }
}

/// `GET /batches/{id}`
pub async fn show(State(console): State<Arc<Console>>, Path(id): Path<String>) -> Response {
    let mongodb = console.health().mongodb;
    if mongodb {
        match console.views.has_batch(&id).await {
            Ok(true) => {}
            Ok(false) => return unknown(&console),
            Err(error) => return shell::database_unavailable(&console, SECTION, &error),
        }
    }
    let count = {
        let (views, id) = (console.views.clone(), id.clone());
        async move { views.batch_figures(&id, Timestamp::now()).await }
    };
    let figures = console.batches.get(&console.tasks, mongodb, id.clone(), count).await;
    let now = Timestamp::now();
    let template = Batch {
        shell: Shell::new(&console, SECTION),
        name: format::id(&id, console.numbers),
        path: address::of_batch(&id, console.numbers),
        calls: calls(&id, None, console.numbers),
        figures: figures.map(|figures| Counted::new(&id, &figures, &console, now)),
    };
    shell::render(StatusCode::OK, &template)
}

/// The page of a batch that has no stored call.
fn unknown(console: &Console) -> Response {
    let text = "No stored call belongs to a batch with this id. A batch appears here with the first webhook about one \
                of its calls.";
    shell::message(console, SECTION, StatusCode::NOT_FOUND, "No such batch", text)
}
