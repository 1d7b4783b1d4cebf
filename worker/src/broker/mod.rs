//! NATS `JetStream`, as the worker uses it: consumers, stored messages, large bodies, transcript jobs, the
//! broker's clock.

pub mod consumer;
pub mod large_bodies;
pub mod message;
pub mod scan;
pub mod time;
pub mod transcript_jobs;
