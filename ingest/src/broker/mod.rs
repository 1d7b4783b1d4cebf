//! The broker as the gateway uses it: its streams, its readiness, and the durability of acknowledged
//! webhooks.

pub mod durability;
pub mod readiness;
pub mod streams;
