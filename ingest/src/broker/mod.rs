//! The broker as the gateway uses it: its streams, its readiness, and what its acknowledgements are worth.

pub mod durability;
pub mod readiness;
pub mod streams;
