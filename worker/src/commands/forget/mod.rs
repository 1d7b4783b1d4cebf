//! `aftercall-worker forget`: erases a person from documents, recordings, stream messages, large bodies,
//! transcript jobs, dead letters and outgoing events, and prints the result.
//!
//! Telephone numbers are compared by their digits, in every field and in every notation. The calls that a
//! number made or received belong to the person. Calls that only mention the number belong to other people:
//! they are listed, and erased only on request.
//!
//! Invariant: messages are erased before documents, so that no stored message can create a document again.
//! Webhooks that are still in the spool of a gateway, or arrive later, are not found: run the command again
//! after the last webhook.

mod erase;
mod mention;
mod options;
mod person;
mod run;
mod search;
mod traces;

pub use self::{options::Options, run::run};
