//! What the broker is and promises: its streams, and what an acknowledgement is worth.

pub mod durability;
pub mod streams;
