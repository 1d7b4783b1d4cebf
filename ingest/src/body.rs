//! Reading a body, bounded in size, in time, and in the bytes all requests hold together.
//!
//! Invariant: no more than the budget is ever held, and every byte is paid for before it is kept.
//! What was reserved is given back when the [`Body`] is dropped, after the request is decided.

use std::{sync::Arc, time::Duration};

use bytes::{Bytes, BytesMut};
use http_body_util::BodyExt as _;
use hyper::body::Body as HttpBody;
use prometheus_client::metrics::gauge::Gauge;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

/// Bytes are reserved in units of this many, as a semaphore counts to 2^29 at least.
const UNIT: usize = 1024;
/// Largest buffer made on the word of a `Content-Length` alone.
const MAX_PREALLOCATED: usize = 1024 * 1024;

/// Why a body was not read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum BodyError {
    /// More bytes than one request may have.
    TooLarge,
    /// Not complete within the time.
    Timeout,
    /// All requests together hold as much as they may.
    OverBudget,
    /// The sender left, or framed the body wrongly.
    Broken,
}

/// The bytes all requests may hold together.
#[derive(Clone, Debug)]
pub struct Budget {
    units: Arc<Semaphore>,
    held: Gauge,
}

impl Budget {
    /// A budget of `bytes`, rounded up to whole units; `held` shows how many are reserved.
    pub fn new(bytes: usize, held: Gauge) -> Self {
        Self { units: Arc::new(Semaphore::new(bytes.div_ceil(UNIT).min(Semaphore::MAX_PERMITS))), held }
    }

    fn hold(&self) -> Hold {
        Hold { budget: self.clone(), permit: None }
    }
}

/// What one request has reserved.
#[derive(Debug)]
struct Hold {
    budget: Budget,
    permit: Option<OwnedSemaphorePermit>,
}

impl Hold {
    fn units(&self) -> usize {
        self.permit.as_ref().map_or(0, OwnedSemaphorePermit::num_permits)
    }

    /// Reserves up to `bytes` in all; false when the budget does not have them.
    fn raise_to(&mut self, bytes: usize) -> bool {
        let more = bytes.div_ceil(UNIT).saturating_sub(self.units());
        if more == 0 {
            return true;
        }
        let reserved = u32::try_from(more)
            .ok()
            .and_then(|more| self.budget.units.clone().try_acquire_many_owned(more).ok());
        let Some(reserved) = reserved else { return false };
        match &mut self.permit {
            Some(permit) => permit.merge(reserved),
            None => self.permit = Some(reserved),
        }
        self.budget.held.inc_by(gauge(more));
        true
    }
}

impl Drop for Hold {
    fn drop(&mut self) {
        self.budget.held.dec_by(gauge(self.units()));
    }
}

fn gauge(units: usize) -> i64 {
    i64::try_from(units * UNIT).unwrap_or(i64::MAX)
}

/// A complete body, and the part of the budget it takes.
#[derive(Debug)]
pub struct Body {
    /// The bytes received.
    pub bytes: Bytes,
    /// Kept for as long as the bytes are.
    _hold: Hold,
}

#[cfg(test)]
impl Body {
    /// A body outside of any budget, for tests of what comes after reading.
    pub(crate) fn unbudgeted(bytes: &[u8]) -> Self {
        Self { bytes: Bytes::copy_from_slice(bytes), _hold: Budget::new(0, Gauge::default()).hold() }
    }
}

/// Reads `incoming` to its end: at most `limit` bytes, within `time`, from `budget`.
///
/// A body that arrives in one piece, as small ones do, is not copied.
pub async fn read<B>(
    incoming: &mut B,
    limit: usize,
    time: Duration,
    budget: &Budget,
) -> Result<Body, BodyError>
where
    B: HttpBody<Data = Bytes> + Unpin,
{
    if incoming.size_hint().lower() > limit as u64 {
        return Err(BodyError::TooLarge);
    }
    tokio::time::timeout(time, collect(incoming, limit, budget)).await.unwrap_or(Err(BodyError::Timeout))
}

async fn collect<B>(incoming: &mut B, limit: usize, budget: &Budget) -> Result<Body, BodyError>
where
    B: HttpBody<Data = Bytes> + Unpin,
{
    let expected = incoming.size_hint().exact().and_then(|bytes| usize::try_from(bytes).ok()).unwrap_or(0);
    let mut hold = budget.hold();
    let mut first = Bytes::new();
    let mut joined = BytesMut::new();
    while let Some(frame) = incoming.frame().await {
        let Ok(data) = frame.map_err(|_| BodyError::Broken)?.into_data() else { continue }; // Trailers.
        let length = first.len() + joined.len() + data.len();
        if length > limit {
            return Err(BodyError::TooLarge);
        }
        if !hold.raise_to(length) {
            return Err(BodyError::OverBudget);
        }
        if length == data.len() {
            first = data;
            continue;
        }
        if joined.is_empty() {
            joined.reserve(expected.min(MAX_PREALLOCATED).max(length));
            joined.extend_from_slice(&first);
            first = Bytes::new();
        }
        joined.extend_from_slice(&data);
    }
    Ok(Body { bytes: if joined.is_empty() { first } else { joined.freeze() }, _hold: hold })
}

/// Reads and forgets what is left of `incoming`, for at most `time`: closing a socket with unread
/// bytes resets it, and the sender would miss the answer that says why.
pub async fn discard<B>(incoming: &mut B, time: Duration)
where
    B: HttpBody<Data = Bytes> + Unpin,
{
    let rest = async { while let Some(Ok(_)) = incoming.frame().await {} };
    // Out of time: the sender was told by then, or is too slow to care for.
    let _in_time = tokio::time::timeout(time, rest).await;
}

#[cfg(test)]
mod tests;
