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
use hdrhistogram::Histogram;
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::TcpStream,
};

use super::measure;

/// Digits of the number that makes every body another.
const DIGITS: usize = 12;
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
        let head = r#"{"event_type":"call.ringing","call_id":"bench_"#;
        let middle =
            r#"","conversation_id":"conv_bench","status":"ringing","to_number":"+12025550123","note":""#;
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

/// Warms `server` up and measures it.
pub async fn measure(load: Load, address: SocketAddr, pid: u32) -> anyhow::Result<Outcome> {
    post(Load { time: Duration::from_secs(1), ..load }, address).await?;
    let (cpu, begin) = (measure::cpu_seconds(pid)?, Instant::now());
    let histogram = post(load, address).await?;
    let took = begin.elapsed().as_secs_f64();
    let used = measure::cpu_seconds(pid)? - cpu;
    #[expect(clippy::cast_precision_loss, reason = "figures for people")]
    let (count, ms) = (histogram.len() as f64, |quantile| histogram.value_at_quantile(quantile) as f64 / 1e3);
    Ok(Outcome {
        per_second: count / took,
        p50: ms(0.5),
        p99: ms(0.99),
        cpu: used * 1e6 / count,
        resident: measure::resident_mib(pid)?,
    })
}

/// Whether `address` answers a webhook with 200.
pub async fn is_answered(address: SocketAddr) -> bool {
    post(Load { connections: 1, bytes: 300, time: Duration::from_millis(1) }, address).await.is_ok()
}

/// The microseconds that the answers took.
async fn post(load: Load, address: SocketAddr) -> anyhow::Result<Histogram<u64>> {
    apart(async move || {
        let end = Instant::now() + load.time;
        merged((0..load.connections).map(|_| client(address, load.bytes, end))).await
    })
    .await
}

/// Does `work` on a thread of its own, as a load on another machine would be done.
async fn apart<F: Future<Output = anyhow::Result<Histogram<u64>>>>(
    work: impl FnOnce() -> F + Send + 'static,
) -> anyhow::Result<Histogram<u64>> {
    let (done, answer) = tokio::sync::oneshot::channel();
    std::thread::spawn(move || {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
        let outcome = runtime.context("cannot start a runtime").and_then(|runtime| runtime.block_on(work()));
        let _left = done.send(outcome);
    });
    answer.await.context("the load ended early")?
}

/// What all clients measure.
async fn merged<F: Future<Output = anyhow::Result<Histogram<u64>>>>(
    clients: impl Iterator<Item = F>,
) -> anyhow::Result<Histogram<u64>> {
    let mut all = Histogram::new(3)?;
    for one in try_join_all(clients).await? {
        all += one;
    }
    Ok(all)
}

async fn client(address: SocketAddr, bytes: usize, end: Instant) -> anyhow::Result<Histogram<u64>> {
    let mut template = Template::new(address, bytes);
    let mut socket = TcpStream::connect(address).await.context("cannot connect")?;
    socket.set_nodelay(true)?;
    let mut histogram = Histogram::new(3)?;
    let mut answer = vec![0; 4096];
    while Instant::now() < end {
        template.set(NEXT.fetch_add(1, Ordering::Relaxed));
        let begin = Instant::now();
        socket.write_all(&template.bytes).await?;
        tokio::time::timeout(ANSWER, read(&mut socket, &mut answer)).await.context("no answer")??;
        histogram.record(u64::try_from(begin.elapsed().as_micros()).unwrap_or(u64::MAX))?;
    }
    Ok(histogram)
}

/// Posts `rate` webhooks a second over so many connections, however long the answers take. The microseconds from
/// when each was due to its answer.
pub async fn paced(
    address: SocketAddr,
    connections: u32,
    rate: u32,
    time: Duration,
) -> anyhow::Result<Histogram<u64>> {
    apart(async move || {
        let (begin, step) = (Instant::now(), Duration::from_secs(1) / rate);
        let client = |n| paced_client(address, begin + step * n, step * connections, begin + time);
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
) -> anyhow::Result<Histogram<u64>> {
    let mut template = Template::new(address, 300);
    let mut socket = TcpStream::connect(address).await.context("cannot connect")?;
    socket.set_nodelay(true)?;
    let mut histogram = Histogram::new(3)?;
    let mut answer = vec![0; 4096];
    while due < end {
        tokio::time::sleep_until(due.into()).await;
        template.set(NEXT.fetch_add(1, Ordering::Relaxed));
        socket.write_all(&template.bytes).await?;
        tokio::time::timeout(ANSWER, read(&mut socket, &mut answer)).await.context("no answer")??;
        histogram.record(u64::try_from(due.elapsed().as_micros()).unwrap_or(u64::MAX))?;
        due += step;
    }
    Ok(histogram)
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
                work(NEXT.fetch_add(1, Ordering::Relaxed)).await?;
                done.fetch_add(1, Ordering::Relaxed);
            }
            anyhow::Ok(())
        }
    });
    try_join_all(tasks).await?;
    #[expect(clippy::cast_precision_loss, reason = "figures for people")]
    Ok(done.load(Ordering::Relaxed) as f64 / begin.elapsed().as_secs_f64())
}
