//! `cargo local bench strangers`: what senders that nobody trusts cost the gateway and the provider's webhooks.
//!
//! The route for Twilio is open, so any address may send what looks like a callback. The strangers do the worst
//! that was found: huge forms, forms of many parameters, bodies that stall, and bodies of a refused source that
//! claim a signature. The webhooks measured come from an allowed source meanwhile.

use std::{
    net::{Ipv4Addr, SocketAddr},
    thread,
    time::Duration,
};

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
    let (mut alone, mut beside) = (Figures::default(), Figures::default());
    for round in 1..=bench.rounds {
        bench.progress.step(&format!("strangers, round {round} of {}", bench.rounds));
        let broker = stack::broker(bench, true).await?;
        let gateway = stack::gateway_with(bench, &broker, &SETTINGS).await?;
        alone.measure(&gateway, time).await?;
        let _strangers = Strangers::gather(gateway.address)?;
        beside.measure(&gateway, time).await?;
    }
    let ratio = beside.p99.by(&alone.p99);
    let (held, peak) = (ratio.summary().median, beside.peak.summary().most);
    let row = |case: &str, figures: Figures, ratio| Row {
        case: case.to_owned(),
        figures: vec![figures.p50, figures.p99, ratio, figures.peak],
    };
    let rows = vec![
        row("undisturbed", alone, Series::default()),
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

    /// The request, and how many bytes of its body never come.
    fn request(self) -> (Vec<u8>, usize) {
        const KIB: usize = 1024;
        let (bytes, held_back) = match self {
            Self::HugeForm => (32 * KIB * KIB, 0),
            Self::LargeForm => (255 * KIB, 0),
            Self::ForgedForm => (64 * KIB, 0),
            Self::StalledForm => (64 * KIB, 1),
            Self::StalledClaim => (256 * KIB, 1),
        };
        let now = jiff::Timestamp::now().as_second();
        let (path, header) = match self {
            Self::StalledClaim => {
                ("elevenlabs", format!("elevenlabs-signature: t={now},v0={}", "0".repeat(64)))
            }
            _ => ("twilio", "x-twilio-signature: AAAAAAAAAAAAAAAAAAAAAAAAAAA=".to_owned()),
        };
        let head = format!(
            "POST /api/webhooks/{path}/call-status HTTP/1.1\r\nhost: x\r\n{header}\r\n\
             content-type: application/x-www-form-urlencoded\r\ncontent-length: {bytes}\r\n\r\n"
        );
        let parameters = match self {
            Self::LargeForm => "a=b&".repeat(bytes.div_ceil(4)),
            _ => format!("CallSid=CA1&A={}", "a".repeat(bytes)),
        };
        let mut request = head.into_bytes();
        request.extend_from_slice(&parameters.as_bytes()[..bytes - held_back]);
        (request, held_back)
    }
}

/// Strangers on a thread of their own, until dropped.
struct Strangers {
    _stop: oneshot::Sender<()>,
}

impl Strangers {
    fn gather(gateway: SocketAddr) -> anyhow::Result<Self> {
        let (stop, stopped) = oneshot::channel();
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
        thread::spawn(move || {
            runtime.block_on(async move {
                let mut strangers = JoinSet::new();
                for (n, kind) in (0..OF_EACH_KIND).flat_map(|n| Kind::ALL.map(|kind| (n, kind))) {
                    strangers.spawn(async move {
                        loop {
                            // Refused, cut off or not connected: the next try is as good.
                            let _refused = send(gateway, n, kind).await;
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

/// Sends one request from an address of its own, and waits for the end of the connection.
async fn send(gateway: SocketAddr, n: u8, kind: Kind) -> std::io::Result<()> {
    let socket = TcpSocket::new_v4()?;
    socket.bind(SocketAddr::from((Ipv4Addr::new(127, 0, 1, n + 1), 0)))?;
    let mut socket = socket.connect(gateway).await?;
    let (request, held_back) = kind.request();
    socket.write_all(&request).await?;
    let mut answer = [0; 1024];
    loop {
        let read = socket.read(&mut answer).await?;
        if read == 0 || held_back == 0 {
            return Ok(());
        }
    }
}
