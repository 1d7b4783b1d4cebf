//! The public socket: handed over by whoever starts us (systemd's socket activation), else our own.
//!
//! A socket that is handed over outlives us: connections that nobody has accepted yet wait in it for the next
//! gateway, or go to another one that has it too. So a restart refuses none.

use std::{io, net::TcpListener};

/// The socket of `LISTEN_FDS`, where there is one. To be called before there are threads, as it takes the
/// variables of the protocol out of the environment.
pub fn inherited() -> io::Result<Option<TcpListener>> {
    let listener = listenfd::ListenFd::from_env().take_tcp_listener(0)?;
    if let Some(listener) = &listener {
        listener.set_nonblocking(true)?;
    }
    Ok(listener)
}
