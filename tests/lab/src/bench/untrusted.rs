//! `cargo lab bench untrusted`: the effect of untrusted senders on the gateway and on the webhooks of the
//! provider.
//!
//! The gateway accepts callbacks of Twilio from any address. The senders use the most expensive requests that
//! were found: huge forms, forms with many parameters, incomplete bodies, and incomplete webhooks with a signature
//! from a source that is not allowed. The measured webhooks come from an allowed source at the same time.

use std::{
    io::{Read as _, Write as _},
    net::{Ipv4Addr, SocketAddr, TcpListener},
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    thread,
    time::Duration,
};

use anyhow::bail;
use bytes::Bytes;
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::{TcpSocket, TcpStream},
    sync::oneshot,
    task::JoinSet,
    time::timeout,
};

use super::{
    context::Bench,
    disturbance::{Figures, RATE},
    launch,
    measure::Series,
    table::{Row, Table, Target},
};

/// Number of concurrent untrusted senders of each kind.
const SENDERS_PER_KIND: u8 = 8;
/// Longest time for a request. The gateway closes stalled connections long before.
const MAX_REQUEST: Duration = Duration::from_mins(1);
/// Pause between two requests of a sender.
const RETRY_DELAY: Duration = Duration::from_millis(100);
/// The gateway's settings: only 127.0.0.1 is the provider, all other addresses of this machine are untrusted.
const SETTINGS: [(&str, &str); 3] = [
    ("ALLOWED_SOURCES", "127.0.0.1"),
    ("TWILIO_AUTH_TOKEN", "nobody_knows"),
    ("PUBLIC_URL", "https://hooks.example.com"),
];

/// Largest acceptable memory of the gateway, in MiB.
const MAX_MEMORY_MIB: f64 = 160.0;

/// Duration of the benchmark.
#[derive(Clone, Debug, clap::Args)]
#[command(next_help_heading = "Benchmark untrusted")]
#[group(id = "untrusted")]
pub struct Options {
    /// Seconds of each measurement
    #[arg(long, value_name = "S", default_value_t = 20)]
    untrusted_seconds: u64,
}

/// Measures without and with untrusted senders, with a new broker and gateway in each round.
pub(super) async fn run(bench: &Bench, options: &Options) -> anyhow::Result<(Table, Vec<Target>)> {
    let time = Duration::from_secs(options.untrusted_seconds);
    let [mut undisturbed, mut elsewhere, mut disturbed] = [(); 3].map(|()| Figures::default());
    for round in 1..=bench.rounds {
        bench.progress.step(&format!("untrusted: round {round} of {}", bench.rounds));
        let broker = launch::broker(bench, true).await?;
        let gateway = launch::gateway_with(bench, &broker, &SETTINGS).await?;
        let (address, pid) = (gateway.address, gateway.process.pid());
        undisturbed.measure(address, pid, time).await?;
        let senders = UntrustedSenders::start(refusing_server()?)?;
        elsewhere.measure(address, pid, time).await?;
        drop(senders);
        let senders = UntrustedSenders::start(address)?;
        disturbed.measure(address, pid, time).await?;
        senders.have_all_connected()?;
    }
    let [elsewhere_ratio, ratio] =
        [&elsewhere, &disturbed].map(|figures| figures.p99.ratio_to(&undisturbed.p99));
    let targets = disturbed.targets(&undisturbed, MAX_MEMORY_MIB);
    let row = |case: &str, figures: Figures, ratio| Row {
        case: case.to_owned(),
        figures: vec![figures.p50, figures.p99, ratio, figures.peak],
    };
    let rows = vec![
        row("undisturbed", undisturbed, Series::default()),
        row("the same senders at another server of this machine", elsewhere, elsewhere_ratio),
        row(&format!("{SENDERS_PER_KIND} senders of each of {} kinds", Kind::ALL.len()), disturbed, ratio),
    ];
    let columns = [("p50 ms", 2), ("p99 ms", 2), ("p99 / undisturbed", 2), ("peak MiB", 1)];
    let title =
        format!("Untrusted senders beside {RATE} webhooks per second, sync always; median (least-most)");
    Ok((Table::new(title, &columns, rows), targets))
}

/// The request that an untrusted sender repeats.
#[derive(Clone, Copy, Debug)]
enum Kind {
    /// A callback of 32 MiB.
    HugeForm,
    /// A callback of 255 KiB with more than 50,000 parameters.
    LargeForm,
    /// The largest callback that the gateway reads. Its signature is well-formed and wrong, as that of all callbacks here.
    ForgedForm,
    /// The same callback without its last byte.
    StalledForm,
    /// A webhook from a source that is not allowed, with a signature of the current time, without its last byte.
    StalledWebhook,
}

impl Kind {
    const ALL: [Self; 5] =
        [Self::HugeForm, Self::LargeForm, Self::ForgedForm, Self::StalledForm, Self::StalledWebhook];

    /// The bytes of the body that are sent.
    fn body(self) -> Bytes {
        let mut body = match self {
            Self::LargeForm => "a=b&".repeat(self.content_length().div_ceil(4)),
            _ => format!("CallSid=CA1&A={}", "a".repeat(self.content_length())),
        };
        body.truncate(self.content_length() - self.unsent_bytes());
        Bytes::from(body)
    }

    fn head(self) -> String {
        let now = jiff::Timestamp::now().as_second();
        let (path, header) = match self {
            Self::StalledWebhook => {
                ("elevenlabs", format!("elevenlabs-signature: t={now},v0={}", "0".repeat(64)))
            }
            _ => ("twilio", "x-twilio-signature: AAAAAAAAAAAAAAAAAAAAAAAAAAA=".to_owned()),
        };
        format!(
            "POST /api/webhooks/{path}/call-status HTTP/1.1\r\nhost: x\r\n{header}\r\n\
             content-type: application/x-www-form-urlencoded\r\ncontent-length: {}\r\n\r\n",
            self.content_length()
        )
    }

    /// Length of the body according to the head.
    const fn content_length(self) -> usize {
        const KIB: usize = 1024;
        match self {
            Self::HugeForm => 32 * KIB * KIB,
            Self::LargeForm => 255 * KIB,
            Self::ForgedForm | Self::StalledForm => 64 * KIB,
            Self::StalledWebhook => 256 * KIB,
        }
    }

    /// Number of bytes of the body that are never sent.
    const fn unsent_bytes(self) -> usize {
        match self {
            Self::HugeForm | Self::LargeForm | Self::ForgedForm => 0,
            Self::StalledForm | Self::StalledWebhook => 1,
        }
    }
}

/// Untrusted senders on a thread of their own. Dropping it stops them.
struct UntrustedSenders {
    _stop: oneshot::Sender<()>,
    connected: Connected,
}

/// Number of connections of each kind.
type Connected = Arc<[AtomicUsize; Kind::ALL.len()]>;

impl UntrustedSenders {
    fn start(target: SocketAddr) -> anyhow::Result<Self> {
        let (stop, stopped) = oneshot::channel();
        let connected = Connected::default();
        let counted = connected.clone();
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
        thread::spawn(move || {
            runtime.block_on(async move {
                let mut senders = JoinSet::new();
                // Bodies are built once. Building 32 MiB for each request would use processor time of the
                // gateway.
                let bodies = Kind::ALL.map(|kind| (kind, kind.body()));
                for (n, (kind, body)) in
                    (0..SENDERS_PER_KIND).flat_map(|n| bodies.clone().map(|body| (n, body)))
                {
                    let counted = counted.clone();
                    senders.spawn(async move {
                        loop {
                            if let Ok(socket) = connect(target, n).await {
                                counted[kind as usize].fetch_add(1, Ordering::Relaxed);
                                // Every answer is fine, and none as well.
                                let _refused = timeout(MAX_REQUEST, send(socket, kind, &body)).await;
                            }
                            tokio::time::sleep(RETRY_DELAY).await;
                        }
                    });
                }
                let _dropped = stopped.await;
            });
        });
        Ok(Self { _stop: stop, connected })
    }

    /// Fails if the senders of a kind have never connected: then the figures say nothing about them.
    fn have_all_connected(&self) -> anyhow::Result<()> {
        let idle = Kind::ALL.iter().find(|kind| self.connected[**kind as usize].load(Ordering::Relaxed) == 0);
        match idle {
            None => Ok(()),
            Some(kind) => bail!("the senders of the kind {kind:?} never connected"),
        }
    }
}

/// Starts a server that refuses each request after its head, on a thread of its own. While the senders use
/// this server, the latency of the webhooks shows how much the senders slow down the machine itself. Stalled requests
/// end at once here, so the senders send more of them.
fn refusing_server() -> anyhow::Result<SocketAddr> {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?;
    let address = listener.local_addr()?;
    thread::spawn(move || {
        for mut connection in listener.incoming().flatten() {
            // The sender may have closed the connection already.
            let _head = connection.read(&mut [0; 1024]);
            let _answer =
                connection.write_all(b"HTTP/1.1 413 Content Too Large\r\ncontent-length: 0\r\n\r\n");
        }
    });
    Ok(address)
}

/// Connects from the address of the sender `n`.
async fn connect(target: SocketAddr, n: u8) -> std::io::Result<TcpStream> {
    let socket = TcpSocket::new_v4()?;
    socket.bind(SocketAddr::from((Ipv4Addr::new(127, 0, 1, n + 1), 0)))?;
    socket.connect(target).await
}

/// Sends one request, and waits for the answer. After an incomplete body, waits until the gateway closes the connection.
async fn send(mut socket: TcpStream, kind: Kind, body: &[u8]) -> std::io::Result<()> {
    socket.write_all(kind.head().as_bytes()).await?;
    socket.write_all(body).await?;
    let mut answer = [0; 1024];
    loop {
        let read = socket.read(&mut answer).await?;
        if read == 0 || kind.unsent_bytes() == 0 {
            return Ok(());
        }
    }
}
