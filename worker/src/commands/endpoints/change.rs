//! `endpoints pause`, `resume`, `rotate` and `remove`.

use std::time::Duration;

use anyhow::bail;
use serde_json::json;

use super::{
    list::only,
    options::Filter,
    output::{json as json_of, print_secret},
};
use crate::{
    Context,
    commands::{print_line, terminal},
    domain::{
        delivery::{Endpoint, EndpointId, State},
        time::rfc3339,
    },
    endpoints,
};

/// Pauses or resumes an endpoint.
pub async fn set_state(context: &Context, id: &EndpointId, state: State) -> anyhow::Result<()> {
    endpoints::set_state(context, id, state).await?;
    print_line(match state {
        State::Active => format!("endpoint {id} gets messages again, beginning with those that wait"),
        State::Stopped(_) => format!("endpoint {id} is paused; its messages wait for up to 30 days"),
    })
}

/// Replaces the given lists of the filter.
pub async fn set_filter(context: &Context, options: &Filter) -> anyhow::Result<()> {
    let endpoint = endpoints::find(context, &options.id).await?;
    let filter = options.applied_to(endpoint.filter.clone());
    endpoints::set_filter(context, &endpoint, &filter).await?;
    let endpoint = Endpoint { filter, ..endpoint };
    if options.json {
        return print_line(json_of(&endpoint));
    }
    let only = only(&endpoint);
    let only = if only.is_empty() { "all messages".to_owned() } else { format!("only {only}") };
    print_line(format!("endpoint {} gets {only}", endpoint.id))
}

/// Gives the endpoint a new secret, and shows it.
pub async fn rotate(
    context: &Context,
    endpoint: &Endpoint,
    overlap: Duration,
    as_json: bool,
) -> anyhow::Result<()> {
    let rotated = endpoints::rotate(context, endpoint, overlap).await?;
    let until = rfc3339(rotated.old_until);
    if as_json {
        let id = endpoint.id.as_str();
        return print_line(json!({ "id": id, "secret": rotated.secret.expose(), "oldSecretUntil": until }));
    }
    print_secret(&rotated.secret)?;
    print_line(format!("The old secret stays valid until {until}."))
}

/// Removes an endpoint.
pub async fn remove(context: &Context, id: &EndpointId, yes: bool) -> anyhow::Result<()> {
    if !yes && !terminal::is_confirmed(&format!("Remove endpoint {id} with its secrets"))? {
        bail!("not confirmed: nothing was removed");
    }
    endpoints::remove(context, id).await?;
    print_line(format!("endpoint {id} is removed"))
}
