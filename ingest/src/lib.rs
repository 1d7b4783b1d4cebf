//! The gateway: it checks webhooks, stores their bytes durably and answers 200.
//!
//! The gateway does not interpret events, and has no access to the database. The worker reads the stored
//! webhooks and turns them into the state of calls.
//!
//! # The path of a webhook
//!
//! 1. [`http::routes`] finds the route of the request. [`http::gateway`] checks path and method.
//!    [`http::webhooks`] then runs the checks of [`admission::checks`] in order, each before the cost of the
//!    next one, under the current [`config::Policy`].
//! 2. [`admission`]: the address of the sender ([`admission::source_ip`]), the body within its bounds
//!    ([`admission::body`]), the signature ([`admission::signature`]), the format ([`admission::json`] or
//!    [`admission::form`]). A refusal becomes a [`http::rejection`].
//! 3. [`storage::message`] makes the message: the bytes unchanged, the id from path and body, the headers.
//! 4. [`storage`] stores it. The [`storage::publisher`] publishes it to `JetStream`, many webhooks with one
//!    fsync; a body that is too large for a message goes to the object store first
//!    ([`storage::large_bodies`]). If the broker does not store the webhook, the [`storage::spool`] does.
//! 5. The sender gets its 200.
//!
//! Requests about calls take another path: [`http::agent_calls`] forwards them to a worker.
//!
//! [`broker`] keeps the settings of the streams correct, and reports whether a webhook is on the broker's
//! disk when the gateway answers 200 ([`broker::durability`]).
//!
//! Invariant: the gateway answers 200 only after the broker has acknowledged the webhook, or after the
//! webhook is on the gateway's own disk (`SPOOL_DIR`).

pub mod admission;
pub mod broker;
mod cli;
pub mod config;
pub mod http;
mod lifecycle;
pub mod metrics;
pub mod process;
pub mod storage;

use aftercall_common::process::supervisor;
use tokio::net::TcpListener;
use tokio_util::sync::CancellationToken;

use crate::lifecycle::RunningGateway;
pub use crate::{cli::main, config::Config, lifecycle::RunError};

/// Serves webhooks on `listener` and health on `admin_listener` until `stop`. Then it drains: it refuses new
/// connections, answers the accepted requests within `SHUTDOWN_GRACE`, and returns.
///
/// An absent broker is not an error: the gateway answers 503 until the broker is back.
pub async fn run(
    config: Config,
    listener: TcpListener,
    admin_listener: TcpListener,
    stop: CancellationToken,
) -> Result<(), RunError> {
    let gateway = RunningGateway::start(config, admin_listener, &stop).await?;
    gateway.wait_for_broker().await;
    supervisor::ready();
    gateway.serve(listener).await;
    gateway.drain().await
}
