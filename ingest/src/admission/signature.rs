//! The results of a signature check. The checks are in [`super::provider`].

/// The label of a signature that was not checked, because the webhook was refused before that check.
pub const UNCHECKED: &str = "unchecked";

/// The result of a signature check.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Signature {
    /// The provider's signature is valid for one of the configured secrets.
    Verified,
    /// The sender authenticated with one of `EVENTS_TOKEN`. A signature is not required.
    Token,
    /// No secret is configured, so nothing was checked.
    Absent,
    /// The check failed, and the webhook is accepted under `SOURCE_POLICY=observe`.
    Doubtful(SignatureError),
}

impl Signature {
    /// Every result.
    pub const ALL: [Self; 6] = [
        Self::Verified,
        Self::Token,
        Self::Absent,
        Self::Doubtful(SignatureError::Missing),
        Self::Doubtful(SignatureError::Invalid),
        Self::Doubtful(SignatureError::Expired),
    ];

    /// The value of the `Aftercall-Signature` header, and of the label `signature`.
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
    /// The request has no signature header.
    Missing,
    /// The signature cannot be read, or it covers other bytes, or another secret was used.
    Invalid,
    /// The time of the signature is outside the tolerance.
    Expired,
}

impl SignatureError {
    /// The stable name in metrics and headers.
    pub fn label(self) -> &'static str {
        match self {
            Self::Missing => "missing",
            Self::Invalid => "invalid",
            Self::Expired => "expired",
        }
    }
}
