//! Bodies that are not in their message: claim checks, whose object holds the bytes.

use std::time::Duration;

use aftercall_common::contract::streams::WEBHOOK_BODIES;
use async_nats::jetstream::{
    self,
    object_store::{GetErrorKind, Object},
};
use bytes::Bytes;
use tokio::io::AsyncReadExt as _;

use crate::domain::cause::Cause;

/// Longest one body may take, with all its pieces.
const FETCH: Duration = Duration::from_secs(20);
/// Largest body read. Above what any gateway takes in by default.
const MAX_BYTES: u64 = 64 * 1024 * 1024;

/// Why there is no body.
#[derive(Clone, Debug)]
pub enum NoBody {
    /// There never will be.
    Dead(Cause),
    /// Perhaps in a while.
    Later(String),
}

/// Reads the object `name`; the client compares its digest.
pub async fn fetch(context: &jetstream::Context, name: &str) -> Result<Bytes, NoBody> {
    let fetching = async {
        let bucket = context.get_object_store(WEBHOOK_BODIES).await.map_err(later)?;
        match bucket.get(name).await {
            Ok(object) => read(object).await,
            Err(error) if matches!(error.kind(), GetErrorKind::NotFound | GetErrorKind::InvalidName) => {
                let detail = format!("its body is not in {WEBHOOK_BODIES}");
                Err(NoBody::Dead(Cause { label: "body_missing", detail }))
            }
            Err(error) => Err(later(error)),
        }
    };
    let late = |_elapsed| Err(NoBody::Later("no answer in time".to_owned()));
    tokio::time::timeout(FETCH, fetching).await.unwrap_or_else(late)
}

async fn read(object: Object) -> Result<Bytes, NoBody> {
    let size = object.info().size;
    if u64::try_from(size).map_or(true, |size| size > MAX_BYTES) {
        let detail = format!("its body has {size} bytes, more than {MAX_BYTES}");
        return Err(NoBody::Dead(Cause { label: "body_too_large", detail }));
    }
    let mut body = Vec::with_capacity(size);
    object.take(MAX_BYTES).read_to_end(&mut body).await.map_err(later)?;
    Ok(body.into())
}

#[expect(clippy::needless_pass_by_value, reason = "for map_err")]
fn later(error: impl ToString) -> NoBody {
    NoBody::Later(error.to_string())
}
