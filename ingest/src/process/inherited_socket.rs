//! The public socket that a supervisor hands over (systemd's socket activation).
//!
//! Such a socket outlives the process. Connections that were not accepted yet wait in it for the next
//! gateway, or go to another gateway that shares it, so a restart refuses no connection.

use std::{io, net::TcpListener};

/// Takes the socket that `LISTEN_FDS` announces. `None`: the supervisor has passed no socket.
///
/// Removes the variables of the protocol from the environment, so the process must call it before it starts
/// threads.
pub fn take() -> io::Result<Option<TcpListener>> {
    let listener = listenfd::ListenFd::from_env().take_tcp_listener(0)?;
    if let Some(listener) = &listener {
        listener.set_nonblocking(true)?;
    }
    Ok(listener)
}
