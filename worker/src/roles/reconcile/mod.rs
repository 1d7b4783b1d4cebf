//! The role `reconcile`: publishes missing events.
//!
//! A webhook can get lost before it reaches the gateway, and the broker can lose stored ones. A pass
//! compares the conversations of ElevenLabs with the stored calls. For each conversation without its event,
//! it publishes that event to the stream of webhooks, as if the webhook had arrived.
//!
//! - `schedule`: when a pass runs, and that only one worker runs it.
//! - `pass`: one pass over a window of conversations. The command `reconcile` runs it too.
//! - `ownership`: whether an unknown conversation belongs to this installation.
//! - `policy`, `window`: decide which conversations a pass covers and fetches. Pure.

mod api_retry;
mod error;
mod losses;
mod ownership;
mod pass;
mod placements;
mod policy;
mod publish;
mod schedule;
mod trigger;
mod window;

pub use self::{
    pass::pass,
    schedule::run,
    window::{Window, default_since},
};
