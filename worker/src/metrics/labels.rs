//! The labels of the metrics. The values of each label are a closed list, so no sender can add a series.

use prometheus_client::encoding::EncodeLabelSet;

/// Declares an enum whose variants are the values of a label.
macro_rules! label_values {
    ($(#[$doc:meta])* $name:ident { $($(#[$variant_doc:meta])* $variant:ident = $value:literal,)* }) => {
        $(#[$doc])*
        #[derive(Clone, Copy, Debug, PartialEq, Eq)]
        pub enum $name { $($(#[$variant_doc])* $variant,)* }

        impl $name {
            /// The values of the label.
            pub(super) const VALUES: &[&str] = &[$($value,)*];

            /// The value of the label.
            pub(super) fn as_str(self) -> &'static str {
                match self { $(Self::$variant => $value,)* }
            }
        }
    };
}

label_values! {
    /// How a job ended that fetches a transcript or a recording.
    TranscriptOutcome {
        /// The transcript or recording was saved.
        Saved = "saved",
        /// It was given up.
        Unavailable = "unavailable",
        /// The job was scheduled again.
        Waiting = "waiting",
    }
}

label_values! {
    /// How a reconciliation pass ended.
    PassOutcome {
        /// The pass covered its whole window.
        Complete = "complete",
        /// The pass ended early.
        Failed = "failed",
    }
}

label_values! {
    /// How a login at the console ended.
    LoginOutcome {
        /// The login opened a session.
        Opened = "opened",
        /// Name, password or token was wrong.
        Wrong = "wrong",
        /// The login was not checked, because too many wrong logins came from the same source.
        Delayed = "delayed",
    }
}

/// `ok`, and the labels of `elevenlabs::ApiError`.
pub(super) const API_OUTCOMES: [&str; 8] =
    ["ok", "not_found", "unauthorized", "rate_limited", "unavailable", "refused", "too_large", "unreadable"];
/// `ok`, and the labels of `store::StoreError`.
pub(super) const STORE_OUTCOMES: [&str; 3] = ["ok", "unavailable", "refused"];

/// Declares a label set.
macro_rules! label_set {
    ($name:ident { $($label:ident),* }) => {
        #[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
        pub(super) struct $name { $(pub $label: &'static str,)* }
    };
}

label_set!(ByState { state });
label_set!(ByStatus { status });
label_set!(ByReason { reason });
label_set!(ByFamily { family });
label_set!(ByFailure { status, reason });
label_set!(ByConsumer { consumer });
label_set!(ByStream { stream });
label_set!(ByOutcome { outcome });
label_set!(ByEvent { event });

#[cfg(test)]
mod tests {
    use reqwest::StatusCode;

    use super::*;
    use crate::{elevenlabs::ApiError, store::StoreError};

    #[test]
    fn the_labels_of_all_errors_are_listed() {
        for error in [
            ApiError::NotFound,
            ApiError::Unauthorized(StatusCode::UNAUTHORIZED),
            ApiError::RateLimited { retry_after: None },
            ApiError::Unavailable("no answer in time"),
            ApiError::Refused(StatusCode::BAD_REQUEST),
            ApiError::TooLarge,
            ApiError::Unreadable,
        ] {
            assert!(API_OUTCOMES.contains(&error.label()), "{error}");
        }
        let text = String::new;
        for error in [StoreError::Unavailable(text()), StoreError::Refused(text()), StoreError::Standalone] {
            assert!(STORE_OUTCOMES.contains(&error.label()), "{error}");
        }
    }
}
