//! The registration of the webhook at ElevenLabs.
//!
//! - `current` reads what ElevenLabs has. `plan` decides what to change, `apply` changes it.
//! - `ensure` does both without an operator, and never takes the events from another webhook.
//! - `drift` finds what somebody changed at ElevenLabs since.
//! - `secret_file` keeps the secret of the webhook for the gateway.

mod apply;
mod current;
mod destination;
pub mod drift;
mod ensure;
mod error;
mod plan;
mod secret_file;

pub use self::{
    apply::{Applied, Unfinished, apply},
    current::{AgentBinding, Agents, Current},
    destination::Destination,
    ensure::{Ensured, ensure},
    error::RegisterError,
    plan::{Override, Plan, Step, Wanted, plan},
    secret_file::SecretFile,
};
