//! Adds an endpoint.

use std::sync::Arc;

use askama::Template;
use axum::{
    extract::{RawForm, State},
    http::StatusCode,
    response::Response,
};
use jiff::Timestamp;

use super::{
    SECTION, actions,
    form::{EndpointForm, FormError},
    secret,
    show::{self, Notice},
};
use crate::{
    domain::{audit::Action, delivery::EndpointId},
    endpoints::{self, Added, EndpointError},
    roles::console::{
        audit,
        pages::shell::{self, Shell},
        state::Console,
    },
    store::StoreError,
};

#[derive(Template)]
#[template(path = "endpoint_new.html")]
struct Page {
    shell: Shell,
    form: EndpointForm,
    problem: Option<FormError>,
}

impl Page {
    /// Whether the problem belongs to the field `name`.
    fn is_wrong(&self, name: &str) -> bool {
        self.problem.as_ref().is_some_and(|problem| problem.field == name)
    }
}

/// `GET /endpoints/new`
pub async fn form(State(console): State<Arc<Console>>) -> Response {
    let id = EndpointId::new(rand::random()).to_string();
    let form = EndpointForm { id, kind: "events".to_owned(), ..EndpointForm::default() };
    shell::render(StatusCode::OK, &Page { shell: Shell::new(&console, SECTION), form, problem: None })
}

/// `POST /endpoints`
pub async fn add(State(console): State<Arc<Console>>, RawForm(body): RawForm) -> Response {
    let form = EndpointForm::read(&body);
    let refuse = |form: EndpointForm, status: StatusCode, problem: FormError| {
        let page = Page { shell: Shell::new(&console, SECTION), form, problem: Some(problem) };
        shell::render(status, &page)
    };
    let new = match form.to_new_endpoint(Timestamp::now()) {
        Ok(new) => new,
        Err(problem) => return refuse(form, StatusCode::UNPROCESSABLE_ENTITY, problem),
    };
    match endpoints::add(&console.context, new).await {
        // Somebody loads the answer to the form again. Its secret was shown then.
        Ok(Added::Before(endpoint)) => {
            let notice = Notice { is_added_before: true, ..Notice::default() };
            show::page(&console, endpoint.id.as_str(), StatusCode::OK, notice).await
        }
        Ok(Added::Now(endpoint)) => {
            audit::record(&console, Action::AddEndpoint, actions::object(&endpoint.id)).await;
            let valid = endpoint.secrets.valid(Timestamp::now()).next();
            secret::page(&console, "Endpoint added", &endpoint, valid, None)
        }
        Err(error) => {
            let status = match error {
                EndpointError::Store(StoreError::Unavailable(_)) => StatusCode::SERVICE_UNAVAILABLE,
                _ => StatusCode::UNPROCESSABLE_ENTITY,
            };
            refuse(form, status, FormError::of(&error))
        }
    }
}
