//! Client of the ElevenLabs API.
//!
//! [`ElevenLabs`] sends the requests. Each answer becomes a value or an [`ApiError`]. The [`Gate`] stops all
//! requests while ElevenLabs limits the rate or refuses the key.

mod answer;
mod batches;
mod binding;
mod client;
mod conversations;
mod error;
mod gate;
mod outbound;
mod recording;
mod webhooks;

pub use self::{
    batches::{BatchCall, Recipient},
    binding::{Binding, TRANSCRIPT_FORMAT},
    client::ElevenLabs,
    conversations::{Page, Summary},
    error::ApiError,
    gate::Gate,
    outbound::{Accepted, Carrier, OutboundError, Refused},
    recording::RecordingBody,
    webhooks::{NewWebhook, Scope, Webhook},
};
pub use crate::domain::conversation::{Conversation, ConversationStatus};
