//! Ingestion: applies the webhooks of the stream `WEBHOOKS` to the calls in MongoDB.
//!
//! The path of a message:
//! 1. `consumer` pulls it and puts it into the `inbox`.
//! 2. `parse` reads its event, within bounds of size and depth.
//! 3. `buffer` joins the events of one call into one patch, and cuts the waiting patches into batches.
//! 4. `apply` writes a batch (`write`), enqueues the transcript jobs that follow from it, and acknowledges
//!    its messages.
//!
//! While a batch is written, further messages are pulled, parsed and joined, and wait in the buffer until it is
//! written or many wait. So a single webhook is applied immediately, a steady flow in small batches, and a backlog in
//! large ones, two at a time.
//!
//! The bound on the parsed messages is an estimate of their memory, not their bytes: see [`Weight`]. Only one
//! heavy message is parsed and written at a time. Light messages are processed during this time.
//! `suspects` processes messages that may have ended a worker process, while the process does no other work.
//! `catch_up` applies new webhooks before their turn while a backlog is processed.

mod apply;
mod buffer;
mod catch_up;
mod consumer;
mod delivery;
mod inbox;
mod parse;
mod suspects;
mod suspicion;
mod traces;
mod weight;
mod write;

pub use self::{
    consumer::{run, serve},
    parse::{body_of, check, read},
    weight::Weight,
    write::write_once,
};
