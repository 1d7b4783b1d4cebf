//! `cargo local bench strangers`: what senders that nobody trusts cost the gateway and the provider's webhooks.
//!
//! The route for Twilio is open, so any address may send what looks like a callback. The strangers do the worst
//! that was found: huge forms, forms of many parameters, bodies that stall, and bodies of a refused source that
//! claim a signature. The webhooks measured come from an allowed source meanwhile.

use std::{
    io::{Read as _, Write as _},
    net::{Ipv4Addr, SocketAddr, TcpListener},
    thread,
    time::Duration,
};

use bytes::Bytes;
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::TcpSocket,
    sync::oneshot,
    task::JoinSet,
};

use super::{
    Bench, load,
    measure::{self, Series},
    stack,
    table::{Bar, Row, Table},
};

/// Webhooks a second of the provider.
const RATE: u32 = 200;
/// Connections that they come over.
const PROVIDER_CONNECTIONS: u32 = 16;
/// Strangers of each kind at one time.
const OF_EACH_KIND: u8 = 8;
/// Pause of one that could not connect.
const RETRY_DELAY: Duration = Duration::from_millis(100);
/// The gateway's settings: only 127.0.0.1 is the provider, everybody else on this machine is a stranger.
const SETTINGS: [(&str, &str); 3] = [
    ("ALLOWED_SOURCES", "127.0.0.1"),
    ("TWILIO_AUTH_TOKEN", "nobody_knows"),
    ("PUBLIC_URL", "https://hooks.example.com"),
];

const MEMORY_BAR: f64 = 160.0;
const P99_BAR: f64 = 2.0;

/// How long to measure.
#[derive(Clone, Debug, clap::Args)]
#[command(next_help_heading = "Of the strangers")]
#[group(id = "strangers")]
pub struct Options {
    /// Seconds that each measurement takes
    #[arg(long, value_name = "S", default_value_t = 20)]
    strangers_seconds: u64,
}

/// Measures without and with the strangers, on a fresh broker and gateway each time.
pub(super) async fn run(bench: &Bench, options: &Options) -> anyhow::Result<(Table, Vec<Bar>)> {
    let time = Duration::from_secs(options.strangers_seconds);
    let [mut alone, mut elsewhere, mut beside] = [(); 3].map(|()| Figures::default());
    for round in 1..=bench.rounds {
        bench.progress.step(&format!("strangers, round {round} of {}", bench.rounds));
        let broker = stack::broker(bench, true).await?;
        let gateway = stack::gateway_with(bench, &broker, &SETTINGS).await?;
        alone.measure(&gateway, time).await?;
        let strangers = Strangers::gather(refusing_server()?)?;
        elsewhere.measure(&gateway, time).await?;
        drop(strangers);
        let _strangers = Strangers::gather(gateway.address)?;
        beside.measure(&gateway, time).await?;
    }
    let [elsewhere_ratio, ratio] = [&elsewhere, &beside].map(|figures| figures.p99.by(&alone.p99));
    let (held, peak) = (ratio.summary().median, beside.peak.summary().most);
    let row = |case: &str, figures: Figures, ratio| Row {
        case: case.to_owned(),
        figures: vec![figures.p50, figures.p99, ratio, figures.peak],
    };
    let rows = vec![
        row("undisturbed", alone, Series::default()),
        row("strangers at another server of this machine", elsewhere, elsewhere_ratio),
        row(&format!("{OF_EACH_KIND} strangers of {} kinds", Kind::ALL.len()), beside, ratio),
    ];
    let columns = [("p50 ms", 2), ("p99 ms", 2), ("p99 / undisturbed", 2), ("peak MiB", 1)];
    let title = format!("Strangers beside {RATE} webhooks a second, sync always; median (least-most)");
    let bars = vec![
        Bar {
            met: held <= P99_BAR,
            text: format!("p99 {held:.2} times what it is undisturbed (bar {P99_BAR:.0})"),
        },
        Bar { met: peak < MEMORY_BAR, text: format!("{peak:.1} MiB at most (bar {MEMORY_BAR:.0})") },
    ];
    Ok((Table::new(title, &columns, rows), bars))
}

#[derive(Default)]
struct Figures {
    p50: Series,
    p99: Series,
    peak: Series,
}

impl Figures {
    /// Every webhook must be answered 200.
    async fn measure(&mut self, gateway: &stack::Gateway, time: Duration) -> anyhow::Result<()> {
        let times = load::paced(gateway.address, PROVIDER_CONNECTIONS, RATE, time, |_| ()).await?;
        self.p50.push(times.ms(0.5));
        self.p99.push(times.ms(0.99));
        self.peak.push(measure::peak_mib(gateway.process.pid())?);
        Ok(())
    }
}

/// What a stranger sends, again and again.
#[derive(Clone, Copy)]
enum Kind {
    /// A callback of 32 MiB.
    HugeForm,
    /// A callback of 255 KiB, of 50,000 parameters.
    LargeForm,
    /// The largest callback that is read, with a well-formed signature.
    ForgedForm,
    /// The same, but for its last byte.
    StalledForm,
    /// A webhook of a refused source that claims a signature of now, and stalls.
    StalledClaim,
}

impl Kind {
    const ALL: [Self; 5] =
        [Self::HugeForm, Self::LargeForm, Self::ForgedForm, Self::StalledForm, Self::StalledClaim];

    /// Everything after the head: the bytes of the body that are sent.
    fn body(self) -> Bytes {
        let mut body = match self {
            Self::LargeForm => "a=b&".repeat(self.bytes().div_ceil(4)),
            _ => format!("CallSid=CA1&A={}", "a".repeat(self.bytes())),
        };
        body.truncate(self.bytes() - self.held_back());
        Bytes::from(body)
    }

    fn head(self) -> String {
        let now = jiff::Timestamp::now().as_second();
        let (path, header) = match self {
            Self::StalledClaim => {
                ("elevenlabs", format!("elevenlabs-signature: t={now},v0={}", "0".repeat(64)))
            }
            _ => ("twilio", "x-twilio-signature: AAAAAAAAAAAAAAAAAAAAAAAAAAA=".to_owned()),
        };
        format!(
            "POST /api/webhooks/{path}/call-status HTTP/1.1\r\nhost: x\r\n{header}\r\n\
             content-type: application/x-www-form-urlencoded\r\ncontent-length: {}\r\n\r\n",
            self.bytes()
        )
    }

    /// Length of the body as the head states it.
    const fn bytes(self) -> usize {
        const KIB: usize = 1024;
        match self {
            Self::HugeForm => 32 * KIB * KIB,
            Self::LargeForm => 255 * KIB,
            Self::ForgedForm | Self::StalledForm => 64 * KIB,
            Self::StalledClaim => 256 * KIB,
        }
    }

    /// Bytes of the body that are never sent.
    const fn held_back(self) -> usize {
        match self {
            Self::HugeForm | Self::LargeForm | Self::ForgedForm => 0,
            Self::StalledForm | Self::StalledClaim => 1,
        }
    }
}

/// Strangers on a thread of their own, until dropped.
struct Strangers {
    _stop: oneshot::Sender<()>,
}

impl Strangers {
    fn gather(target: SocketAddr) -> anyhow::Result<Self> {
        let (stop, stopped) = oneshot::channel();
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
        thread::spawn(move || {
            runtime.block_on(async move {
                let mut strangers = JoinSet::new();
                // Made once: strangers that build 32 MiB for each try would take a processor from the gateway.
                let bodies = Kind::ALL.map(|kind| (kind, kind.body()));
                for (n, (kind, body)) in (0..OF_EACH_KIND).flat_map(|n| bodies.clone().map(|body| (n, body)))
                {
                    strangers.spawn(async move {
                        loop {
                            // Refused, cut off or not connected: the next try is as good.
                            let _refused = send(target, n, kind, &body).await;
                            tokio::time::sleep(RETRY_DELAY).await;
                        }
                    });
                }
                let _dropped = stopped.await;
            });
        });
        Ok(Self { _stop: stop })
    }
}

/// Starts a server that refuses each request after its head, on a thread of its own. What the strangers cost
/// the webhooks while they send there is the price of sharing the machine with them.
fn refusing_server() -> anyhow::Result<SocketAddr> {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?;
    let address = listener.local_addr()?;
    thread::spawn(move || {
        for mut connection in listener.incoming().flatten() {
            // A stranger that has gone already is as good as one that is refused.
            let _head = connection.read(&mut [0; 1024]);
            let _answer =
                connection.write_all(b"HTTP/1.1 413 Content Too Large\r\ncontent-length: 0\r\n\r\n");
        }
    });
    Ok(address)
}

/// Sends one request from an address of its own, and waits for the end of the connection.
async fn send(target: SocketAddr, n: u8, kind: Kind, body: &[u8]) -> std::io::Result<()> {
    let socket = TcpSocket::new_v4()?;
    socket.bind(SocketAddr::from((Ipv4Addr::new(127, 0, 1, n + 1), 0)))?;
    let mut socket = socket.connect(target).await?;
    socket.write_all(kind.head().as_bytes()).await?;
    socket.write_all(body).await?;
    let mut answer = [0; 1024];
    loop {
        let read = socket.read(&mut answer).await?;
        if read == 0 || kind.held_back() == 0 {
            return Ok(());
        }
    }
}
