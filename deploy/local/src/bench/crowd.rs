//! `cargo local bench crowd`: what connections that say nothing, or say it a byte at a time, cost the gateway
//! and those who have something to say.
//!
//! The gateway runs with its defaults; whom it cuts off comes again at once. The crowd comes from many
//! addresses of this machine, as one of them may not have so many connections.

use std::{
    net::{Ipv4Addr, SocketAddr},
    thread,
    time::Duration,
};

use anyhow::{Context as _, bail, ensure};
use nix::sys::resource::{Resource, getrlimit, setrlimit};
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::{TcpSocket, TcpStream},
    sync::oneshot,
    task::JoinSet,
};

use super::{
    Bench, load,
    measure::{self, Series},
    stack::{self, Side},
    table::{Bar, Row, Table},
};
use crate::{http_client, process::Process, server::Server};

/// Webhooks a second of those who have something to say.
const RATE: u32 = 200;
/// Connections that they come over.
const HONEST: u32 = 16;
/// Time the crowd takes to gather: as long as `HEADER_TIMEOUT`, so that it is cut off as evenly.
const GATHERING: Duration = Duration::from_secs(10);
/// Longest wait until it is complete.
const COMPLETE: Duration = Duration::from_mins(1);
/// Pause between two bytes of one who dribbles.
const DRIBBLE: Duration = Duration::from_secs(1);
/// Pause of one that could not connect.
const AGAIN: Duration = Duration::from_millis(100);
/// Addresses that the crowd comes from.
const SOURCES: usize = 100;
/// Files this process needs besides.
const OTHER_FILES: u64 = 256;

const MEMORY_BAR: f64 = 150.0;
const P99_BAR: f64 = 2.0;

/// How large a crowd.
#[derive(Clone, Debug, clap::Args)]
#[command(next_help_heading = "Of the crowd")]
#[group(id = "crowd")]
pub struct Options {
    /// Connections that say nothing, or nothing more after one answer
    #[arg(long, value_name = "N", default_value_t = 10_000)]
    idle: usize,
    /// Connections that send a request's head a byte at a time
    #[arg(long, value_name = "N", default_value_t = 1000)]
    dribbling: usize,
    /// Seconds that each measurement takes
    #[arg(long, value_name = "S", default_value_t = 20)]
    crowd_seconds: u64,
}

#[derive(Default)]
struct Answers {
    p50: Series,
    p99: Series,
    connections: Series,
    peak: Series,
}

/// Measures without and with the crowd, on a fresh broker and gateway each time.
pub(super) async fn run(bench: &Bench, options: &Options) -> anyhow::Result<(Table, Vec<Bar>)> {
    allow_files(options.idle + options.dribbling)?;
    let (mut alone, mut crowded) = (Answers::default(), Answers::default());
    for round in 1..=bench.rounds {
        let step =
            |what: &str| bench.progress.step(&format!("crowd: {what}, round {round} of {}", bench.rounds));
        let gateway = Gateway::start(bench).await?;
        let time = Duration::from_secs(options.crowd_seconds);
        step("undisturbed");
        gateway.measure(time, &mut alone).await?;
        step("gathering");
        let _crowd = Crowd::gather(gateway.address, options)?;
        gateway.until_open(options.idle + options.dribbling).await?;
        step("disturbed");
        gateway.measure(time, &mut crowded).await?;
    }
    let ratio = crowded.p99.by(&alone.p99);
    let (held, peak) = (ratio.summary().median, crowded.peak.summary().most);
    let row = |case: &str, side: Answers, ratio| Row {
        case: case.to_owned(),
        figures: vec![side.p50, side.p99, ratio, side.connections, side.peak],
    };
    let crowd = format!("{} idle, {} dribbling", options.idle, options.dribbling);
    let rows = vec![row("undisturbed", alone, Series::default()), row(&crowd, crowded, ratio)];
    let columns =
        [("p50 ms", 2), ("p99 ms", 2), ("p99 / undisturbed", 2), ("connections", 0), ("peak MiB", 1)];
    let title = format!("A crowd beside {RATE} webhooks a second, sync always; median (least-most)");
    let bars = vec![
        Bar {
            met: held <= P99_BAR,
            text: format!("p99 {held:.2} times what it is undisturbed (bar {P99_BAR:.0})"),
        },
        Bar { met: peak < MEMORY_BAR, text: format!("{peak:.1} MiB at most (bar {MEMORY_BAR:.0})") },
    ];
    Ok((Table::new(title, &columns, rows), bars))
}

/// Lets this process open so many connections.
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
        let broker = stack::broker(bench, true).await?;
        let stack::Gateway { process, address, admin } = stack::gateway(bench, Side::Ours, &broker).await?;
        let http = http_client(Duration::from_secs(10))?;
        Ok(Self { process, _broker: broker, address, metrics: format!("http://{admin}/metrics"), http })
    }

    /// Connections that it has open.
    async fn open(&self) -> anyhow::Result<f64> {
        let page = self.http.get(&self.metrics).send().await?.text().await?;
        let value = page.lines().find_map(|line| line.strip_prefix("aftercall_connections "));
        value.context("no aftercall_connections")?.parse().context("aftercall_connections is no number")
    }

    /// Waits for all but one in a hundred of a crowd: some are always on their way back.
    async fn until_open(&self, crowd: usize) -> anyhow::Result<()> {
        let complete = async {
            while self.open().await? < most_of(crowd) {
                tokio::time::sleep(Duration::from_millis(100)).await;
            }
            anyhow::Ok(())
        };
        match tokio::time::timeout(COMPLETE, complete).await {
            Ok(complete) => complete,
            Err(_) => bail!("only {} of {crowd} connections are open", self.open().await?),
        }
    }

    async fn measure(&self, time: Duration, side: &mut Answers) -> anyhow::Result<()> {
        let times = load::paced(self.address, HONEST, RATE, time, |_| ()).await?;
        side.p50.push(times.ms(0.5));
        side.p99.push(times.ms(0.99));
        side.connections.push(self.open().await?);
        side.peak.push(measure::peak_mib(self.process.pid())?);
        Ok(())
    }
}

#[expect(clippy::cast_precision_loss, reason = "a few thousand")]
fn most_of(crowd: usize) -> f64 {
    crowd as f64 * 0.99
}

/// Connections on a thread of their own, until dropped.
struct Crowd {
    _stop: oneshot::Sender<()>,
}

impl Crowd {
    fn gather(gateway: SocketAddr, options: &Options) -> anyhow::Result<Self> {
        let (stop, stopped) = oneshot::channel();
        let (idle, all) = (options.idle, options.idle + options.dribbling);
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
        thread::spawn(move || {
            runtime.block_on(async move {
                let mut crowd = JoinSet::new();
                let pause = GATHERING / u32::try_from(all).unwrap_or(u32::MAX).max(1);
                for n in 0..all {
                    let kind = match n {
                        n if n >= idle => Kind::Dribbling,
                        n if n % 2 == 0 => Kind::Silent,
                        _ => Kind::Answered,
                    };
                    let after = pause * u32::try_from(n).unwrap_or(u32::MAX);
                    crowd.spawn(async move {
                        tokio::time::sleep(after).await;
                        loop {
                            if one(gateway, n % SOURCES, kind).await.is_err() {
                                tokio::time::sleep(AGAIN).await;
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

/// How one of the crowd wastes its connection.
#[derive(Clone, Copy)]
enum Kind {
    Silent,
    Answered,
    Dribbling,
}

/// One connection of the crowd, until the gateway closes it.
async fn one(gateway: SocketAddr, source: usize, kind: Kind) -> std::io::Result<()> {
    let source = Ipv4Addr::new(127, 0, 1, u8::try_from(source + 1).unwrap_or(u8::MAX));
    let socket = TcpSocket::new_v4()?;
    socket.bind(SocketAddr::from((source, 0)))?;
    let mut socket = socket.connect(gateway).await?;
    match kind {
        Kind::Silent => {}
        Kind::Answered => socket.write_all(b"GET / HTTP/1.1\r\nhost: x\r\n\r\n").await?,
        Kind::Dribbling => return dribble(&mut socket).await,
    }
    let mut answer = [0; 1024];
    while socket.read(&mut answer).await? > 0 {}
    Ok(())
}

async fn dribble(socket: &mut TcpStream) -> std::io::Result<()> {
    socket.write_all(b"POST /api/webhooks/elevenlabs/call-status HTTP/1.1\r\nx-slow: ").await?;
    loop {
        let mut end = [0];
        tokio::select! {
            read = socket.read(&mut end) => return read.map(drop),
            () = tokio::time::sleep(DRIBBLE) => socket.write_all(b"x").await?,
        }
    }
}
