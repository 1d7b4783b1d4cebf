//! The metadata of a webhook: id, source, times and signature, without the body.

use aftercall_common::contract::{provider::Provider, subject::WebhookSubject};
use jiff::Timestamp;

/// The source of an event. It decides the format of the body.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Origin {
    /// A webhook of this provider.
    Webhook(Provider),
    /// Our own reconciliation. It publishes bodies in the form of ElevenLabs' webhooks.
    Reconciliation,
}

impl Origin {
    /// The word in the history of a call.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Webhook(provider) => provider.word(),
            Self::Reconciliation => "reconciliation",
        }
    }
}

impl From<WebhookSubject> for Origin {
    fn from(subject: WebhookSubject) -> Self {
        match subject {
            WebhookSubject::Received(provider) => Self::Webhook(provider),
            WebhookSubject::Reconciled => Self::Reconciliation,
        }
    }
}

/// The metadata of a webhook, without the body.
#[derive(Clone, Debug)]
pub struct Envelope {
    /// Deterministic id: the same bytes to the same path have the same id.
    pub id: String,
    /// When the broker stored the webhook. Used as the time of an event that gives none of its own.
    pub stored_at: Timestamp,
    /// The sender.
    pub origin: Origin,
    /// The result of the gateway's check of the signature: `verified` or `absent`.
    pub signature: Option<String>,
    /// When the gateway accepted the webhook. Earlier than `stored_at` if the webhook waited in a spool or as
    /// a dead letter.
    pub received_at: Option<Timestamp>,
    /// The query of the URL to which Twilio posted the callback.
    pub query: Option<String>,
}

impl Envelope {
    /// An envelope with the three facts that every message has.
    pub fn new(id: impl Into<String>, stored_at: Timestamp, origin: Origin) -> Self {
        Self { id: id.into(), stored_at, origin, signature: None, received_at: None, query: None }
    }
}
