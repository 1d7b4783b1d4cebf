//! `GET /deliveries`: the list of deliveries.

use std::sync::Arc;

use askama::Template;
use axum::{
    extract::{RawQuery, State},
    http::StatusCode,
    response::Response,
};
use jiff::Timestamp;

use super::{Params, params::Problem, show};
use crate::{
    domain::delivery::Endpoint,
    roles::console::{
        pages::{
            endpoints::SECTION,
            shell::{self, Shell},
        },
        state::Console,
        view::{endpoint::DeliveryRow, format},
    },
    store::{DeliveryFilter, DeliveryRecord, StoreError, views::DeliveryPage},
};

#[derive(Template)]
#[template(path = "deliveries.html")]
struct List {
    shell: Shell,
    params: Params,
    problem: Option<Problem>,
    /// The endpoints that the form offers: id, URL, and whether it is selected.
    endpoints: Vec<(String, String, bool)>,
    deliveries: Vec<DeliveryRow>,
    /// Address of the next page.
    older: Option<String>,
    /// What can be sent again. `None`: nothing matches, or the filter names neither endpoint nor call.
    selection: Option<Selection>,
}

/// Deliveries that can be sent again together.
struct Selection {
    /// The fields of the filter, with times that do not move.
    params: Params,
    /// How many.
    count: String,
}

impl List {
    fn is_wrong(&self, name: &str) -> bool {
        self.problem.as_ref().is_some_and(|problem| problem.field == name)
    }
}

/// `GET /deliveries`
pub async fn list(State(console): State<Arc<Console>>, RawQuery(query): RawQuery) -> Response {
    let params = Params::read(query.unwrap_or_default().as_bytes());
    let now = Timestamp::now();
    let before = match show::before(&console, &params).await {
        Ok(before) => before,
        Err(page) => return page,
    };
    let known = match console.views.endpoints().await {
        Ok(known) => known,
        Err(error) => return shell::database_unavailable(&console, SECTION, &error),
    };
    let (found, problem) = match params.filter(now) {
        Ok(filter) => match read(&console, before.as_ref(), &params, &filter).await {
            Ok(found) => (found, None),
            Err(error) => return shell::database_unavailable(&console, SECTION, &error),
        },
        Err(problem) => (Found::default(), Some(problem)),
    };
    let status = if problem.is_some() { StatusCode::UNPROCESSABLE_ENTITY } else { StatusCode::OK };
    // Nothing can be sent to an endpoint that was removed.
    let is_there = params.endpoint.is_empty() || known.iter().any(|it| it.id.as_str() == params.endpoint);
    let last = found.page.records.last().filter(|_| found.page.more);
    let template = List {
        shell: Shell::new(&console, SECTION),
        endpoints: offered(&known, &params),
        older: last.map(|record| params.address_before(&record.delivery.id)),
        deliveries: found
            .page
            .records
            .iter()
            .map(|record| DeliveryRow::new(record, console.numbers, now))
            .collect(),
        selection: found
            .count
            .filter(|_| is_there)
            .map(|count| Selection { params: params.fixed(now), count }),
        problem,
        params,
    };
    shell::render(status, &template)
}

/// What the database has for a filter.
#[derive(Default)]
struct Found {
    page: DeliveryPage,
    /// How many deliveries can be sent again.
    count: Option<String>,
}

async fn read(
    console: &Console,
    before: Option<&DeliveryRecord>,
    params: &Params,
    filter: &DeliveryFilter,
) -> Result<Found, StoreError> {
    let page = console.views.deliveries(filter, before).await?;
    let mut count = None;
    if params.is_replayable() && !page.records.is_empty() {
        let counted = console.views.count_deliveries(filter).await?;
        count = Some(counted.map_or_else(|| "all".to_owned(), format::count));
    }
    Ok(Found { page, count })
}

/// The endpoints that the form offers. A removed one is among them if it is selected.
fn offered(known: &[Endpoint], params: &Params) -> Vec<(String, String, bool)> {
    let mut offered: Vec<_> = known
        .iter()
        .map(|endpoint| {
            let id = endpoint.id.to_string();
            let selected = id == params.endpoint;
            (id, endpoint.url.to_string(), selected)
        })
        .collect();
    if !params.endpoint.is_empty() && !offered.iter().any(|(.., selected)| *selected) {
        offered.push((params.endpoint.clone(), "removed".to_owned(), true));
    }
    offered
}
