//! `cargo lab bench connections`: the effect of idle and slow connections on the gateway and on webhooks.
//!
//! The gateway runs with its default settings. A connection that it closes is opened again at once. The
//! connections come from many addresses of this machine, because the gateway limits the connections of one
//! address.

use std::{
    net::{Ipv4Addr, SocketAddr},
    thread,
    time::Duration,
};

use aftercall_local::{http_client, process::Process, server::Server};
use anyhow::{Context as _, bail, ensure};
use nix::sys::resource::{Resource, getrlimit, setrlimit};
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::{TcpSocket, TcpStream},
    sync::oneshot,
    task::JoinSet,
};

use super::{
    context::Bench,
    disturbance::{Figures, RATE},
    launch::{self, Implementation},
    measure::Series,
    table::{Row, Table, Target},
};

/// Time over which the connections are opened. It equals the default of `HEADER_TIMEOUT`, so that the gateway
/// also closes them at an even rate.
const RAMP_UP: Duration = Duration::from_secs(10);
/// Longest wait until all connections are open.
const OPEN_TIMEOUT: Duration = Duration::from_mins(1);
/// Pause between two bytes of a slow connection.
const BYTE_INTERVAL: Duration = Duration::from_secs(1);
/// Pause after a failed attempt to connect.
const RETRY_DELAY: Duration = Duration::from_millis(100);
/// Number of source addresses.
const SOURCES: usize = 100;
/// Open files that this process needs for other purposes.
const OTHER_FILES: u64 = 256;

/// Largest acceptable memory of the gateway, in MiB.
const MAX_MEMORY_MIB: f64 = 150.0;

/// Number of connections, and duration.
#[derive(Clone, Debug, clap::Args)]
#[command(next_help_heading = "Benchmark connections")]
#[group(id = "connections")]
pub struct Options {
    /// Connections that send nothing, or nothing after one request
    #[arg(long, value_name = "N", default_value_t = 10_000)]
    idle: usize,
    /// Connections that send the head of a request one byte at a time
    #[arg(long, value_name = "N", default_value_t = 1000)]
    slow: usize,
    /// Seconds of each measurement
    #[arg(long, value_name = "S", default_value_t = 20)]
    connections_seconds: u64,
}

#[derive(Default)]
struct Answers {
    figures: Figures,
    /// Open connections at the end of each measurement.
    connections: Series,
}

/// Measures without and with the connections, with a new broker and gateway in each round.
pub(super) async fn run(bench: &Bench, options: &Options) -> anyhow::Result<(Table, Vec<Target>)> {
    allow_files(options.idle + options.slow)?;
    let (mut undisturbed, mut disturbed) = (Answers::default(), Answers::default());
    for round in 1..=bench.rounds {
        let step = |phase: &str| {
            bench.progress.step(&format!("connections: {phase}, round {round} of {}", bench.rounds));
        };
        let gateway = Gateway::start(bench).await?;
        let time = Duration::from_secs(options.connections_seconds);
        step("undisturbed");
        gateway.measure(time, &mut undisturbed).await?;
        step("opening");
        let _connections = Connections::open(gateway.address, options)?;
        gateway.until_open(options.idle + options.slow).await?;
        step("disturbed");
        gateway.measure(time, &mut disturbed).await?;
    }
    let ratio = disturbed.figures.p99.ratio_to(&undisturbed.figures.p99);
    let targets = disturbed.figures.targets(&undisturbed.figures, MAX_MEMORY_MIB);
    let row = |case: &str, Answers { figures, connections }: Answers, ratio| Row {
        case: case.to_owned(),
        figures: vec![figures.p50, figures.p99, ratio, connections, figures.peak],
    };
    let case = format!("{} idle, {} slow", options.idle, options.slow);
    let rows = vec![row("undisturbed", undisturbed, Series::default()), row(&case, disturbed, ratio)];
    let columns =
        [("p50 ms", 2), ("p99 ms", 2), ("p99 / undisturbed", 2), ("connections", 0), ("peak MiB", 1)];
    let title = format!(
        "Idle and slow connections beside {RATE} webhooks per second, sync always; median (least-most)"
    );
    Ok((Table::new(title, &columns, rows), targets))
}

/// Raises the limit on open files, so that this process can open the connections.
fn allow_files(connections: usize) -> anyhow::Result<()> {
    let wanted = u64::try_from(connections)? + OTHER_FILES;
    let (soft, hard) = getrlimit(Resource::RLIMIT_NOFILE)?;
    ensure!(hard >= wanted, "{wanted} open files are needed, {hard} allowed (ulimit -Hn)");
    setrlimit(Resource::RLIMIT_NOFILE, soft.max(wanted), hard).context("cannot raise the limit on open files")
}

/// A gateway and its broker.
struct Gateway {
    process: Process,
    _broker: Server,
    address: SocketAddr,
    metrics: String,
    http: reqwest::Client,
}

impl Gateway {
    async fn start(bench: &Bench) -> anyhow::Result<Self> {
        let broker = launch::broker(bench, true).await?;
        let launch::Gateway { process, address, admin } =
            launch::gateway(bench, Implementation::Aftercall, &broker).await?;
        let http = http_client(Duration::from_secs(10))?;
        Ok(Self { process, _broker: broker, address, metrics: format!("http://{admin}/metrics"), http })
    }

    /// Number of open connections, from the metrics of the gateway.
    async fn open_connections(&self) -> anyhow::Result<f64> {
        let page = self.http.get(&self.metrics).send().await?.text().await?;
        let value = page.lines().find_map(|line| line.strip_prefix("aftercall_connections "));
        value.context("no aftercall_connections")?.parse().context("aftercall_connections is no number")
    }

    /// Waits until 99 percent of the connections are open. The rest is always being opened again.
    async fn until_open(&self, connections: usize) -> anyhow::Result<()> {
        let opened = async {
            while self.open_connections().await? < most_of(connections) {
                tokio::time::sleep(Duration::from_millis(100)).await;
            }
            anyhow::Ok(())
        };
        match tokio::time::timeout(OPEN_TIMEOUT, opened).await {
            Ok(opened) => opened,
            Err(_) => bail!("only {} of {connections} connections are open", self.open_connections().await?),
        }
    }

    async fn measure(&self, time: Duration, answers: &mut Answers) -> anyhow::Result<()> {
        answers.figures.measure(self.address, self.process.pid(), time).await?;
        answers.connections.push(self.open_connections().await?);
        Ok(())
    }
}

#[expect(clippy::cast_precision_loss, reason = "a few thousand")]
fn most_of(connections: usize) -> f64 {
    connections as f64 * 0.99
}

/// Idle and slow connections on a thread of their own. Dropping it closes them.
struct Connections {
    _stop: oneshot::Sender<()>,
}

impl Connections {
    fn open(gateway: SocketAddr, options: &Options) -> anyhow::Result<Self> {
        let (stop, stopped) = oneshot::channel();
        let (idle, all) = (options.idle, options.idle + options.slow);
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
        thread::spawn(move || {
            runtime.block_on(async move {
                let mut tasks = JoinSet::new();
                let pause = RAMP_UP / u32::try_from(all).unwrap_or(u32::MAX).max(1);
                for n in 0..all {
                    let kind = match n {
                        n if n >= idle => Kind::Slow,
                        n if n % 2 == 0 => Kind::Silent,
                        _ => Kind::Answered,
                    };
                    let after = pause * u32::try_from(n).unwrap_or(u32::MAX);
                    tasks.spawn(async move {
                        tokio::time::sleep(after).await;
                        loop {
                            if keep_connection(gateway, n % SOURCES, kind).await.is_err() {
                                tokio::time::sleep(RETRY_DELAY).await;
                            }
                        }
                    });
                }
                let _dropped = stopped.await;
            });
        });
        Ok(Self { _stop: stop })
    }
}

/// Behaviour of a connection.
#[derive(Clone, Copy)]
enum Kind {
    /// Sends nothing.
    Silent,
    /// Sends one request, then nothing.
    Answered,
    /// Sends the head of a request one byte at a time.
    Slow,
}

/// Opens a connection, and keeps it until the gateway closes it.
async fn keep_connection(gateway: SocketAddr, source: usize, kind: Kind) -> std::io::Result<()> {
    let source = Ipv4Addr::new(127, 0, 1, u8::try_from(source + 1).unwrap_or(u8::MAX));
    let socket = TcpSocket::new_v4()?;
    socket.bind(SocketAddr::from((source, 0)))?;
    let mut socket = socket.connect(gateway).await?;
    match kind {
        Kind::Silent => {}
        Kind::Answered => socket.write_all(b"GET / HTTP/1.1\r\nhost: x\r\n\r\n").await?,
        Kind::Slow => return send_slowly(&mut socket).await,
    }
    let mut answer = [0; 1024];
    while socket.read(&mut answer).await? > 0 {}
    Ok(())
}

async fn send_slowly(socket: &mut TcpStream) -> std::io::Result<()> {
    socket.write_all(b"POST /api/webhooks/elevenlabs/call-status HTTP/1.1\r\nx-slow: ").await?;
    loop {
        let mut end = [0];
        tokio::select! {
            read = socket.read(&mut end) => return read.map(drop),
            () = tokio::time::sleep(BYTE_INTERVAL) => socket.write_all(b"x").await?,
        }
    }
}
