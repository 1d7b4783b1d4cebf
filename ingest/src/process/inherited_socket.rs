//! The public socket that a supervisor hands over (systemd's socket activation).
//!
//! Such a socket outlives the process. Connections that were not accepted yet wait in it for the next
//! gateway, or go to another gateway that shares it, so a restart refuses no connection.

use std::{io, net::TcpListener, time::Duration};

use socket2::SockRef;

/// Longest time that one call of `accept` may wait while the socket is in blocking mode. The system rounds it up
/// to a tick, at most 10 ms.
const ACCEPT_TIMEOUT: Duration = Duration::from_millis(1);

/// Takes the socket that `LISTEN_FDS` announces. `None`: the supervisor has passed no socket.
///
/// Other processes hold the same socket and can make it blocking at any time: systemd does so whenever it starts
/// a unit without `NonBlocking=yes` on it. `accept` would then stop the whole process until the next connection.
/// The listener makes the socket non-blocking again before it accepts (`aftercall_common::http::Server`), and
/// the time-out that is set here bounds an `accept` that began in between.
///
/// Removes the variables of the protocol from the environment, so the process must call it before it starts
/// threads.
pub fn take() -> io::Result<Option<TcpListener>> {
    let listener = listenfd::ListenFd::from_env().take_tcp_listener(0)?;
    if let Some(listener) = &listener {
        listener.set_nonblocking(true)?;
        SockRef::from(listener).set_read_timeout(Some(ACCEPT_TIMEOUT))?;
    }
    Ok(listener)
}
