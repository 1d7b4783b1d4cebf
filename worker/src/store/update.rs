//! A batch of patches as update statements.

use super::{
    command::{self, Kind},
    connection::Store,
    error::{Failure, StoreError},
    statement::statement,
};
use crate::domain::call::CallPatch;

/// See [`super::Calls::update`].
pub(super) async fn update(
    store: &Store,
    patches: &[&CallPatch],
) -> Result<Vec<(usize, Failure)>, StoreError> {
    command::run(store, Kind::Update, patches.iter().map(|patch| statement(patch))).await
}
