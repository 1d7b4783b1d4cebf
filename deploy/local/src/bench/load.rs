//! Posts webhooks over keep-alive connections, each as soon as the one before is answered, and times the
//! answers. Requests are written out here: a client library would use as much of the machine as what is
//! measured.

use std::{
    net::SocketAddr,
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

use super::measure::{self, Times};

/// Digits of the number that makes every body another.
const DIGITS: usize = 12;
/// What the id of its call begins with.
const CALL: &str = "live_";
/// Longest one answer is waited for.
const ANSWER: Duration = Duration::from_secs(30);

/// What to post.
#[derive(Clone, Copy, Debug)]
pub struct Load {
    pub connections: usize,
    /// Bytes of one body.
    pub bytes: usize,
    pub time: Duration,
}

/// What came of it.
#[derive(Debug)]
pub struct Outcome {
    pub per_second: f64,
    /// Milliseconds until the answer.
    pub p50: f64,
    pub p99: f64,
    /// Microseconds of processor time that the server used for each.
    pub cpu: f64,
    /// MiB that it held at the end.
    pub resident: f64,
}

/// A request, the number of which is to be filled in.
struct Template {
    bytes: Vec<u8>,
    number: usize,
}

impl Template {
    fn new(address: SocketAddr, bytes: usize) -> Self {
        let head = format!(r#"{{"event_type":"call.ringing","call_id":"{CALL}"#);
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

/// Numbers of this process that were not used yet.
static NEXT: AtomicU64 = AtomicU64::new(0);

fn next() -> u64 {
    NEXT.fetch_add(1, Ordering::Relaxed)
}

/// Warms `server` up and measures it.
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

/// Whether `address` answers a webhook with 200.
pub async fn is_answered(address: SocketAddr) -> bool {
    post(Load { connections: 1, bytes: 300, time: Duration::from_millis(1) }, address).await.is_ok()
}

/// Posts one webhook over a connection of its own; its number.
pub async fn one(address: SocketAddr) -> anyhow::Result<u64> {
    let number = next();
    Client::connect(address, 300).await?.post(number).await?;
    Ok(number)
}

/// The call that the webhook with this number is about.
pub fn call_id(number: u64) -> String {
    format!("{CALL}{number:0DIGITS$}")
}

/// How long the answers took.
async fn post(load: Load, address: SocketAddr) -> anyhow::Result<Times> {
    apart(async move || {
        let end = Instant::now() + load.time;
        merged((0..load.connections).map(|_| client(address, load.bytes, end))).await
    })
    .await
}

/// Does `work` on a thread of its own, as a load on another machine would be done.
async fn apart<F: Future<Output = anyhow::Result<Times>>>(
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

/// What all clients measure.
async fn merged<F: Future<Output = anyhow::Result<Times>>>(
    clients: impl Iterator<Item = F>,
) -> anyhow::Result<Times> {
    let mut all = Times::new()?;
    for one in try_join_all(clients).await? {
        all.add(one)?;
    }
    Ok(all)
}

/// A keep-alive connection, and what is sent over it.
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

    /// Posts the webhook with this number, which must be answered 200.
    async fn post(&mut self, number: u64) -> anyhow::Result<()> {
        self.template.set(number);
        self.socket.write_all(&self.template.bytes).await?;
        let answer = read(&mut self.socket, &mut self.answer);
        tokio::time::timeout(ANSWER, answer).await.context("no answer")?
    }
}

async fn client(address: SocketAddr, bytes: usize, end: Instant) -> anyhow::Result<Times> {
    let (mut client, mut times) = (Client::connect(address, bytes).await?, Times::new()?);
    while Instant::now() < end {
        let (number, begin) = (next(), Instant::now());
        client.post(number).await?;
        times.record(begin.elapsed())?;
    }
    Ok(times)
}

/// Posts `rate` webhooks a second over so many connections, however long the answers take, and tells `posted` the
/// number of each before. How long each took from when it was due to its answer.
pub async fn paced(
    address: SocketAddr,
    connections: u32,
    rate: u32,
    time: Duration,
    posted: impl Fn(u64) + Send + 'static,
) -> anyhow::Result<Times> {
    apart(async move || {
        let (begin, step) = (Instant::now(), Duration::from_secs(1) / rate);
        let client = |n| paced_client(address, begin + step * n, step * connections, begin + time, &posted);
        merged((1..=connections).map(client)).await
    })
    .await
}

/// One of them: posts when it is `due`, and every `step` from then on until `end`.
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

/// Reads one answer, which must be a 200.
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

/// Makes `count` clients work at a time until `time` is over; how often they did per second.
pub async fn at_once<F: Future<Output = anyhow::Result<()>> + Send + 'static>(
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
