//! Prints endpoints.

use jiff::Timestamp;
use serde_json::{Value, json};

use crate::{
    commands::print_line,
    domain::{
        delivery::{Endpoint, SigningSecret},
        time::rfc3339,
    },
};

/// An endpoint without its secrets, and without the part of its URL that may hold a token.
pub(super) fn json(endpoint: &Endpoint) -> Value {
    let mut fields = json!({
        "id": endpoint.id.as_str(),
        "url": endpoint.url.to_string(),
        "kind": endpoint.kind.as_str(),
        "types": endpoint.filter.types,
        "agents": endpoint.filter.agents,
        "batches": endpoint.filter.batches,
        "state": endpoint.state.as_str(),
        "secrets": endpoint.secrets.valid(Timestamp::now()).count(),
        "createdAt": rfc3339(endpoint.created_at),
    });
    if let Some(reason) = endpoint.state.reason() {
        fields["reason"] = reason.into();
    }
    if let Some(since) = endpoint.failing_since {
        fields["failingSince"] = rfc3339(since).into();
    }
    fields
}

/// Prints a new secret.
pub(super) fn print_secret(secret: &SigningSecret) -> anyhow::Result<()> {
    print_line(format!("secret: {}", secret.expose()))?;
    print_line("It is shown only now. The receiver checks signatures with it.")
}
