//! What the gateway checks about the broker: creates and checks the streams, reports whether the gateway is ready, and finds
//! out whether acknowledged webhooks are on disk.

pub mod durability;
pub mod readiness;
pub mod streams;
