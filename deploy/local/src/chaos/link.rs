//! A TCP link that can be cut, slowed and reset: it stands between a service and what it talks to.
//!
//! A direction that is cut holds its bytes back and delivers them when it is open again, as a network
//! does by retransmission; nothing is ever dropped out of the middle of a stream.

use std::{
    io,
    net::{Ipv4Addr, SocketAddr},
    time::Duration,
};

use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::{
        TcpListener, TcpStream,
        tcp::{OwnedReadHalf, OwnedWriteHalf},
    },
    sync::watch,
};
use tokio_util::{sync::CancellationToken, task::TaskTracker};

/// Bytes passed on at a time.
const CHUNK: usize = 64 * 1024;
/// Bytes and pause of [`Mode::Trickle`].
const TRICKLE: (usize, Duration) = (64, Duration::from_millis(5));

/// How a link behaves.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Mode {
    /// Everything passes at once.
    #[default]
    Open,
    /// Every piece takes this long, each way.
    Slow(Duration),
    /// A few bytes at a time.
    Trickle,
    /// Nothing passes either way; connections stay.
    Cut,
    /// Questions arrive, answers do not.
    AnswersCut,
    /// Every connection is reset, and new ones are too.
    Reset,
}

#[derive(Clone, Copy)]
enum Direction {
    Question,
    Answer,
}

impl Mode {
    fn holds(self, direction: Direction) -> bool {
        match (self, direction) {
            (Self::Cut, _) | (Self::AnswersCut, Direction::Answer) => true,
            (Self::Open | Self::Slow(_) | Self::Trickle | Self::Reset | Self::AnswersCut, _) => false,
        }
    }
}

/// A link to one address. Dropping it closes its connections.
#[derive(Debug)]
pub struct Link {
    address: SocketAddr,
    mode: watch::Sender<Mode>,
    stop: CancellationToken,
}

impl Link {
    /// A link to `target` on 127.0.0.1.
    pub async fn to(target: u16) -> io::Result<Self> {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await?;
        let address = listener.local_addr()?;
        let (mode, modes) = watch::channel(Mode::Open);
        let stop = CancellationToken::new();
        let tasks = TaskTracker::new();
        tasks.spawn(stop.clone().run_until_cancelled_owned(accept(listener, target, modes, tasks.clone())));
        Ok(Self { address, mode, stop })
    }

    /// The port clients connect to.
    pub fn port(&self) -> u16 {
        self.address.port()
    }

    /// Behaves so from now on, connections that are open included.
    pub fn set(&self, mode: Mode) {
        self.mode.send_replace(mode);
    }
}

impl Drop for Link {
    fn drop(&mut self) {
        self.stop.cancel();
    }
}

async fn accept(listener: TcpListener, target: u16, modes: watch::Receiver<Mode>, connections: TaskTracker) {
    let closed = CancellationToken::new();
    let _close = closed.clone().drop_guard();
    while let Ok((client, _)) = listener.accept().await {
        connections.spawn(closed.clone().run_until_cancelled_owned(connect(client, target, modes.clone())));
    }
}

/// Passes on until either side closes, or the link is reset.
async fn connect(client: TcpStream, target: u16, mut modes: watch::Receiver<Mode>) {
    if *modes.borrow() == Mode::Reset {
        return reset(client);
    }
    let Ok(server) = TcpStream::connect((Ipv4Addr::LOCALHOST, target)).await else { return reset(client) };
    // Nagle would add delays that are not the mode's.
    let _unimportant = (client.set_nodelay(true), server.set_nodelay(true));
    let ((from_client, to_client), (from_server, to_server)) = (client.into_split(), server.into_split());
    let questions = pump(from_client, to_server, Direction::Question, modes.clone());
    let answers = pump(from_server, to_client, Direction::Answer, modes.clone());
    tokio::select! {
        (from_client, _) = async { tokio::join!(questions, answers).0 } => drop(from_client),
        _ = modes.wait_for(|mode| *mode == Mode::Reset) => {}
    }
}

async fn pump(
    mut from: OwnedReadHalf,
    mut to: OwnedWriteHalf,
    direction: Direction,
    mut modes: watch::Receiver<Mode>,
) -> (OwnedReadHalf, OwnedWriteHalf) {
    let mut buffer = vec![0; CHUNK];
    loop {
        let room = if *modes.borrow() == Mode::Trickle { TRICKLE.0 } else { CHUNK };
        let Ok(length @ 1..) = from.read(&mut buffer[..room]).await else { break };
        let Ok(mode) = modes.wait_for(|mode| !mode.holds(direction)).await.map(|mode| *mode) else { break };
        match mode {
            Mode::Slow(pause) => tokio::time::sleep(pause).await,
            Mode::Trickle => tokio::time::sleep(TRICKLE.1).await,
            Mode::Open | Mode::Cut | Mode::AnswersCut | Mode::Reset => {}
        }
        if to.write_all(&buffer[..length]).await.is_err() {
            break;
        }
    }
    let _closed = to.shutdown().await;
    (from, to)
}

fn reset(stream: TcpStream) {
    // Closing then sends RST instead of FIN.
    let _unimportant = stream.set_zero_linger();
    drop(stream);
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A server that answers every byte with itself, and a connection to it over a link.
    async fn echo() -> (Link, TcpStream) {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.unwrap();
        let link = Link::to(listener.local_addr().unwrap().port()).await.unwrap();
        let tasks = TaskTracker::new();
        tasks.clone().spawn(async move {
            while let Ok((mut stream, _)) = listener.accept().await {
                tasks.spawn(async move {
                    let (mut from, mut to) = stream.split();
                    tokio::io::copy(&mut from, &mut to).await
                });
            }
        });
        let client = TcpStream::connect((Ipv4Addr::LOCALHOST, link.port())).await.unwrap();
        (link, client)
    }

    async fn answers(client: &mut TcpStream, byte: u8) -> bool {
        client.write_all(&[byte]).await.unwrap();
        let answer = tokio::time::timeout(Duration::from_millis(300), client.read_u8()).await;
        answer.is_ok_and(|answer| answer.unwrap() == byte)
    }

    #[tokio::test]
    async fn what_is_cut_arrives_when_the_link_is_open_again() {
        let (link, mut client) = echo().await;
        assert!(answers(&mut client, 1).await);
        for mode in [Mode::Cut, Mode::AnswersCut] {
            link.set(mode);
            assert!(!answers(&mut client, 2).await, "{mode:?}");
            link.set(Mode::Open);
            assert_eq!(client.read_u8().await.unwrap(), 2, "{mode:?}");
        }
        link.set(Mode::Trickle);
        assert!(answers(&mut client, 3).await);
    }

    #[tokio::test]
    async fn a_reset_ends_connections_and_refuses_new_ones() {
        let (link, mut client) = echo().await;
        assert!(answers(&mut client, 1).await);
        link.set(Mode::Reset);
        let ended = tokio::time::timeout(Duration::from_secs(5), client.read_u8()).await.unwrap();
        assert!(ended.is_err());
        let mut other = TcpStream::connect((Ipv4Addr::LOCALHOST, link.port())).await.unwrap();
        assert!(other.read_u8().await.is_err());
    }
}
