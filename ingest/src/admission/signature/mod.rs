//! Whether a webhook was signed by whom it claims to come from. Pure: time is an argument.
//!
//! Invariant: a signature covers the bytes as received, and every comparison takes the same time
//! whichever secret or signature matches.

pub mod elevenlabs;
pub mod twilio;

/// What is known of a webhook's origin.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Signature {
    /// Signed with one of our secrets.
    Verified,
    /// Not signed: the sender showed one of our `EVENTS_TOKEN`.
    Token,
    /// Not checked, because no secret is configured.
    Absent,
    /// Not as it should be, and taken in since the gateway merely observes.
    Doubtful(SignatureError),
}

impl Signature {
    /// Value of the `Aftercall-Signature` header.
    pub fn label(self) -> &'static str {
        match self {
            Self::Verified => "verified",
            Self::Token => "token",
            Self::Absent => "absent",
            Self::Doubtful(error) => error.label(),
        }
    }
}

/// Why a signature was not accepted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SignatureError {
    /// No signature header.
    Missing,
    /// Not readable, or of other bytes, or by another secret.
    Invalid,
    /// Genuine, but too old, or from the future.
    Expired,
}

impl SignatureError {
    /// The word in metrics and headers.
    pub fn label(self) -> &'static str {
        match self {
            Self::Missing => "missing",
            Self::Invalid => "invalid",
            Self::Expired => "expired",
        }
    }
}
