//! Records what people do: one line of the log, and one entry of the audit.

use std::time::Duration;

use jiff::Timestamp;

use super::{access::user, state::Console};
use crate::{
    domain::audit::{Action, AuditEntry, Object},
    store::StoreError,
};

/// Longest time that an action waits for its entry to be stored.
const TIMEOUT: Duration = Duration::from_secs(3);

/// Records that the person of the present request has done `action`. If the database does not store the entry in
/// time, the line of the log remains.
pub async fn record(console: &Console, action: Action, object: Object) {
    if let Err(error) = record_first(console, action, object).await {
        let action = action.as_str();
        tracing::warn!(action, %error, "an entry of the console's audit was not stored; the log has it");
    }
}

/// [`record`] for something that must not happen without an entry.
///
/// # Errors
/// The database did not store the entry in time.
pub async fn record_first(console: &Console, action: Action, object: Object) -> Result<(), StoreError> {
    let by = user::author();
    tracing::info!(
        by = by.name,
        login = by.login.as_str(),
        action = action.as_str(),
        kind = object.kind.as_str(),
        object = object.name,
        "action in the console"
    );
    let entry = AuditEntry { at: Timestamp::now(), by, action, object };
    let storing = console.context.store.record_audit(&entry);
    let late = |_elapsed| Err(StoreError::Unavailable("no answer in time".to_owned()));
    tokio::time::timeout(TIMEOUT, storing).await.unwrap_or_else(late)
}
