//! Connections to the gateway without an HTTP client.

use std::net::{Ipv4Addr, SocketAddr};

use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::{TcpSocket, TcpStream},
};

use super::{TestStack, within};

impl TestStack {
    /// Opens a connection to the gateway from `source`, an address of 127.0.0.0/8.
    pub async fn connect_from(&self, source: [u8; 4]) -> TcpStream {
        let socket = TcpSocket::new_v4().unwrap();
        socket.bind(SocketAddr::from((Ipv4Addr::from(source), 0))).unwrap();
        socket.connect(self.public).await.unwrap()
    }
}

/// Sends `bytes` and reads until the gateway closes the connection.
pub async fn exchange(socket: &mut TcpStream, bytes: &[u8]) -> Vec<u8> {
    // The gateway may answer and close the connection before it has all bytes.
    let _closed_early = socket.write_all(bytes).await;
    let mut answer = Vec::new();
    let _closed_or_reset = within("the gateway closes the connection", socket.read_to_end(&mut answer)).await;
    answer
}
