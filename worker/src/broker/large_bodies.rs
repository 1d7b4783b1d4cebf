//! Bodies that are too large for a message. The object store `WEBHOOK_BODIES` holds them, and the message
//! names the object.

use std::time::Duration;

use aftercall_common::{
    contract::{body_limit, streams::WEBHOOK_BODIES},
    http::ProgressDeadline,
};
use async_nats::jetstream::{
    self,
    object_store::{GetErrorKind, Object, ObjectInfo},
    stream::LastRawMessageErrorKind,
};
use base64::{Engine as _, prelude::BASE64_URL_SAFE as URL_SAFE};
use bytes::Bytes;
use tokio::{
    io::{AsyncRead, AsyncReadExt as _},
    time::{Instant, timeout_at},
};

use crate::domain::{cause::Cause, reason::Reason};

/// Longest time for reading one body, and longest pause in it. A large body may take longer: see [`ProgressDeadline`].
const FETCH_TIMEOUT: Duration = Duration::from_secs(20);
/// Largest body that is read. No gateway accepts a larger one.
const MAX_BYTES: u64 = body_limit::MAX_BYTES as u64;

/// Why a body is not available.
#[derive(Clone, Debug)]
pub enum BodyError {
    /// The body will never be available.
    Permanent(Cause),
    /// The body may be available later. Holds the reason in a sentence.
    Temporary(String),
}

/// Reads the object `name`. The client library checks the digest.
pub async fn fetch(context: &jetstream::Context, name: &str) -> Result<Bytes, BodyError> {
    let deadline = ProgressDeadline::new(FETCH_TIMEOUT, Instant::now());
    let opened = timeout_at(deadline.end(), open(context, name)).await.map_err(|_elapsed| late())??;
    let size = opened.info().size;
    if u64::try_from(size).map_or(true, |size| size > MAX_BYTES) {
        let detail = format!("its body has {size} bytes, more than {MAX_BYTES}");
        return Err(BodyError::Permanent(Cause { reason: Reason::BodyTooLarge, detail }));
    }
    read(opened.take(MAX_BYTES), size, deadline).await
}

async fn open(context: &jetstream::Context, name: &str) -> Result<Object, BodyError> {
    let bucket = context.get_object_store(WEBHOOK_BODIES).await.map_err(temporary)?;
    match bucket.get(name).await {
        Ok(object) => Ok(object),
        Err(error) if error.kind() == GetErrorKind::NotFound && is_stored(context, name).await? => {
            Err(temporary("the replica that answered does not have the body yet"))
        }
        Err(error) if matches!(error.kind(), GetErrorKind::NotFound | GetErrorKind::InvalidName) => {
            let detail = format!("its body is not in {WEBHOOK_BODIES}");
            Err(BodyError::Permanent(Cause { reason: Reason::BodyMissing, detail }))
        }
        Err(error) => Err(temporary(error)),
    }
}

/// Whether the leader has the object `name`. A replica that lags answers that it does not exist.
async fn is_stored(context: &jetstream::Context, name: &str) -> Result<bool, BodyError> {
    let stream = context.get_stream_no_info(format!("OBJ_{WEBHOOK_BODIES}")).await.map_err(temporary)?;
    let subject = format!("$O.{WEBHOOK_BODIES}.M.{}", URL_SAFE.encode(name));
    match stream.get_last_raw_message_by_subject(&subject).await {
        // The last message of an object that was deleted is a marker, which says so.
        Ok(found) => Ok(serde_json::from_slice(&found.payload).is_ok_and(|info: ObjectInfo| !info.deleted)),
        Err(error) if error.kind() == LastRawMessageErrorKind::NoMessageFound => Ok(false),
        Err(error) => Err(temporary(error)),
    }
}

/// Reads about `size` bytes, until the `deadline`.
async fn read(
    mut source: impl AsyncRead + Unpin,
    size: usize,
    mut deadline: ProgressDeadline,
) -> Result<Bytes, BodyError> {
    let mut body = Vec::with_capacity(size);
    loop {
        let reading = timeout_at(deadline.end(), source.read_buf(&mut body));
        match reading.await.map_err(|_elapsed| late())?.map_err(temporary)? {
            0 => return Ok(body.into()),
            count => deadline.receive(count, Instant::now()),
        }
    }
}

fn late() -> BodyError {
    temporary("no answer in time")
}

#[expect(clippy::needless_pass_by_value, reason = "for map_err")]
fn temporary(error: impl ToString) -> BodyError {
    BodyError::Temporary(error.to_string())
}

#[cfg(test)]
mod tests {
    use tokio::io::AsyncWriteExt as _;

    use super::*;

    /// Reads 60 pieces of `bytes`, of which one comes in each second.
    async fn read_slowly(bytes: usize) -> Result<usize, BodyError> {
        let (mut sender, receiver) = tokio::io::duplex(bytes);
        let tasks = tokio_util::task::TaskTracker::new();
        let sending = tasks.spawn(async move {
            for _ in 0..60 {
                tokio::time::sleep(Duration::from_secs(1)).await;
                if sender.write_all(&vec![0; bytes]).await.is_err() {
                    return;
                }
            }
        });
        let body = read(receiver, 0, ProgressDeadline::new(FETCH_TIMEOUT, Instant::now())).await;
        sending.abort();
        body.map(|body| body.len())
    }

    #[tokio::test(start_paused = true)]
    async fn a_body_may_take_long_while_it_keeps_the_minimum_rate() {
        let fast = 2 * usize::try_from(aftercall_common::http::MIN_RATE).unwrap();
        assert_eq!(read_slowly(fast).await.unwrap(), 60 * fast);
        assert!(
            matches!(read_slowly(1000).await, Err(BodyError::Temporary(why)) if why == "no answer in time")
        );
    }
}
