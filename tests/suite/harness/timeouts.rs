//! Waits of the tests, and their time limits.
//!
//! A wait ends as soon as its condition holds. The time limit only decides when a test fails. Therefore all
//! limits follow the speed of the machine: a slow or busy machine gets more time, and a test that passes does
//! not take longer.
//!
//! Some tests assert an upper limit that Aftercall promises, such as "within a second". These limits do not
//! follow the speed of the machine. They stand in their tests.

use std::{
    fmt::Debug,
    pin::pin,
    process::{Command, Stdio},
    sync::{Mutex, OnceLock, PoisonError},
    time::{Duration, Instant},
};

/// Time limit of a wait at reference speed. It is far above the time that any wait takes there.
const BASE_TIMEOUT: Duration = Duration::from_mins(1);
/// Interval in which a wait checks its condition.
const POLL_INTERVAL: Duration = Duration::from_millis(10);
/// Process starts of one measurement of the speed, for each core.
const STARTS: usize = 5;
/// Time of one process start at reference speed, while every core starts processes.
const REFERENCE_START: Duration = Duration::from_millis(8);
/// Highest factor by which a limit is lengthened.
const MAX_SLOWDOWN: f64 = 6.0;

/// Time limit of a wait on this machine.
pub fn test_timeout() -> Duration {
    scaled(BASE_TIMEOUT)
}

/// Lengthens `limit`, which suits the reference speed, to the speed of this machine.
pub fn scaled(limit: Duration) -> Duration {
    limit.mul_f64(slowdown())
}

/// `limit` as [`scaled`] lengthens it, in the notation of variables that hold a duration.
pub fn scaled_setting(limit: Duration) -> String {
    format!("{}ms", scaled(limit).as_millis())
}

/// How many times slower than the reference the machine is: the highest value measured so far, at least 1.
/// The first call measures the speed.
fn slowdown() -> f64 {
    *slowest().lock().unwrap_or_else(PoisonError::into_inner)
}

/// Measures the speed again, because other programs may have become busy since the first measurement.
fn measure_again() {
    let measured = measure_slowdown();
    let mut slowest = slowest().lock().unwrap_or_else(PoisonError::into_inner);
    *slowest = slowest.max(measured);
}

fn slowest() -> &'static Mutex<f64> {
    static SLOWEST: OnceLock<Mutex<f64>> = OnceLock::new();
    SLOWEST.get_or_init(|| Mutex::new(measure_slowdown()))
}

/// Starts processes of the tests' binary on all cores and compares the time with the reference. A process
/// start needs processor, memory and disk, as the services do whose readiness the tests wait for.
fn measure_slowdown() -> f64 {
    let began = Instant::now();
    std::thread::scope(|scope| {
        for _ in 0..std::thread::available_parallelism().map_or(1, usize::from) {
            scope.spawn(|| {
                for _ in 0..STARTS {
                    let mut command = Command::new(env!("CARGO_BIN_EXE_aftercall-tests"));
                    command.arg("--help").stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
                    command.status().expect("the tests' binary starts");
                }
            });
        }
    });
    let starts = u32::try_from(STARTS).expect("a few");
    let slowdown = began.elapsed().as_secs_f64() / (REFERENCE_START * starts).as_secs_f64();
    slowdown.clamp(1.0, MAX_SLOWDOWN)
}

/// The deadline of one wait.
pub struct Deadline {
    began: Instant,
    limit: Duration,
    /// Part of `limit`: time that the work needs on any machine.
    more: Duration,
}

impl Deadline {
    /// A deadline [`test_timeout`] from now.
    pub fn start() -> Self {
        Self::start_with(Duration::ZERO)
    }

    /// A deadline [`test_timeout`] and `more` from now.
    fn start_with(more: Duration) -> Self {
        Self { began: Instant::now(), limit: test_timeout() + more, more }
    }

    /// Whether the time is up. Before it says so it measures the speed again, and extends the deadline if the
    /// machine has become slower.
    pub fn has_passed(&mut self) -> bool {
        if self.began.elapsed() < self.limit {
            return false;
        }
        measure_again();
        self.limit = test_timeout() + self.more;
        self.began.elapsed() >= self.limit
    }

    fn left(&self) -> Duration {
        self.limit.saturating_sub(self.began.elapsed())
    }
}

/// Calls `probe` until it returns a value. Panics with `what` at the time limit.
pub async fn until<T>(what: &str, mut probe: impl AsyncFnMut() -> Option<T>) -> T {
    let mut deadline = Deadline::start();
    loop {
        if let Some(found) = probe().await {
            return found;
        }
        assert!(!deadline.has_passed(), "did not happen within {:?}: {what}", deadline.limit);
        tokio::time::sleep(POLL_INTERVAL).await;
    }
}

/// Calls `probe` until it returns `wanted`. Panics with the last value at the time limit.
pub async fn until_equal<T: PartialEq + Debug>(what: &str, wanted: T, mut probe: impl AsyncFnMut() -> T) {
    let mut deadline = Deadline::start();
    loop {
        let found = probe().await;
        if found == wanted {
            return;
        }
        if deadline.has_passed() {
            assert_eq!(found, wanted, "{what}, after {:?}", deadline.limit);
        }
        tokio::time::sleep(POLL_INTERVAL).await;
    }
}

/// Waits for `future`. Panics with `what` at the time limit.
pub async fn within<T>(what: &str, future: impl Future<Output = T>) -> T {
    within_more(what, Duration::ZERO, future).await
}

/// [`within`] for a future that may take `more` than the usual time.
pub async fn within_more<T>(what: &str, more: Duration, future: impl Future<Output = T>) -> T {
    let (mut future, mut deadline) = (pin!(future), Deadline::start_with(more));
    loop {
        if let Ok(value) = tokio::time::timeout(deadline.left(), future.as_mut()).await {
            return value;
        }
        assert!(!deadline.has_passed(), "did not happen within {:?}: {what}", deadline.limit);
    }
}
