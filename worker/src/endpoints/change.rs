//! Adds, changes and removes endpoints.

use std::time::Duration;

use jiff::Timestamp;

use super::EndpointError;
use crate::{
    Context,
    domain::{
        delivery::{Endpoint, EndpointId, EndpointUrl, Filter, Kind, Secrets, SigningSecret, State},
        time::after,
    },
};

/// What an operator says about a new endpoint.
#[derive(Clone, Debug)]
pub struct NewEndpoint {
    /// The id, which makes a repeated addition one endpoint.
    pub id: EndpointId,
    /// Where messages are posted.
    pub url: EndpointUrl,
    /// What it gets.
    pub kind: Kind,
    /// Which messages it gets.
    pub filter: Filter,
    /// It also gets messages that were stored since this time. `None`: only new ones.
    pub since: Option<Timestamp>,
}

/// What an addition did.
#[derive(Clone, Debug)]
pub enum Added {
    /// The endpoint is new.
    Now(Endpoint),
    /// An endpoint with this id existed before, and nothing was changed.
    Before(Endpoint),
}

impl Added {
    /// The endpoint, whoever added it.
    pub fn endpoint(self) -> Endpoint {
        let (Self::Now(endpoint) | Self::Before(endpoint)) = self;
        endpoint
    }
}

/// A new secret of an endpoint.
#[derive(Clone, Debug)]
pub struct Rotation {
    /// The new secret.
    pub secret: SigningSecret,
    /// Until when requests are signed by the old secret too.
    pub old_until: Timestamp,
}

/// Adds an endpoint. A repetition with the same id adds nothing.
///
/// # Errors
/// [`EndpointError::Url`], [`EndpointError::Filter`], [`EndpointError::TooMany`], [`EndpointError::Store`]
pub async fn add(context: &Context, new: NewEndpoint) -> Result<Added, EndpointError> {
    let NewEndpoint { id, url, kind, filter, since } = new;
    if let Some(existing) = context.store.endpoint(&id).await? {
        return Ok(Added::Before(existing));
    }
    url.check(context.config.private_networks()).map_err(EndpointError::Url)?;
    filter.check(kind).map_err(EndpointError::Filter)?;
    let now = Timestamp::now();
    let endpoint = Endpoint {
        id,
        url,
        kind,
        filter,
        secrets: match kind {
            Kind::Events => Secrets::one(SigningSecret::new(rand::random())),
            Kind::Raw => Secrets::default(),
        },
        state: State::Active,
        // The broker compares it with its own times of messages.
        since: context.broker_time.of(&context.jetstream, since.unwrap_or(now)).await,
        created_at: now,
        failing_since: None,
    };
    let error = match context.store.add_endpoint(&endpoint).await {
        Ok(true) => return Ok(Added::Now(endpoint)),
        Ok(false) => return Err(EndpointError::TooMany),
        Err(error) => error,
    };
    // Another request with this id was faster, or the answer to the own insertion was lost.
    match context.store.endpoint(&endpoint.id).await? {
        Some(stored) if stored.secrets == endpoint.secrets && stored.kind == Kind::Events => {
            Ok(Added::Now(stored))
        }
        Some(stored) => Ok(Added::Before(stored)),
        None => Err(error.into()),
    }
}

/// The endpoint `id`.
///
/// # Errors
/// [`EndpointError::Unknown`], [`EndpointError::Store`]
pub async fn find(context: &Context, id: &EndpointId) -> Result<Endpoint, EndpointError> {
    context.store.endpoint(id).await?.ok_or_else(|| EndpointError::Unknown(id.clone()))
}

/// Pauses or resumes the endpoint `id`.
///
/// # Errors
/// [`EndpointError::Unknown`], [`EndpointError::Store`]
pub async fn set_state(context: &Context, id: &EndpointId, state: State) -> Result<(), EndpointError> {
    existed(id, context.store.set_endpoint_state(id, state).await?)
}

/// Gives `endpoint` another filter. A message that waits for another attempt is still sent.
///
/// # Errors
/// [`EndpointError::Filter`], [`EndpointError::Unknown`], [`EndpointError::Store`]
pub async fn set_filter(
    context: &Context,
    endpoint: &Endpoint,
    filter: &Filter,
) -> Result<(), EndpointError> {
    filter.check(endpoint.kind).map_err(EndpointError::Filter)?;
    existed(&endpoint.id, context.store.set_endpoint_filter(&endpoint.id, filter).await?)
}

/// Gives `endpoint` a new secret. The old one stays valid for `overlap`.
///
/// # Errors
/// [`EndpointError::NoSecret`], [`EndpointError::NotRotated`], [`EndpointError::Changed`],
/// [`EndpointError::Store`]
pub async fn rotate(
    context: &Context,
    endpoint: &Endpoint,
    overlap: Duration,
) -> Result<Rotation, EndpointError> {
    if endpoint.kind == Kind::Raw {
        return Err(EndpointError::NoSecret(endpoint.id.clone()));
    }
    let (now, secret) = (Timestamp::now(), SigningSecret::new(rand::random()));
    let rotated = endpoint.secrets.rotated(secret.clone(), overlap, now)?;
    if !context.store.replace_secrets(&endpoint.id, &endpoint.secrets, &rotated).await? {
        return Err(EndpointError::Changed(endpoint.id.clone()));
    }
    Ok(Rotation { secret, old_until: after(now, overlap) })
}

/// Removes the endpoint `id` with its secrets.
///
/// # Errors
/// [`EndpointError::Unknown`], [`EndpointError::Store`]
pub async fn remove(context: &Context, id: &EndpointId) -> Result<(), EndpointError> {
    existed(id, context.store.remove_endpoint(id).await?)
}

fn existed(id: &EndpointId, existed: bool) -> Result<(), EndpointError> {
    if existed { Ok(()) } else { Err(EndpointError::Unknown(id.clone())) }
}
