//! The HTTP/1.1 server and client of every process.
//!
//! The server limits the number of connections, the connections of one source, and the time for a request
//! head. It supports TLS and the PROXY protocol, and finishes open requests when it stops. At the limit, the
//! connection that has been idle longest is closed to admit a new one.
//!
//! By default hyper does not limit the time for a request head, and it cannot limit the time for a body. The
//! server limits the time for heads; a handler has to limit the time for bodies.

pub mod client;
mod connection;
mod guarded;
mod idle;
mod per_source;
mod progress_deadline;
mod proxy_protocol;
mod range;
mod server;
mod source_log;
pub mod tls;
mod unreadable;

use bytes::Bytes;
use http_body_util::Full;
use hyper::Response;

pub use self::{
    connection::{Authenticated, BoxError},
    per_source::{PerSource, source_of},
    progress_deadline::{MIN_RATE, ProgressDeadline},
    proxy_protocol::ProxyProtocol,
    range::ByteRange,
    server::{Limits, Server},
    source_log::SourceLog,
    unreadable::{Reason, Unreadable, UnreadableLabels, compresses},
};

/// A response with a body in memory.
pub type Reply = Response<Full<Bytes>>;
