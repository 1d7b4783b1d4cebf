//! Rules for posting events and webhooks to the endpoints of the operator's systems. Pure.
//!
//! - [`endpoint`] describes an endpoint, and which messages it gets.
//! - [`address`] decides which addresses may be connected to.
//! - [`policy`] decides what follows from an attempt: done, again at which time, or given up.

pub mod address;
pub mod attempt;
pub mod endpoint;
pub mod event_type;
pub mod filter;
pub mod kind;
pub mod policy;
pub mod secret;
pub mod url;

pub use self::{
    attempt::{Attempt, Delivery, DeliveryState, Outcome, SendError},
    endpoint::{Endpoint, EndpointId, Reason, State},
    event_type::EventType,
    filter::Filter,
    kind::Kind,
    policy::{Next, next},
    secret::{Secrets, SigningSecret},
    url::{EndpointUrl, UrlError},
};

/// Whether events may be sent to private networks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PrivateNetworks {
    /// Only public addresses are allowed, and only `https`.
    Refused,
    /// Every address is allowed, and `http` too.
    Allowed,
}
