//! `register --forward-displaced`: the webhook that loses its events gets them from Aftercall, as they came.

use aftercall_common::contract::provider::Provider;

use crate::{
    Context,
    domain::delivery::{EndpointId, EndpointUrl, Filter, Kind, State},
    endpoints::{self, NewEndpoint},
    registration::{Current, Destination, RegisterError},
};

/// The endpoint that forwards to a displaced webhook.
pub(super) struct Forwarding {
    /// The endpoint.
    pub endpoint: EndpointId,
    /// Whether it was added now.
    pub is_new: bool,
}

/// Adds a raw endpoint with the URL of the webhook `displaced`, unless there is one. This happens before the events
/// are bound, so the webhook misses none.
///
/// # Errors
/// [`RegisterError::NotForwarded`]
pub(super) async fn add(
    context: &Context,
    current: &Current,
    displaced: &Destination,
) -> Result<Forwarding, RegisterError> {
    let failed = |reason: String| RegisterError::NotForwarded(reason);
    let url = current.url(&displaced.id);
    let url = url.ok_or_else(|| failed(format!("ElevenLabs does not show the URL of {displaced}")))?;
    let url = EndpointUrl::parse(url).map_err(|error| failed(format!("the URL of {displaced} {error}")))?;
    let known = context.store.endpoints().await.map_err(|error| failed(error.to_string()))?;
    let known = known.into_iter().find(|known| known.kind == Kind::Raw && known.url == url);
    if let Some(known) = known {
        if known.state != State::Active || !known.filter.matches_provider(Provider::ElevenLabs) {
            let why = "has this URL, but is stopped or gets no webhooks of ElevenLabs";
            return Err(failed(format!("endpoint {} {why}: resume or change it first", known.id)));
        }
        return Ok(Forwarding { endpoint: known.id, is_new: false });
    }
    let filter = Filter { types: vec!["elevenlabs".to_owned()], ..Filter::default() };
    let id = EndpointId::new(rand::random());
    let added = endpoints::add(context, NewEndpoint { id, url, kind: Kind::Raw, filter, since: None }).await;
    let added = added.map_err(|error| failed(error.to_string()))?;
    Ok(Forwarding { endpoint: added.endpoint().id, is_new: true })
}

/// Removes a new endpoint again after an error, unless the events may be bound: then the displaced webhook gets them from
/// this endpoint only.
pub(super) async fn keep_or_undo(context: &Context, forwarding: &Forwarding, may_be_bound: bool) {
    let endpoint = &forwarding.endpoint;
    if !forwarding.is_new {
        return;
    }
    if may_be_bound {
        eprintln!(
            "The events may be bound, so endpoint {endpoint} goes on forwarding webhooks to the displaced webhook."
        );
        return;
    }
    if let Err(error) = context.store.remove_endpoint(endpoint).await {
        eprintln!("The endpoint {endpoint} was not removed: {error}. Run `endpoints remove {endpoint}`.");
    }
}
