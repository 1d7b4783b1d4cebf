//! A TCP proxy between a service and a server, which can be delayed, cut and reset.
//!
//! A direction that is cut holds its bytes back and delivers them when it is open again, as a network does by
//! retransmission. Bytes in the middle of a stream are never dropped. A [`Trap`] stops a connection at one
//! request: before the server receives it, or before the client receives the answer.

use std::{
    io,
    net::{Ipv4Addr, SocketAddr},
    sync::Arc,
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

/// Bytes that are forwarded at a time.
const CHUNK: usize = 64 * 1024;
/// Bytes and pause of [`Mode::Trickle`].
const TRICKLE: (usize, Duration) = (64, Duration::from_millis(5));

/// Behaviour of a link.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Mode {
    /// Forwards everything at once.
    #[default]
    Open,
    /// Delays every chunk by this time, in each direction.
    Slow(Duration),
    /// Forwards a few bytes at a time.
    Trickle,
    /// Forwards nothing; connections stay open.
    Cut,
    /// Forwards requests, but no answers.
    AnswersCut,
    /// Resets every open and every new connection.
    Reset,
}

#[derive(Clone, Copy, PartialEq, Eq)]
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

/// Stops the first connection whose request contains these bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Trap {
    /// Stops the connection before the request arrives.
    Question(&'static [u8]),
    /// Stops the connection after the request has arrived, before any further answer arrives.
    Answer(&'static [u8]),
}

impl Trap {
    fn is_in(self, bytes: &[u8]) -> bool {
        let (Self::Question(needle) | Self::Answer(needle)) = self;
        bytes.windows(needle.len()).any(|window| window == needle)
    }
}

/// State that all connections of a link share.
#[derive(Clone, Copy, Debug, Default)]
struct State {
    mode: Mode,
    trap: Option<Trap>,
    /// Number of the connection that is in the trap.
    caught: Option<u64>,
}

impl State {
    fn holds(self, direction: Direction, connection: u64) -> bool {
        let trapped = self.caught == Some(connection)
            && match self.trap {
                Some(Trap::Question(_)) => true,
                Some(Trap::Answer(_)) => direction == Direction::Answer,
                None => false,
            };
        trapped || self.mode.holds(direction)
    }
}

/// A running proxy to one address. Dropping it closes its connections.
#[derive(Debug)]
pub struct Link {
    address: SocketAddr,
    state: Arc<watch::Sender<State>>,
    stop: CancellationToken,
}

impl Link {
    /// Starts a proxy to the port `target` on 127.0.0.1.
    pub async fn to(target: u16) -> io::Result<Self> {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await?;
        let address = listener.local_addr()?;
        let state = Arc::new(watch::channel(State::default()).0);
        let stop = CancellationToken::new();
        let tasks = TaskTracker::new();
        let accepting = accept(listener, target, state.clone(), tasks.clone());
        tasks.spawn(stop.clone().run_until_cancelled_owned(accepting));
        Ok(Self { address, state, stop })
    }

    /// Port that clients connect to.
    pub fn port(&self) -> u16 {
        self.address.port()
    }

    /// Changes the behaviour of open and new connections. Removes the trap.
    pub fn set(&self, mode: Mode) {
        self.state.send_replace(State { mode, ..State::default() });
    }

    /// Sets a trap, and waits until a connection is in it.
    pub async fn catch(&self, trap: Trap) {
        self.state.send_modify(|state| *state = State { trap: Some(trap), caught: None, ..*state });
        // The link holds a sender, so the channel cannot close here.
        let mut states = self.state.subscribe();
        let _caught = states.wait_for(|state| state.caught.is_some()).await;
    }
}

impl Drop for Link {
    fn drop(&mut self) {
        self.stop.cancel();
    }
}

async fn accept(
    listener: TcpListener,
    target: u16,
    state: Arc<watch::Sender<State>>,
    connections: TaskTracker,
) {
    let closed = CancellationToken::new();
    let _close = closed.clone().drop_guard();
    let mut number = 0;
    while let Ok((client, _)) = listener.accept().await {
        number += 1;
        let connection = connect(client, target, state.clone(), number);
        connections.spawn(closed.clone().run_until_cancelled_owned(connection));
    }
}

/// Forwards in both directions until either side closes or the link is reset.
async fn connect(client: TcpStream, target: u16, state: Arc<watch::Sender<State>>, number: u64) {
    if state.borrow().mode == Mode::Reset {
        return reset(client);
    }
    let Ok(server) = TcpStream::connect((Ipv4Addr::LOCALHOST, target)).await else { return reset(client) };
    // Nagle's algorithm would add further delays.
    let _unimportant = (client.set_nodelay(true), server.set_nodelay(true));
    let ((from_client, to_client), (from_server, to_server)) = (client.into_split(), server.into_split());
    let questions = pump(from_client, to_server, Direction::Question, &state, number);
    let answers = pump(from_server, to_client, Direction::Answer, &state, number);
    let mut states = state.subscribe();
    tokio::select! {
        (from_client, _) = async { tokio::join!(questions, answers).0 } => drop(from_client),
        _ = states.wait_for(|state| state.mode == Mode::Reset) => {}
    }
}

async fn pump(
    mut from: OwnedReadHalf,
    mut to: OwnedWriteHalf,
    direction: Direction,
    state: &watch::Sender<State>,
    connection: u64,
) -> (OwnedReadHalf, OwnedWriteHalf) {
    let mut buffer = vec![0; CHUNK];
    let mut states = state.subscribe();
    loop {
        let room = if states.borrow().mode == Mode::Trickle { TRICKLE.0 } else { CHUNK };
        let Ok(length @ 1..) = from.read(&mut buffer[..room]).await else { break };
        if direction == Direction::Question {
            state.send_if_modified(|state| {
                let is_caught =
                    state.caught.is_none() && state.trap.is_some_and(|trap| trap.is_in(&buffer[..length]));
                if is_caught {
                    state.caught = Some(connection);
                }
                is_caught
            });
        }
        let open = states.wait_for(|state| !state.holds(direction, connection)).await;
        let Ok(mode) = open.map(|state| state.mode) else { break };
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
    // With a linger time of zero, closing sends RST instead of FIN.
    let _unimportant = stream.set_zero_linger();
    drop(stream);
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Starts an echo server, and connects to it through a link.
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
    async fn bytes_held_by_a_cut_arrive_when_the_link_is_open_again() {
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
    async fn trap_stops_one_connection_at_one_request() {
        let (link, mut client) = echo().await;
        let mut other = TcpStream::connect((Ipv4Addr::LOCALHOST, link.port())).await.unwrap();
        for trap in [Trap::Question(b"\x07"), Trap::Answer(b"\x07")] {
            let talk = async {
                assert!(answers(&mut client, 1).await);
                assert!(!answers(&mut client, 7).await, "{trap:?}");
            };
            tokio::join!(link.catch(trap), talk);
            assert!(!answers(&mut client, 2).await, "{trap:?}");
            assert!(answers(&mut other, 7).await, "{trap:?}");
            link.set(Mode::Open);
            assert_eq!(client.read_u16().await.unwrap(), 0x0702, "{trap:?}");
        }
    }

    #[tokio::test]
    async fn reset_ends_open_connections_and_refuses_new_ones() {
        let (link, mut client) = echo().await;
        assert!(answers(&mut client, 1).await);
        link.set(Mode::Reset);
        let ended = tokio::time::timeout(Duration::from_secs(5), client.read_u8()).await.unwrap();
        assert!(ended.is_err());
        let mut other = TcpStream::connect((Ipv4Addr::LOCALHOST, link.port())).await.unwrap();
        assert!(other.read_u8().await.is_err());
    }
}
