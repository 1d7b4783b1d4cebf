//! Reads bodies within limits of size and time, and within a [`Budget`] for all bodies together.
//!
//! Invariants:
//! - Every byte is reserved in the budget before it is kept.
//! - Beyond the regular time, a body keeps a minimum rate. A body within its regular time, or a newer one beyond it, may
//!   displace it, but not to decompress a body.
//! - The reservation ends when the [`Body`] is dropped. Bytes that were taken out of it are not counted after that.

mod budget;
pub mod encoding;
pub(crate) mod pieces;
mod readers;

use std::time::Duration;

use aftercall_common::http::ProgressDeadline;
use bytes::Bytes;
use http_body_util::BodyExt as _;
use hyper::body::{Body as HttpBody, Frame};
use tokio::time::{Instant, timeout_at};

pub use self::budget::{Budget, Budgets, Trust};
use self::{budget::Reservation, readers::Reader};

/// Why a body was not read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum BodyError {
    /// The body is larger than `limit` bytes.
    TooLarge {
        /// Largest accepted size, in bytes.
        limit: usize,
    },
    /// The body was not complete in time, or fell below the minimum rate.
    Timeout,
    /// The budget for all bodies is used up, or another body displaced this one.
    OverBudget,
    /// The sender disconnected, or the framing of the body is invalid.
    Broken,
}

/// A complete body, with its reservation in the budget.
#[derive(Debug, Default)]
pub struct Body {
    /// The bytes received. A body that fits into a message is in one piece, a larger one in several.
    pieces: Vec<Bytes>,
    _reservation: Option<Reservation>,
}

impl Body {
    /// The pieces, in order.
    pub fn pieces(&self) -> &[Bytes] {
        &self.pieces
    }

    /// The size in bytes.
    pub fn len(&self) -> usize {
        self.pieces.iter().map(Bytes::len).sum()
    }

    /// Whether the body has no bytes.
    pub fn is_empty(&self) -> bool {
        self.pieces.iter().all(Bytes::is_empty)
    }

    /// The bytes in one piece. Copies a body in several pieces.
    pub fn whole(&self) -> Bytes {
        match &self.pieces[..] {
            [] => Bytes::new(),
            [only] => only.clone(),
            pieces => pieces.concat().into(),
        }
    }

    /// A body of `pieces`, with its reservation.
    pub(crate) fn reserved(pieces: Vec<Bytes>, reservation: Reservation) -> Self {
        Self { pieces, _reservation: Some(reservation) }
    }

    /// A body outside of the budget: a form from a URL, or a body from the spool.
    pub fn unbudgeted(bytes: Bytes) -> Self {
        Self { pieces: vec![bytes], _reservation: None }
    }
}

/// The limits of one body, and how it is kept.
#[derive(Clone, Copy, Debug)]
pub struct Limits {
    /// Largest size, in bytes.
    pub max_bytes: usize,
    /// Largest size that is put into one piece, in bytes. A larger body stays in the pieces in which it
    /// arrived, because joining them needs a second copy.
    pub max_joined_bytes: usize,
    /// Longest time until the body is complete. A budget with overtime lets the body go on after it, while it keeps the
    /// minimum rate and never pauses for longer than this time.
    pub timeout: Duration,
}

/// Reads `incoming` to its end, within `limits` and `budget`. A body that arrives in one piece, as small
/// ones do, is not copied.
///
/// # Errors
/// See [`BodyError`].
pub async fn read<B>(incoming: &mut B, limits: Limits, budget: &Budget) -> Result<Body, BodyError>
where
    B: HttpBody<Data = Bytes> + Unpin,
{
    if incoming.size_hint().lower() > limits.max_bytes as u64 {
        return Err(BodyError::TooLarge { limit: limits.max_bytes });
    }
    let reader = budget.readers.as_ref().map(|readers| readers.enter(0));
    let collected = collect(incoming, limits, budget, reader.as_ref());
    match &reader {
        None => collected.await,
        Some(reader) => tokio::select! {
            outcome = collected => outcome,
            () = reader.displaced() => Err(BodyError::OverBudget),
        },
    }
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
    let (mut reservation, mut length, mut pieces) = (budget.reservation(), 0, Vec::new());
    let (mut deadline, mut overtime) = (ProgressDeadline::new(limits.timeout, Instant::now()), None);
    while let Some(frame) =
        next_frame(incoming, &deadline, budget, reservation.units(), &mut overtime).await?
    {
        let Ok(data) = frame.into_data() else { continue }; // Trailers.
        length += data.len();
        deadline.receive(data.len(), Instant::now());
        if length > limits.max_bytes {
            return Err(BodyError::TooLarge { limit: limits.max_bytes });
        }
        if !reservation.raise_to(length) {
            // Boxed, because few bodies get here. Without the box, the future of every request would be as
            // large as this one.
            let candidates = match (overtime.as_ref().or(reader), &budget.overtime) {
                (Some(reader), _) => reader.older(),
                (None, Some(readers)) => readers.all(),
                (None, None) => return Err(BodyError::OverBudget),
            };
            let displaced = Box::pin(reservation.displace_to(length, candidates)).await;
            if !displaced {
                return Err(BodyError::OverBudget);
            }
        }
        if let Some(reader) = overtime.as_ref().or(reader) {
            reader.hold(reservation.units());
        }
        if !data.is_empty() {
            pieces::push(&mut pieces, data);
        }
    }
    Ok(Body::reserved(pieces::join(pieces, length, limits.max_joined_bytes), reservation))
}

/// Waits for the next frame of `incoming`, until the its `deadline`. `overtime` is the place of the
/// body, which holds `units` of the budget, among those beyond the regular time.
async fn next_frame<B>(
    incoming: &mut B,
    deadline: &ProgressDeadline,
    budget: &Budget,
    units: usize,
    overtime: &mut Option<Reader>,
) -> Result<Option<Frame<Bytes>>, BodyError>
where
    B: HttpBody<Data = Bytes> + Unpin,
{
    if overtime.is_none()
        && let Ok(frame) = timeout_at(deadline.regular_end(), incoming.frame()).await
    {
        return frame.transpose().map_err(|_error| BodyError::Broken);
    }
    let Some(readers) = &budget.overtime else { return Err(BodyError::Timeout) };
    let reader = overtime.get_or_insert_with(|| readers.enter(units));
    // Boxed, because few bodies get here.
    Box::pin(async {
        tokio::select! {
            frame = timeout_at(deadline.end(), incoming.frame()) => match frame {
                Ok(frame) => frame.transpose().map_err(|_error| BodyError::Broken),
                Err(_elapsed) => Err(BodyError::Timeout),
            },
            () = reader.displaced() => Err(BodyError::OverBudget),
        }
    })
    .await
}

/// Reads and drops the rest of `incoming`, for at most `time` and about `max_bytes`. A socket that
/// is closed with unread bytes is reset, and a sender that still writes may not see the answer.
pub async fn discard<B>(incoming: &mut B, time: Duration, max_bytes: usize)
where
    B: HttpBody<Data = Bytes> + Unpin,
{
    let rest = async {
        let mut discarded = 0;
        while discarded < max_bytes
            && let Some(Ok(frame)) = incoming.frame().await
        {
            discarded += frame.data_ref().map_or(0, Bytes::len);
        }
    };
    // After the time-out, the sender has the answer or is too slow.
    let _in_time = tokio::time::timeout(time, rest).await;
}

#[cfg(test)]
mod tests;
