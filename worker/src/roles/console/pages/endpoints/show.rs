//! `GET /endpoints/{id}`: one endpoint with its latest deliveries.

use std::{sync::Arc, time::Duration};

use askama::Template;
use axum::{
    extract::{Path, State},
    http::StatusCode,
    response::Response,
};
use jiff::Timestamp;

use super::{
    SECTION,
    form::{EndpointForm, FormError},
};
use crate::{
    domain::{
        delivery::{Endpoint, EndpointId, Kind, State as EndpointState},
        time::between,
    },
    roles::{
        console::{
            pages::{
                deliveries::Params,
                shell::{self, Shell},
            },
            state::Console,
            view::{
                endpoint::{AttemptRow, DeliveryRow, EndpointRow},
                format,
            },
        },
        deliver::endpoints::backlog,
    },
    store::{DeliveryFigures, DeliveryFilter, StoreError, views::DeliveryPage},
};

/// Longest wait for the broker's answer about messages that wait. The page is also shown without it.
const BACKLOG_TIMEOUT: Duration = Duration::from_millis(500);
/// A smaller difference between two clocks is no fact about an endpoint.
const MAX_CLOCK_DIFFERENCE: Duration = Duration::from_mins(1);
/// The time for which requests are signed by an old secret too, unless somebody enters another one.
pub const OVERLAP: &str = "24h";

#[derive(Template)]
#[template(path = "endpoint.html")]
struct Page {
    shell: Shell,
    row: EndpointRow,
    facts: Vec<(&'static str, String)>,
    is_active: bool,
    has_secret: bool,
    form: EndpointForm,
    deliveries: Vec<DeliveryRow>,
    /// Address of the list with all deliveries.
    all: String,
    notice: Notice,
}

/// What the page says about the action before it.
#[derive(Default)]
pub struct Notice {
    /// The attempt of a test.
    pub tested: Option<AttemptRow>,
    /// The form that added the endpoint was sent again.
    pub is_added_before: bool,
    /// The filter that was entered, and why it cannot be used.
    pub filter: Option<(EndpointForm, FormError)>,
    /// The overlap that was entered, and why it cannot be used.
    pub overlap: Option<(String, FormError)>,
}

impl Page {
    fn overlap(&self) -> &str {
        self.notice.overlap.as_ref().map_or(OVERLAP, |(entered, _)| entered)
    }
}

/// `GET /endpoints/{id}`
pub async fn show(State(console): State<Arc<Console>>, Path(id): Path<String>) -> Response {
    page(&console, &id, StatusCode::OK, Notice::default()).await
}

/// The page of the endpoint `id`.
pub async fn page(console: &Arc<Console>, id: &str, status: StatusCode, notice: Notice) -> Response {
    let Ok(id) = EndpointId::parse(id) else { return not_found(console) };
    let endpoint = match console.views.endpoint(&id).await {
        Ok(Some(endpoint)) => endpoint,
        Ok(None) => return not_found(console),
        Err(error) => return shell::database_unavailable(console, SECTION, &error),
    };
    let (figures, page) = match records(console, &endpoint).await {
        Ok(found) => found,
        Err(error) => return shell::database_unavailable(console, SECTION, &error),
    };
    let waiting = if console.health().nats {
        let waiting = backlog(&console.context.jetstream, &endpoint);
        tokio::time::timeout(BACKLOG_TIMEOUT, waiting).await.ok().flatten()
    } else {
        None
    };
    let now = Timestamp::now();
    let form = notice.filter.as_ref().map(|(form, _)| form.clone());
    let template = Page {
        shell: Shell::new(console, SECTION),
        row: EndpointRow::new(&endpoint, &figures, console.numbers, now),
        facts: facts(&endpoint, waiting, now),
        is_active: endpoint.state == EndpointState::Active,
        has_secret: endpoint.kind == Kind::Events,
        form: form.unwrap_or_else(|| EndpointForm::from_endpoint(&endpoint)),
        deliveries: page
            .records
            .iter()
            .map(|record| DeliveryRow::new(record, console.numbers, now))
            .collect(),
        all: Params::of_endpoint(&endpoint.id).address(),
        notice,
    };
    shell::render(status, &template)
}

async fn records(
    console: &Console,
    endpoint: &Endpoint,
) -> Result<(DeliveryFigures, DeliveryPage), StoreError> {
    let filter = DeliveryFilter { endpoint: Some(endpoint.id.to_string()), ..DeliveryFilter::default() };
    let endpoints = std::slice::from_ref(endpoint);
    let (figures, deliveries) =
        tokio::try_join!(console.views.delivery_figures(endpoints), console.views.deliveries(&filter, None))?;
    Ok((figures.into_iter().next().unwrap_or_default(), deliveries))
}

/// Further facts about an endpoint, below its row. Unknown ones are left out.
fn facts(endpoint: &Endpoint, waiting: Option<u64>, now: Timestamp) -> Vec<(&'static str, String)> {
    let valid = endpoint.secrets.valid(now).count();
    let mut ends: Vec<_> = endpoint.secrets.0.iter().filter_map(|(_, end)| *end).collect();
    ends.retain(|end| *end > now);
    ends.sort_unstable();
    let secrets = match (endpoint.kind, valid) {
        (Kind::Raw, _) => "none: webhooks keep the signature of their provider".to_owned(),
        (Kind::Events, 0) => {
            "none that can be read, so receivers refuse the requests: rotate the secret".to_owned()
        }
        (Kind::Events, 1) if ends.is_empty() => "one".to_owned(),
        (Kind::Events, valid) => {
            let ends: Vec<_> = ends.into_iter().map(format::moment).collect();
            let ends = ends.join(" and ");
            match valid {
                1 => format!("one, until {ends}: rotate the secret"),
                _ => format!("{valid}; requests are signed by each, the old ones until {ends}"),
            }
        }
    };
    // `since` is a time of the broker, `created_at` one of a worker, so they differ a little for a new endpoint too.
    let earlier = between(endpoint.since, endpoint.created_at) > MAX_CLOCK_DIFFERENCE;
    let facts = [
        ("Secrets", Some(secrets)),
        ("Not sent yet", waiting.map(unsent)),
        ("Failing since", endpoint.failing_since.map(format::moment)),
        ("Added", Some(format::moment(endpoint.created_at))),
        ("Gets messages since", earlier.then(|| format::moment(endpoint.since))),
    ];
    facts.into_iter().filter_map(|(name, fact)| Some((name, fact?))).collect()
}

fn unsent(waiting: u64) -> String {
    match waiting {
        0 => "none".to_owned(),
        n => format!("up to {} new messages", format::count(n)),
    }
}

/// The page for an endpoint that does not exist.
pub fn not_found(console: &Console) -> Response {
    let text = "It was removed, or the address is wrong.";
    shell::message(console, SECTION, StatusCode::NOT_FOUND, "No such endpoint", text)
}
