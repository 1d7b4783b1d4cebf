//! Reading a body, bounded in size, in time, and in the bytes all requests hold together.
//!
//! Invariant: no more than the budget is ever held, and every byte is paid for before it is kept.
//! What was reserved is given back when the [`Body`] is dropped, after the request is decided.

use std::{sync::Arc, time::Duration};

use bytes::Bytes;
use http_body_util::BodyExt as _;
use hyper::body::Body as HttpBody;
use prometheus_client::metrics::gauge::Gauge;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

/// Bytes are reserved in units of this many, as a semaphore counts to 2^29 at least.
const UNIT: usize = 1024;
/// A piece below this is joined with its neighbours once there are enough of them.
const SMALL: usize = 16 * 1024;
const MOST_SMALL: usize = 64;

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
#[derive(Debug, Default)]
pub struct Body {
    /// The bytes received: in one piece, or, beyond the length that one message takes, in several.
    pieces: Vec<Bytes>,
    /// Kept for as long as the bytes are.
    _hold: Option<Hold>,
}

impl Body {
    /// The bytes, in their order.
    pub fn pieces(&self) -> &[Bytes] {
        &self.pieces
    }

    /// How many bytes there are.
    pub fn len(&self) -> usize {
        self.pieces.iter().map(Bytes::len).sum()
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.pieces.iter().all(Bytes::is_empty)
    }

    /// The bytes in one piece. Of a body in several pieces this is a copy.
    pub fn whole(&self) -> Bytes {
        match &self.pieces[..] {
            [] => Bytes::new(),
            [only] => only.clone(),
            pieces => pieces.concat().into(),
        }
    }

    /// A body that no request brought, outside of the budget.
    pub fn unbudgeted(bytes: Bytes) -> Self {
        Self { pieces: vec![bytes], _hold: None }
    }
}

/// How much of a body is read, and how it is kept.
#[derive(Clone, Copy, Debug)]
pub struct Limits {
    /// Most bytes taken.
    pub most: usize,
    /// Most bytes put into one piece. What is longer stays in the pieces it came in, so that there is
    /// never a second copy of it.
    pub joined: usize,
    /// Time to arrive.
    pub time: Duration,
}

/// Reads `incoming` to its end, within `limits`, from `budget`.
///
/// A body that arrives in one piece, as small ones do, is not copied.
pub async fn read<B>(incoming: &mut B, limits: Limits, budget: &Budget) -> Result<Body, BodyError>
where
    B: HttpBody<Data = Bytes> + Unpin,
{
    if incoming.size_hint().lower() > limits.most as u64 {
        return Err(BodyError::TooLarge);
    }
    let collected = tokio::time::timeout(limits.time, collect(incoming, limits, budget));
    collected.await.unwrap_or(Err(BodyError::Timeout))
}

async fn collect<B>(incoming: &mut B, limits: Limits, budget: &Budget) -> Result<Body, BodyError>
where
    B: HttpBody<Data = Bytes> + Unpin,
{
    let (mut hold, mut length, mut pieces) = (budget.hold(), 0, Vec::new());
    while let Some(frame) = incoming.frame().await {
        let Ok(data) = frame.map_err(|_| BodyError::Broken)?.into_data() else { continue }; // Trailers.
        length += data.len();
        if length > limits.most {
            return Err(BodyError::TooLarge);
        }
        if !hold.raise_to(length) {
            return Err(BodyError::OverBudget);
        }
        if !data.is_empty() {
            keep(&mut pieces, data);
        }
    }
    if pieces.len() > 1 && length <= limits.joined {
        pieces = vec![pieces.concat().into()];
    }
    Ok(Body { pieces, _hold: Some(hold) })
}

/// Adds `data`, in a buffer of its own if it is small: a piece keeps the whole buffer it was read into,
/// and many small ones would keep far more than they hold.
fn keep(pieces: &mut Vec<Bytes>, data: Bytes) {
    pieces.push(data);
    let tail = pieces.iter().rev().take_while(|piece| piece.len() < SMALL).count();
    if tail >= MOST_SMALL {
        let joined = pieces.split_off(pieces.len() - tail).concat();
        pieces.push(joined.into());
    }
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
