//! A batch of patches as update statements.

use jiff::Timestamp;

use super::{
    command::{self, Kind},
    connection::Store,
    error::{Failure, StoreError},
    statement::{general, has_quick, statement},
};
use crate::domain::call::CallPatch;

/// See [`super::Calls::update`].
pub(super) async fn update(
    store: &Store,
    patches: &[&CallPatch],
) -> Result<Vec<(usize, Failure)>, StoreError> {
    let now = Timestamp::now();
    let statements = patches.iter().map(|patch| statement(patch, now));
    let failures = command::run(store, Kind::Update, statements).await?;
    let did_not_fit =
        |(n, failure): &(usize, Failure)| *failure == Failure::Duplicate && has_quick(patches[*n]);
    let (again, mut failures): (Vec<_>, Vec<_>) = failures.into_iter().partition(did_not_fit);
    let statements = again.iter().map(|(n, _)| general(patches[*n], now));
    for (position, failure) in command::run(store, Kind::Update, statements).await? {
        failures.push((again[position].0, failure));
    }
    Ok(failures)
}
