//! Reads bodies, bounded in size, in time, and in the bytes that all requests of one [`Trust`] hold together.
//!
//! Invariants:
//! - A request holds no more than its budget has left; every byte is reserved before it is kept.
//! - Requests of one trust never take the room of another: an unverified sender cannot crowd out the provider.
//! - The reservation ends when the [`Body`] is dropped, after the request is decided.

pub mod encoding;
pub(crate) mod pieces;
mod readers;

use std::{sync::Arc, time::Duration};

use bytes::Bytes;
use http_body_util::BodyExt as _;
use hyper::body::Body as HttpBody;
use prometheus_client::metrics::gauge::Gauge;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use self::readers::{Reader, Readers};

/// Bytes are reserved in units of this many, as a semaphore counts to 2^29 at least.
const UNIT: usize = 1024;
/// A piece below this is joined with its neighbours once there are enough of them.
const SMALL: usize = 16 * 1024;
const MOST_SMALL: usize = 64;
/// Time in which a body that is displaced gives its bytes back, before another is displaced too.
const DISPLACED_WITHIN: Duration = Duration::from_millis(500);

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

/// What is known of a sender before its body is read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Trust {
    /// Its address is allowed, and where signatures are required, a signature is there, well formed and in time.
    Provider,
    /// Any address, and a well-formed signature: callbacks of Twilio, which has no fixed addresses.
    Unverified,
    /// An address that is not allowed. Its body is read only to tell the provider at a new address from noise.
    Stranger,
    /// A caller of the API, authorized before its body is read.
    Api,
}

/// Bytes that all callbacks of unverified senders hold together: 64 bodies of the largest size, 1 KiB is usual.
const UNVERIFIED_BYTES: usize = 4 * 1024 * 1024;
/// Bodies of unverified senders that are read at one time. A body that stalls holds few bytes, but a connection.
const UNVERIFIED_BODIES: usize = 512;
/// Bytes that all bodies of strangers hold together.
const STRANGER_BYTES: usize = 1024 * 1024;
/// Bodies of strangers that are read at one time.
const STRANGER_BODIES: usize = 64;
/// Bytes that all requests of the API hold together.
const API_BYTES: usize = 4 * 1024 * 1024;

/// One [`Budget`] for each [`Trust`].
#[derive(Clone, Debug)]
pub struct Budgets {
    provider: Budget,
    unverified: Budget,
    stranger: Budget,
    api: Budget,
}

impl Budgets {
    /// The provider may hold `provider` bytes, the others small fixed amounts beside it. `held` shows what all
    /// of them hold together.
    pub fn new(provider: usize, held: &Gauge) -> Self {
        Self {
            provider: Budget::new(provider, held.clone()),
            unverified: Budget::displacing(UNVERIFIED_BYTES, UNVERIFIED_BODIES, held.clone()),
            stranger: Budget::displacing(STRANGER_BYTES, STRANGER_BODIES, held.clone()),
            api: Budget::new(API_BYTES, held.clone()),
        }
    }

    /// The budget for senders of this `trust`.
    pub fn of(&self, trust: Trust) -> &Budget {
        match trust {
            Trust::Provider => &self.provider,
            Trust::Unverified => &self.unverified,
            Trust::Stranger => &self.stranger,
            Trust::Api => &self.api,
        }
    }
}

/// The bytes that requests of one trust may hold together.
#[derive(Clone, Debug)]
pub struct Budget {
    units: Arc<Semaphore>,
    /// The bodies being read, where a new one displaces the oldest. `None`: it is refused instead.
    readers: Option<Arc<Readers>>,
    held: Gauge,
}

impl Budget {
    /// A budget of `bytes`, rounded up to whole units; `held` shows how many bytes are reserved.
    pub fn new(bytes: usize, held: Gauge) -> Self {
        let units = Arc::new(Semaphore::new(bytes.div_ceil(UNIT).min(Semaphore::MAX_PERMITS)));
        Self { units, readers: None, held }
    }

    /// One of which at most `most` bodies are read at one time. A body beyond that, or beyond the bytes, displaces
    /// the one that has been read for longest: a body that is complete at once does not suffer from those that
    /// stall.
    pub fn displacing(bytes: usize, most: usize, held: Gauge) -> Self {
        Self { readers: Some(Arc::new(Readers::new(most))), ..Self::new(bytes, held) }
    }

    /// A reservation without bytes yet.
    pub(crate) fn hold(&self) -> Hold {
        Hold { budget: self.clone(), permit: None }
    }
}

/// What one request has reserved.
#[derive(Debug)]
pub(crate) struct Hold {
    budget: Budget,
    permit: Option<OwnedSemaphorePermit>,
}

impl Hold {
    fn units(&self) -> usize {
        self.permit.as_ref().map_or(0, OwnedSemaphorePermit::num_permits)
    }

    /// Reserves up to `bytes` in all; false when the budget does not have them.
    pub(crate) fn raise_to(&mut self, bytes: usize) -> bool {
        let more = bytes.div_ceil(UNIT).saturating_sub(self.units());
        if more == 0 {
            return true;
        }
        let reserved = u32::try_from(more)
            .ok()
            .and_then(|more| self.budget.units.clone().try_acquire_many_owned(more).ok());
        reserved.map(|reserved| self.add(reserved)).is_some()
    }

    /// The same, where bodies that have been read for longer than that of `reader` make room.
    async fn displace_to(&mut self, bytes: usize, reader: &Reader) -> bool {
        let more = bytes.div_ceil(UNIT).saturating_sub(self.units());
        let Ok(more) = u32::try_from(more) else { return false };
        while reader.displace_oldest() {
            let reserved = self.budget.units.clone().acquire_many_owned(more);
            if let Ok(Ok(reserved)) = tokio::time::timeout(DISPLACED_WITHIN, reserved).await {
                self.add(reserved);
                return true;
            }
        }
        false
    }

    fn add(&mut self, reserved: OwnedSemaphorePermit) {
        self.budget.held.inc_by(gauge(reserved.num_permits()));
        match &mut self.permit {
            Some(permit) => permit.merge(reserved),
            None => self.permit = Some(reserved),
        }
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

    /// A body made of `pieces`, for which `hold` has reserved room.
    pub(crate) fn held(pieces: Vec<Bytes>, hold: Hold) -> Self {
        Self { pieces, _hold: Some(hold) }
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
    let reader = budget.readers.as_ref().map(Readers::enter);
    let collected = tokio::time::timeout(limits.time, collect(incoming, limits, budget, reader.as_ref()));
    let outcome = match &reader {
        None => collected.await,
        Some(reader) => tokio::select! {
            outcome = collected => outcome,
            () = reader.displaced() => return Err(BodyError::OverBudget),
        },
    };
    outcome.unwrap_or(Err(BodyError::Timeout))
}

async fn collect<B>(
    incoming: &mut B,
    limits: Limits,
    budget: &Budget,
    reader: Option<&Reader>,
) -> Result<Body, BodyError>
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
            // Boxed: few bodies need it, and all would have the memory for it.
            let displaced = match reader {
                Some(reader) => Box::pin(hold.displace_to(length, reader)).await,
                None => false,
            };
            if !displaced {
                return Err(BodyError::OverBudget);
            }
        }
        if !data.is_empty() {
            keep(&mut pieces, data);
        }
    }
    Ok(Body::held(join(pieces, length, limits.joined), hold))
}

/// The pieces in one, if they have no more than `joined` bytes together.
pub(crate) fn join(pieces: Vec<Bytes>, length: usize, joined: usize) -> Vec<Bytes> {
    if pieces.len() > 1 && length <= joined { vec![pieces.concat().into()] } else { pieces }
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
