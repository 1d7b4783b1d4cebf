//! The error of an environment variable that cannot be used.

/// An environment variable that cannot be used, and the reason.
///
/// The reason may repeat the value, but never a [`Secret`](crate::process::config::Secret) or the credentials
/// of a [`Url`](crate::process::config::Url): any text is valid for these two, so reading them cannot fail.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
#[error("{variable}: {reason}")]
pub struct ConfigError {
    /// Name of the environment variable.
    pub variable: String,
    /// Reason why its value cannot be used.
    pub reason: String,
}

impl ConfigError {
    /// An error for `variable`. Control characters of the reason become spaces, so that the error is one
    /// line.
    pub fn new(variable: impl Into<String>, reason: impl Into<String>) -> Self {
        let reason: String = reason.into();
        Self { variable: variable.into(), reason: reason.replace(char::is_control, " ") }
    }
}
