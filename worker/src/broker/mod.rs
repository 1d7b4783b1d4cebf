//! What the worker asks of `JetStream`: messages of consumers and streams, large bodies, transcript jobs, time.

pub mod consumer;
pub mod large_bodies;
pub mod message;
pub mod scan;
pub mod time;
pub mod transcript_jobs;
