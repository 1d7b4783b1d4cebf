//! Posts webhooks over keep-alive connections, and measures the time to each answer.
//!
//! Requests are written to sockets directly. A client library would use as much processor time as the
//! measured server.

use std::{
    net::SocketAddr,
    ops::Range,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::{Duration, Instant},
};

use anyhow::{Context as _, bail, ensure};
use futures_util::future::try_join_all;
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::TcpStream,
};

use super::measure::{self, Series, Times};

/// Digits of the number that makes every body unique.
const DIGITS: usize = 12;
/// Prefix of the call ids in posted webhooks.
const CALL_PREFIX: &str = "live_";
/// Longest wait for one answer.
const ANSWER_TIMEOUT: Duration = Duration::from_secs(30);

/// A load in which every connection posts a webhook as soon as the previous one is answered.
#[derive(Clone, Copy, Debug)]
pub struct Load {
    pub connections: usize,
    /// Bytes of a body.
    pub bytes: usize,
    pub time: Duration,
}

/// Result of a measurement.
#[derive(Debug)]
pub struct Outcome {
    pub per_second: f64,
    /// Median time to the answer, in milliseconds.
    pub p50: f64,
    /// 99th percentile of the time to the answer, in milliseconds.
    pub p99: f64,
    /// Processor time of the server per webhook, in microseconds.
    pub cpu: f64,
    /// Resident memory of the server at the end, in MiB.
    pub resident: f64,
}

/// The outcomes of several rounds.
#[derive(Default)]
pub struct Answers {
    pub rate: Series,
    pub p50: Series,
    pub p99: Series,
    pub cpu: Series,
    pub resident: Series,
}

impl Answers {
    /// Adds the outcome of a round.
    pub fn push(&mut self, outcome: &Outcome) {
        self.rate.push(outcome.per_second);
        self.p50.push(outcome.p50);
        self.p99.push(outcome.p99);
        self.cpu.push(outcome.cpu);
        self.resident.push(outcome.resident);
    }
}

/// A request with a variable number.
struct Template {
    bytes: Vec<u8>,
    /// Offset of the number.
    number: usize,
}

impl Template {
    fn new(address: SocketAddr, bytes: usize) -> Self {
        let head = format!(r#"{{"event_type":"call.ringing","call_id":"{CALL_PREFIX}"#);
        let middle = r#"","status":"ringing","to_number":"+12025550123","note":""#;
        let padding = bytes.saturating_sub(head.len() + DIGITS + middle.len() + 2);
        let body = format!("{head}{}{middle}{}\"}}", "0".repeat(DIGITS), "x".repeat(padding));
        let path = "/api/webhooks/elevenlabs/call-status";
        let start = format!(
            "POST {path} HTTP/1.1\r\nhost: {address}\r\ncontent-type: application/json\r\ncontent-length: {}\r\n\r\n",
            body.len()
        );
        let number = start.len() + head.len();
        Self { bytes: [start, body].concat().into_bytes(), number }
    }

    fn set(&mut self, number: u64) {
        let digits = format!("{number:0DIGITS$}");
        self.bytes[self.number..self.number + DIGITS].copy_from_slice(digits.as_bytes());
    }
}

/// The next unused number of a webhook in this process.
static NEXT: AtomicU64 = AtomicU64::new(0);

fn next() -> u64 {
    NEXT.fetch_add(1, Ordering::Relaxed)
}

/// The numbers of the next `count` webhooks.
pub fn upcoming(count: u64) -> Range<u64> {
    let first = NEXT.load(Ordering::Relaxed);
    first..first + count
}

/// Measures the server at `address` with the process id `pid`, after a second of warm-up.
pub async fn measure(load: Load, address: SocketAddr, pid: u32) -> anyhow::Result<Outcome> {
    post(Load { time: Duration::from_secs(1), ..load }, address).await?;
    let (cpu, begin) = (measure::cpu_seconds(pid)?, Instant::now());
    let times = post(load, address).await?;
    let took = begin.elapsed().as_secs_f64();
    let used = measure::cpu_seconds(pid)? - cpu;
    Ok(Outcome {
        per_second: times.count() / took,
        p50: times.ms(0.5),
        p99: times.ms(0.99),
        cpu: used * 1e6 / times.count(),
        resident: measure::resident_mib(pid)?,
    })
}

/// Whether the server at `address` answers a webhook with 200.
pub async fn accepts_webhooks(address: SocketAddr) -> bool {
    post(Load { connections: 1, bytes: 300, time: Duration::from_millis(1) }, address).await.is_ok()
}

/// Posts one webhook over a new connection. Returns its number.
pub async fn one(address: SocketAddr) -> anyhow::Result<u64> {
    let number = next();
    Client::connect(address, 300).await?.post(number).await?;
    Ok(number)
}

/// The call id of the webhook with this number.
pub fn call_id(number: u64) -> String {
    format!("{CALL_PREFIX}{number:0DIGITS$}")
}

/// Posts webhooks, and returns the times to the answers.
async fn post(load: Load, address: SocketAddr) -> anyhow::Result<Times> {
    on_own_thread(async move || {
        let end = Instant::now() + load.time;
        run_all((0..load.connections).map(|_| client(address, load.bytes, end))).await
    })
    .await
}

/// Runs `work` on a thread of its own, so that it shares no runtime with the rest of this process.
async fn on_own_thread<F: Future<Output = anyhow::Result<Times>>>(
    work: impl FnOnce() -> F + Send + 'static,
) -> anyhow::Result<Times> {
    let (done, answer) = tokio::sync::oneshot::channel();
    std::thread::spawn(move || {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
        let outcome = runtime.context("cannot start a runtime").and_then(|runtime| runtime.block_on(work()));
        let _left = done.send(outcome);
    });
    answer.await.context("the load ended early")?
}

/// Runs all clients, and merges their times.
async fn run_all<F: Future<Output = anyhow::Result<Times>>>(
    clients: impl Iterator<Item = F>,
) -> anyhow::Result<Times> {
    let mut all = Times::new()?;
    for one in try_join_all(clients).await? {
        all.add(one)?;
    }
    Ok(all)
}

/// A keep-alive connection with its request.
struct Client {
    template: Template,
    socket: TcpStream,
    answer: Vec<u8>,
}

impl Client {
    async fn connect(address: SocketAddr, bytes: usize) -> anyhow::Result<Self> {
        let socket = TcpStream::connect(address).await.context("cannot connect")?;
        socket.set_nodelay(true)?;
        Ok(Self { template: Template::new(address, bytes), socket, answer: vec![0; 4096] })
    }

    /// Posts the webhook with this number. Fails if the answer is not 200.
    async fn post(&mut self, number: u64) -> anyhow::Result<()> {
        self.template.set(number);
        self.socket.write_all(&self.template.bytes).await?;
        let answer = read(&mut self.socket, &mut self.answer);
        tokio::time::timeout(ANSWER_TIMEOUT, answer).await.context("no answer")?
    }
}

/// One connection of [`Load`], until `end`.
async fn client(address: SocketAddr, bytes: usize, end: Instant) -> anyhow::Result<Times> {
    let (mut client, mut times) = (Client::connect(address, bytes).await?, Times::new()?);
    while Instant::now() < end {
        let (number, begin) = (next(), Instant::now());
        client.post(number).await?;
        times.record(begin.elapsed())?;
    }
    Ok(times)
}

/// Posts `rate` webhooks per second over `connections` connections, and calls `posted` with the number of
/// each webhook before it is sent. Returns the times from the scheduled time of each webhook to its answer,
/// so that a slow answer also counts for the webhooks that it delays.
pub async fn paced(
    address: SocketAddr,
    connections: u32,
    rate: u32,
    time: Duration,
    posted: impl Fn(u64) + Send + 'static,
) -> anyhow::Result<Times> {
    on_own_thread(async move || {
        let (begin, step) = (Instant::now(), Duration::from_secs(1) / rate);
        let client = |n| paced_client(address, begin + step * n, step * connections, begin + time, &posted);
        run_all((1..=connections).map(client)).await
    })
    .await
}

/// One connection of [`paced`]: posts at `due`, then every `step` until `end`.
async fn paced_client(
    address: SocketAddr,
    mut due: Instant,
    step: Duration,
    end: Instant,
    posted: &impl Fn(u64),
) -> anyhow::Result<Times> {
    let (mut client, mut times) = (Client::connect(address, 300).await?, Times::new()?);
    while due < end {
        tokio::time::sleep_until(due.into()).await;
        let number = next();
        posted(number);
        client.post(number).await?;
        times.record(due.elapsed())?;
        due += step;
    }
    Ok(times)
}

/// Reads one answer. Fails if it is not 200.
async fn read(socket: &mut TcpStream, buffer: &mut [u8]) -> anyhow::Result<()> {
    let mut length = 0;
    loop {
        let read = socket.read(&mut buffer[length..]).await?;
        ensure!(read > 0, "the server closed the connection");
        length += read;
        let text = &buffer[..length];
        let Some(head) = text.windows(4).position(|end| end == b"\r\n\r\n").map(|at| at + 4) else {
            continue;
        };
        if !text.starts_with(b"HTTP/1.1 200 ") {
            bail!("{}", String::from_utf8_lossy(text));
        }
        if length >= head + content_length(&text[..head])? {
            return Ok(());
        }
    }
}

fn content_length(head: &[u8]) -> anyhow::Result<usize> {
    let head = std::str::from_utf8(head)?;
    let value = head.lines().find_map(|line| line.strip_prefix("content-length: "));
    value.and_then(|value| value.trim().parse().ok()).context("an answer without content-length")
}

/// Runs `work` repeatedly in `count` concurrent tasks for `time`. Returns the number of runs per second.
pub async fn run_concurrently<F: Future<Output = anyhow::Result<()>> + Send + 'static>(
    count: usize,
    time: Duration,
    work: impl Fn(u64) -> F + Clone + Send + 'static,
) -> anyhow::Result<f64> {
    let done = Arc::new(AtomicU64::new(0));
    let begin = Instant::now();
    let tasks = (0..count).map(|_| {
        let (work, done) = (work.clone(), done.clone());
        async move {
            while begin.elapsed() < time {
                work(next()).await?;
                done.fetch_add(1, Ordering::Relaxed);
            }
            anyhow::Ok(())
        }
    });
    try_join_all(tasks).await?;
    #[expect(clippy::cast_precision_loss, reason = "figures for people")]
    Ok(done.load(Ordering::Relaxed) as f64 / begin.elapsed().as_secs_f64())
}
