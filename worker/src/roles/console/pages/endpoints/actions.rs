//! Tests, pauses, resumes and removes an endpoint, and gives it another filter or a new secret.

use std::sync::Arc;

use axum::{
    Form,
    extract::{Path, RawForm, State},
    http::StatusCode,
    response::{IntoResponse as _, Redirect, Response},
};
use serde::Deserialize;

use super::{
    SECTION,
    form::{EndpointForm, FormError, capitalized},
    secret,
    show::{self, Notice},
};
use crate::{
    domain::{
        audit::{Action, Object, ObjectKind},
        delivery::{Endpoint, EndpointId, Reason, State as EndpointState},
        time::read_duration,
    },
    endpoints::{self, EndpointError},
    roles::{
        console::{
            audit,
            pages::shell,
            state::Console,
            view::{address, endpoint::AttemptRow, format},
        },
        deliver::endpoints::Sender,
    },
    store::StoreError,
};

/// The form that gives an endpoint a new secret.
#[derive(Deserialize)]
pub struct RotateForm {
    /// How long requests are signed by the old secret too.
    overlap: String,
}

/// `POST /endpoints/{id}/test`
pub async fn test(State(console): State<Arc<Console>>, Path(id): Path<String>) -> Response {
    let endpoint = match find(&console, &id).await {
        Ok(endpoint) => endpoint,
        Err(page) => return page,
    };
    let sender = match Sender::new(console.context.config.private_networks()) {
        Ok(sender) => sender,
        Err(error) => {
            tracing::error!(error = format!("{error:#}"), "no test is sent: no HTTP client");
            let text = "The worker cannot send requests. Its log says why.";
            return shell::message(&console, SECTION, StatusCode::INTERNAL_SERVER_ERROR, "Not sent", text);
        }
    };
    let (attempt, outcome) = sender.send_test(&endpoint).await;
    tracing::info!(endpoint = %endpoint.id, outcome = outcome.label(), "test sent from the console");
    audit::record(&console, Action::TestEndpoint, object(&endpoint.id)).await;
    let tested = Some(AttemptRow::new(&attempt, console.numbers));
    show::page(&console, &id, StatusCode::OK, Notice { tested, ..Notice::default() }).await
}

/// `POST /endpoints/{id}/pause`
pub async fn pause(State(console): State<Arc<Console>>, Path(id): Path<String>) -> Response {
    set_state(&console, &id, EndpointState::Stopped(Reason::Operator), Action::PauseEndpoint).await
}

/// `POST /endpoints/{id}/resume`
pub async fn resume(State(console): State<Arc<Console>>, Path(id): Path<String>) -> Response {
    set_state(&console, &id, EndpointState::Active, Action::ResumeEndpoint).await
}

async fn set_state(console: &Console, id: &str, state: EndpointState, action: Action) -> Response {
    let Ok(id) = EndpointId::parse(id) else { return show::not_found(console) };
    match endpoints::set_state(&console.context, &id, state).await {
        Ok(()) => {
            audit::record(console, action, object(&id)).await;
            Redirect::to(&address::of_endpoint(id.as_str())).into_response()
        }
        Err(error) => refuse(console, &error),
    }
}

/// `POST /endpoints/{id}/filter`
pub async fn filter(
    State(console): State<Arc<Console>>,
    Path(id): Path<String>,
    RawForm(body): RawForm,
) -> Response {
    let endpoint = match find(&console, &id).await {
        Ok(endpoint) => endpoint,
        Err(page) => return page,
    };
    let kind = endpoint.kind.as_str().to_owned();
    let form = EndpointForm { kind, ..EndpointForm::read(&body) };
    match endpoints::set_filter(&console.context, &endpoint, &form.filter()).await {
        Ok(()) => {
            audit::record(&console, Action::ChangeFilter, object(&endpoint.id)).await;
            Redirect::to(&address::of_endpoint(endpoint.id.as_str())).into_response()
        }
        Err(error @ EndpointError::Filter(_)) => {
            let notice = Notice { filter: Some((form, FormError::of(&error))), ..Notice::default() };
            show::page(&console, &id, StatusCode::UNPROCESSABLE_ENTITY, notice).await
        }
        Err(error) => refuse(&console, &error),
    }
}

/// `POST /endpoints/{id}/rotate`
pub async fn rotate(
    State(console): State<Arc<Console>>,
    Path(id): Path<String>,
    Form(form): Form<RotateForm>,
) -> Response {
    let endpoint = match find(&console, &id).await {
        Ok(endpoint) => endpoint,
        Err(page) => return page,
    };
    let refuse_entry = async |text: String| {
        let problem = FormError { field: "overlap", text };
        let notice = Notice { overlap: Some((form.overlap.clone(), problem)), ..Notice::default() };
        show::page(&console, &id, StatusCode::UNPROCESSABLE_ENTITY, notice).await
    };
    let overlap = match read_duration(&form.overlap) {
        Ok(overlap) => overlap,
        Err(reason) => return refuse_entry(format!("Enter a time such as 24h or 30m: {reason}.")).await,
    };
    match endpoints::rotate(&console.context, &endpoint, overlap).await {
        Ok(rotated) => {
            audit::record(&console, Action::RotateSecret, object(&endpoint.id)).await;
            let old_until = (!overlap.is_zero()).then(|| format::moment(rotated.old_until));
            secret::page(&console, "New secret", &endpoint, Some(&rotated.secret), old_until)
        }
        Err(EndpointError::NotRotated(error)) => {
            refuse_entry(format!("{}.", capitalized(&error.to_string()))).await
        }
        Err(error) => refuse(&console, &error),
    }
}

/// `POST /endpoints/{id}/remove`
pub async fn remove(State(console): State<Arc<Console>>, Path(id): Path<String>) -> Response {
    let Ok(id) = EndpointId::parse(&id) else { return show::not_found(&console) };
    match endpoints::remove(&console.context, &id).await {
        Ok(()) => {
            audit::record(&console, Action::RemoveEndpoint, object(&id)).await;
            Redirect::to(SECTION).into_response()
        }
        Err(error) => refuse(&console, &error),
    }
}

/// An endpoint as the audit names it.
pub(super) fn object(id: &EndpointId) -> Object {
    Object::new(ObjectKind::Endpoint, id.as_str())
}

/// The endpoint `id`, or the page that says why it cannot be changed.
async fn find(console: &Console, id: &str) -> Result<Endpoint, Response> {
    let id = EndpointId::parse(id).map_err(|_error| show::not_found(console))?;
    endpoints::find(&console.context, &id).await.map_err(|error| refuse(console, &error))
}

/// The page that says why nothing was changed.
fn refuse(console: &Console, error: &EndpointError) -> Response {
    let status = match error {
        EndpointError::Unknown(_) => return show::not_found(console),
        EndpointError::Store(StoreError::Unavailable(_)) => {
            let text = "MongoDB did not answer in time, so it is unknown whether the change was made. Look at the \
                endpoint before you try again.";
            return shell::message(console, SECTION, StatusCode::GATEWAY_TIMEOUT, "No answer", text);
        }
        EndpointError::Changed(_) => StatusCode::CONFLICT,
        EndpointError::Url(_)
        | EndpointError::Filter(_)
        | EndpointError::TooMany
        | EndpointError::NoSecret(_)
        | EndpointError::NotRotated(_)
        | EndpointError::Store(_) => StatusCode::UNPROCESSABLE_ENTITY,
    };
    let text = format!("{}.", capitalized(&error.to_string()));
    shell::message(console, SECTION, status, "Nothing was changed", &text)
}
