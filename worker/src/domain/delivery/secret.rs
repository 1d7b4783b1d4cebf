//! The secrets of an endpoint, in the form of the Standard Webhooks specification. Pure.
//!
//! After a rotation the old secret stays valid for a time, and every request has a signature by each valid
//! secret. So a receiver can change its secret at any moment of this time.

use std::{fmt, time::Duration};

use base64::{Engine as _, prelude::BASE64_STANDARD};
use jiff::Timestamp;

use crate::domain::time::after;

/// Random bytes of a secret. The specification asks for 24 to 64.
pub const SECRET_BYTES: usize = 32;
/// The prefix of a secret.
const PREFIX: &str = "whsec_";
/// Most valid secrets, and so most signatures of a request.
const MAX_VALID: usize = 4;
/// Longest time that an old secret stays valid.
const MAX_OVERLAP: Duration = Duration::from_hours(30 * 24);

/// A secret: `whsec_` and 32 random bytes in base64. Its debug form hides it.
#[derive(Clone, PartialEq, Eq)]
pub struct SigningSecret(String);

impl SigningSecret {
    /// The secret with these random bytes.
    pub fn new(random: [u8; SECRET_BYTES]) -> Self {
        Self(format!("{PREFIX}{}", BASE64_STANDARD.encode(random)))
    }

    /// The secret that the database holds.
    pub fn stored(text: String) -> Self {
        Self(text)
    }

    /// The secret itself: for signatures, for the database, and once for the operator.
    pub fn expose(&self) -> &str {
        &self.0
    }
}

impl fmt::Debug for SigningSecret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("***")
    }
}

/// The secrets of an endpoint, the newest first, each with the time at which it ends. Empty for a raw endpoint.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Secrets(pub Vec<(SigningSecret, Option<Timestamp>)>);

impl Secrets {
    /// One secret without an end.
    pub fn one(secret: SigningSecret) -> Self {
        Self(vec![(secret, None)])
    }

    /// The secrets that are valid at `now`.
    pub fn valid(&self, now: Timestamp) -> impl Iterator<Item = &SigningSecret> {
        self.0.iter().filter(move |(_, end)| end.is_none_or(|end| end > now)).map(|(secret, _)| secret)
    }

    /// These secrets after a rotation: `new` comes first, and the others end after `overlap`, or earlier as they
    /// already should.
    ///
    /// # Errors
    /// Too many secrets are still valid, or `overlap` is longer than 30 days.
    pub fn rotated(&self, new: SigningSecret, overlap: Duration, now: Timestamp) -> Result<Self, NotRotated> {
        if overlap > MAX_OVERLAP {
            return Err(NotRotated::OverlapTooLong);
        }
        let latest = after(now, overlap);
        let old =
            self.0.iter().map(|(secret, end)| (secret.clone(), end.map_or(latest, |end| end.min(latest))));
        let old = old.filter(|(_, end)| *end > now).map(|(secret, end)| (secret, Some(end)));
        let rotated = Self(std::iter::once((new, None)).chain(old).collect());
        if rotated.0.len() > MAX_VALID { Err(NotRotated::TooManySecrets) } else { Ok(rotated) }
    }
}

/// Why secrets are not rotated.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum NotRotated {
    /// The endpoint has the most secrets that it may have.
    #[error(
        "the endpoint has {MAX_VALID} valid secrets; wait until an old one ends, or rotate with a shorter overlap"
    )]
    TooManySecrets,
    /// The old secret would be valid for too long.
    #[error("an old secret can stay valid for 30 days at most")]
    OverlapTooLong,
}

#[cfg(test)]
mod tests {
    use super::*;

    fn secret(byte: u8) -> SigningSecret {
        SigningSecret::new([byte; SECRET_BYTES])
    }

    #[test]
    fn a_secret_has_the_form_of_the_specification_and_no_debug_form() {
        let secret = secret(7);
        assert!(secret.expose().strip_prefix("whsec_").is_some_and(|text| text.len() == 44));
        assert!(standardwebhooks::Webhook::new(secret.expose()).is_ok());
        assert_eq!(format!("{:?}", Secrets::one(secret)), "Secrets([(***, None)])");
    }

    #[test]
    fn an_old_secret_is_valid_until_the_overlap_ends() {
        let now: Timestamp = "2026-11-29T10:00:00Z".parse().unwrap();
        let day = Duration::from_hours(24);
        let secrets = Secrets::one(secret(1)).rotated(secret(2), day, now).unwrap();
        let valid = |at: Timestamp| secrets.valid(at).cloned().collect::<Vec<_>>();
        assert_eq!(valid(now), [secret(2), secret(1)]);
        assert_eq!(valid(after(now, day)), [secret(2)]);
        // A second rotation does not lengthen the time of the first secret.
        let twice = secrets.rotated(secret(3), day * 9, now).unwrap();
        assert_eq!(twice.valid(after(now, day)).cloned().collect::<Vec<_>>(), [secret(3), secret(2)]);
        // Without an overlap, the old secrets end at once.
        assert_eq!(twice.rotated(secret(4), Duration::ZERO, now), Ok(Secrets::one(secret(4))));
        let full = twice.rotated(secret(4), day, now).unwrap();
        assert_eq!(full.rotated(secret(5), day, now), Err(NotRotated::TooManySecrets));
        // At the longest overlap the end is a time that the database keeps exactly.
        assert!(secrets.rotated(secret(3), MAX_OVERLAP, now).is_ok());
        let longer = MAX_OVERLAP + Duration::from_secs(1);
        assert_eq!(secrets.rotated(secret(3), longer, now), Err(NotRotated::OverlapTooLong));
    }
}
