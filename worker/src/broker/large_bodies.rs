//! Bodies that are too large for a message. The object store `WEBHOOK_BODIES` holds them, and the message
//! names the object.

use std::time::Duration;

use aftercall_common::contract::{body_limit, streams::WEBHOOK_BODIES};
use async_nats::jetstream::{
    self,
    object_store::{GetErrorKind, Object},
};
use bytes::Bytes;
use tokio::io::AsyncReadExt as _;

use crate::domain::{cause::Cause, reason::Reason};

/// Longest time for reading one body. A body of the largest size needs 7 MiB a second.
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
    let fetching = async {
        let bucket = context.get_object_store(WEBHOOK_BODIES).await.map_err(temporary)?;
        match bucket.get(name).await {
            Ok(object) => read(object).await,
            Err(error) if matches!(error.kind(), GetErrorKind::NotFound | GetErrorKind::InvalidName) => {
                let detail = format!("its body is not in {WEBHOOK_BODIES}");
                Err(BodyError::Permanent(Cause { reason: Reason::BodyMissing, detail }))
            }
            Err(error) => Err(temporary(error)),
        }
    };
    let late = |_elapsed| Err(temporary("no answer in time"));
    tokio::time::timeout(FETCH_TIMEOUT, fetching).await.unwrap_or_else(late)
}

async fn read(object: Object) -> Result<Bytes, BodyError> {
    let size = object.info().size;
    if u64::try_from(size).map_or(true, |size| size > MAX_BYTES) {
        let detail = format!("its body has {size} bytes, more than {MAX_BYTES}");
        return Err(BodyError::Permanent(Cause { reason: Reason::BodyTooLarge, detail }));
    }
    let mut body = Vec::with_capacity(size);
    object.take(MAX_BYTES).read_to_end(&mut body).await.map_err(temporary)?;
    Ok(body.into())
}

#[expect(clippy::needless_pass_by_value, reason = "for map_err")]
fn temporary(error: impl ToString) -> BodyError {
    BodyError::Temporary(error.to_string())
}
