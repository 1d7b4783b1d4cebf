//! The reasons why a webhook was not registered.

use reqwest::StatusCode;

use super::destination::Destination;
use crate::elevenlabs::ApiError;

/// The reason why a webhook was not registered. The text of each error is one line.
#[derive(Debug, thiserror::Error)]
pub enum RegisterError {
    /// ElevenLabs did not execute a requested action.
    #[error("{action}: {}", explain(.error))]
    Api {
        /// The requested action.
        action: &'static str,
        /// The answer of ElevenLabs.
        error: ApiError,
    },
    /// The events belong to another webhook, and the operator did not allow to take them.
    #[error(
        "the events go to the webhook {0}, which would lose them; nothing was changed; --replace binds them to this gateway nevertheless, and --replace --forward-displaced also forwards them to that webhook"
    )]
    Displaces(Destination),
    /// The webhooks cannot be forwarded to the webhook that they would be taken from. Nothing was changed.
    #[error("--forward-displaced: {0}; nothing was changed")]
    NotForwarded(String),
    /// The file for the secret cannot be written.
    #[error("{setting}: {reason}")]
    Secret {
        /// The setting that names the file.
        setting: &'static str,
        /// The reason.
        reason: String,
    },
    /// ElevenLabs accepted the changes, but they do not show when the webhook is read again.
    #[error("ElevenLabs accepted the changes, but they have no effect yet; still to do: {0}")]
    NotApplied(String),
    /// ElevenLabs took too long.
    #[error("ElevenLabs did not say in time what is registered")]
    TimedOut,
}

/// The error with a remedy, if one is known.
fn explain(error: &ApiError) -> String {
    match error {
        ApiError::Unauthorized(status)
        | ApiError::Refused(status @ (StatusCode::UNAUTHORIZED | StatusCode::FORBIDDEN)) => {
            format!(
                "ElevenLabs does not allow this with the API key ({status}); the key needs the permissions webhooks_write and convai_write of an admin"
            )
        }
        ApiError::Refused(status) => {
            format!(
                "ElevenLabs refuses it ({status}); if it does not offer one of the events, leave it out with --events"
            )
        }
        ApiError::NotFound => "ElevenLabs does not know it; check the id of the agent".to_owned(),
        error => error.to_string(),
    }
}

/// Turns an error of the API into an error of `action`, for `map_err`.
pub(super) fn failed(action: &'static str) -> impl Fn(ApiError) -> RegisterError {
    move |error| RegisterError::Api { action, error }
}
