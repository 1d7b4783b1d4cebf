//! NATS `JetStream`, as the worker uses it: consumers, stored messages, large bodies, jobs, publishing in
//! order, the broker's clock.

pub mod consumer;
pub mod delivery_jobs;
pub mod large_bodies;
pub mod message;
pub mod ordered_publish;
pub mod outgoing;
pub mod scan;
pub mod time;
pub mod transcript_jobs;
