//! Why an endpoint cannot be added or changed, and why messages cannot be sent again.

use crate::{
    domain::delivery::{EndpointId, UrlError, endpoint::MAX_ENDPOINTS, secret::NotRotated},
    store::StoreError,
};

/// Why an endpoint was not added or changed.
#[derive(Debug, thiserror::Error)]
pub enum EndpointError {
    /// The URL is not allowed.
    #[error("the URL {0}")]
    Url(UrlError),
    /// The filter is wrong. Holds a sentence with the reason.
    #[error("{0}")]
    Filter(String),
    /// [`MAX_ENDPOINTS`] exist.
    #[error("there are {MAX_ENDPOINTS} endpoints already, which is the limit; `endpoints remove` makes room")]
    TooMany,
    /// The endpoint is raw.
    #[error("endpoint {0} is raw: it has no secret of ours")]
    NoSecret(EndpointId),
    /// Too many secrets would be valid, or one for too long.
    #[error(transparent)]
    NotRotated(#[from] NotRotated),
    /// Somebody else changed the secrets in between.
    #[error("endpoint {0} was changed at the same time; its secret was not rotated")]
    Changed(EndpointId),
    /// The endpoint does not exist.
    #[error("there is no endpoint {0}; `endpoints list` shows all")]
    Unknown(EndpointId),
    /// The database did not make the change, or it is unknown whether it did.
    #[error(transparent)]
    Store(#[from] StoreError),
}

/// Why messages were not sent again.
#[derive(Debug, thiserror::Error)]
pub enum ReplayError {
    /// The record names a stream that this version does not know. Holds the id of the delivery.
    #[error("delivery {0} names an unknown stream")]
    UnknownStream(String),
    /// The endpoints were not read.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// The broker has not confirmed a job.
    #[error("NATS does not answer: {0}")]
    Broker(async_nats::Error),
}
