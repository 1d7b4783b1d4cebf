//! What `/readyz` reports about the gateway.

use std::sync::Arc;

use aftercall_common::process::admin::{Parts, Readiness, State};
use tokio_util::sync::CancellationToken;

use super::streams::Streams;

/// Whether webhooks can be stored in the spool while the broker does not store them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SpoolState {
    /// `SPOOL_DIR` is not set.
    Disabled,
    /// The spool has room.
    HasRoom,
    /// The spool is full.
    Full,
}

/// Reports the state of the listener, the connection to the broker, the streams and the spool. `spool` is
/// asked for its state each time; the listener is not ready from `stop` on.
pub fn readiness(
    streams: Arc<Streams>,
    spool: impl Fn() -> SpoolState + Send + Sync + 'static,
    stop: CancellationToken,
) -> Readiness {
    Arc::new(move || {
        let parts = parts(stop.is_cancelled(), streams.is_connected(), streams.problem(), spool());
        Box::pin(std::future::ready(parts))
    })
}

/// `problem` is the reason why the streams cannot be used.
fn parts(is_stopping: bool, is_connected: bool, problem: Option<String>, spool: SpoolState) -> Parts {
    // While the spool has room the gateway accepts webhooks without the broker, so it must stay in rotation.
    let without_broker = match spool {
        SpoolState::HasRoom => State::Degraded,
        SpoolState::Disabled | SpoolState::Full => State::Unready,
    };
    let mut parts = vec![
        ("listener", if is_stopping { State::Unready("stopping".to_owned()) } else { State::Ready }),
        ("nats", if is_connected { State::Ready } else { without_broker("not connected".to_owned()) }),
        ("stream", problem.map_or(State::Ready, without_broker)),
    ];
    match spool {
        SpoolState::Disabled => {}
        SpoolState::HasRoom => parts.push(("spool", State::Ready)),
        SpoolState::Full => parts.push(("spool", State::Degraded("full".to_owned()))),
    }
    parts
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_missing_broker_makes_the_gateway_unready_unless_the_spool_has_room() {
        for (spool, is_ready) in
            [(SpoolState::Disabled, false), (SpoolState::HasRoom, true), (SpoolState::Full, false)]
        {
            let parts = parts(false, false, Some("gone".to_owned()), spool);
            let is_unready = |state: &State| matches!(state, State::Unready(_));
            assert_eq!(!parts.iter().any(|(_, state)| is_unready(state)), is_ready, "{parts:?}");
        }
    }
}
