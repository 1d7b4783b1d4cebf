//! A running Aftercall for each test, and helpers that several tests use.

mod authority;
mod builder;
mod environment;
mod load;
mod metrics;
pub mod node;
pub mod python;
mod raw;
mod requests;
pub mod servers;
mod service;
mod signature;
mod stack;
mod timeouts;

pub use self::{
    authority::Authority,
    builder::TestStackBuilder,
    environment::{recently, tool},
    load::{Load, nothing_lost},
    metrics::value,
    raw::exchange,
    requests::{CALL_STATUS, HttpResponse, LOOKUP, TWILIO_CALL_STATUS, TWILIO_TOKEN, twilio_signature},
    servers::{Mongo, launcher, mongod_set, nats},
    service::Service,
    signature::{SECRET, post_signed, sign},
    stack::TestStack,
    timeouts::{Deadline, scaled, scaled_setting, test_timeout, until, until_equal, within, within_more},
};
