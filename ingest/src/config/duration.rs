//! Durations that must be longer than zero.

use std::time::Duration;

use serde::{Deserializer, de::Error as _};

/// Reads a duration with its unit (`10s`, `60m`).
///
/// # Errors
/// The text is not a duration, or the duration is zero.
pub(super) fn positive<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Duration, D::Error> {
    let duration: Duration = humantime_serde::deserialize(deserializer)?;
    if duration.is_zero() { Err(D::Error::custom("must be longer than 0s")) } else { Ok(duration) }
}
