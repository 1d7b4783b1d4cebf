//! Classifies errors of MongoDB: the operation may be repeated, or can never work.

use mongodb::error::{
    Error, ErrorKind, RETRYABLE_WRITE_ERROR, TRANSIENT_TRANSACTION_ERROR, UNKNOWN_TRANSACTION_COMMIT_RESULT,
    WriteFailure,
};

use crate::domain::reason::Reason;

/// Why one statement of a command failed. The other statements of the command may have worked.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Failure {
    /// A unique index has one of the ids already, because another document belongs to the same call.
    Duplicate,
    /// The document was changed since it was read. Statements that worked may have this failure, too: the server says
    /// only how many did not.
    Outdated,
    /// The statement may work next time. Holds the server's code.
    Transient(i32),
    /// The statement can never work. Holds the reason and the detail of the dead letter.
    Final(Reason, String),
}

/// Why a patch cannot be expressed as a statement: the reason and the detail of the dead letter.
pub type Unstorable = (Reason, &'static str);

/// A name in the payload cannot be expressed in BSON.
pub(super) const UNSTORABLE: Unstorable =
    (Reason::UnstorablePayload, "a field name holds a NUL character, which MongoDB cannot store");

/// Why an operation of the store failed.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum StoreError {
    /// The operation had no effect, or its effect is unknown. It may be repeated.
    #[error("MongoDB is unavailable: {0}")]
    Unavailable(String),
    /// The change can never be made.
    #[error("MongoDB refuses the change: {0}")]
    Refused(String),
    /// The server is not a replica set.
    #[error("MONGODB_URI leads to a standalone server; Aftercall needs a replica set (one member is enough)")]
    Standalone,
}

impl StoreError {
    /// Stable label for metrics.
    pub fn label(&self) -> &'static str {
        match self {
            Self::Unavailable(_) => "unavailable",
            Self::Refused(_) | Self::Standalone => "refused",
        }
    }
}

impl From<Error> for StoreError {
    fn from(error: Error) -> Self {
        if let Some(cause) = within_io(&error) {
            return cause.clone().into();
        }
        let is_labelled_retryable =
            [RETRYABLE_WRITE_ERROR, TRANSIENT_TRANSACTION_ERROR, UNKNOWN_TRANSACTION_COMMIT_RESULT]
                .iter()
                .any(|label| error.contains_label(label));
        // The messages of these kinds may quote a command or a document, so the error holds only the code.
        let (what, code, is_permanent) = match &*error.kind {
            ErrorKind::Command(command) => (command.code_name.as_str(), command.code, is_final(command.code)),
            ErrorKind::Write(WriteFailure::WriteError(write)) => {
                ("write", write.code, !is_transient(write.code))
            }
            ErrorKind::Write(_) => return Self::Unavailable("write concern not met".to_owned()),
            ErrorKind::BsonDeserialization(_) => {
                return Self::Unavailable("answer not understood".to_owned());
            }
            ErrorKind::InvalidArgument { .. } | ErrorKind::BsonSerialization(_) => {
                return Self::Refused("it cannot be expressed".to_owned());
            }
            // The store itself raises these errors. Their causes are literals, so they quote no document.
            ErrorKind::Custom(cause) => {
                let cause = cause.downcast_ref::<&'static str>().copied();
                return Self::Refused(cause.unwrap_or("unknown cause").to_owned());
            }
            other => return Self::Unavailable(other.to_string()),
        };
        let what = format!("{what} (code {code})");
        if is_permanent && !is_labelled_retryable { Self::Refused(what) } else { Self::Unavailable(what) }
    }
}

/// The error of the database within an I/O error of `GridFS`. The I/O error must not be logged, because its text quotes
/// the server's answer.
fn within_io(error: &Error) -> Option<&Error> {
    let ErrorKind::Io(outer) = &*error.kind else { return None };
    outer.get_ref()?.downcast_ref()
}

/// Whether a failed command can never work, because its content is invalid or too large. After any other failure the
/// command may work later, for example when an operator grants a right.
fn is_final(code: i32) -> bool {
    // BadValue, Overflow, InvalidBSON, DocumentValidationFailure, BSONObjectTooLarge, and older codes
    // for sizes.
    matches!(code, 2 | 15 | 22 | 121 | 10_334 | 17_280 | 17_419 | 17_420)
}

/// Whether a query failed with the code of a hint whose index does not exist. Other faults of a query have the same code.
pub(super) fn is_bad_hint(error: &Error) -> bool {
    const BAD_VALUE: i32 = 2;
    matches!(&*error.kind, ErrorKind::Command(error) if error.code == BAD_VALUE)
}

/// The server's code if a unique index has the value already.
pub(super) const DUPLICATE_KEY: i32 = 11_000;

/// The class of a statement that failed with this code.
pub(super) fn classify(code: i32) -> Failure {
    match code {
        DUPLICATE_KEY => Failure::Duplicate,
        code if is_transient(code) => Failure::Transient(code),
        code => {
            Failure::Final(Reason::RejectedByDatabase, format!("MongoDB refuses the change: code {code}"))
        }
    }
}

/// Whether a statement that failed with this code may work next time, because the cause lies outside of it: a write
/// conflict, a change of the primary, a time limit, a missing right, a full cache or disk. With any other code the
/// statement itself is the cause.
fn is_transient(code: i32) -> bool {
    // HostUnreachable, HostNotFound, Unauthorized, AuthenticationFailed, LockTimeout, MaxTimeMSExpired,
    // NetworkTimeout, ShutdownInProgress, WriteConflict, PrimarySteppedDown, SnapshotUnavailable,
    // ExceededTimeLimit, TemporarilyUnavailable, NotWritablePrimary, InterruptedAtShutdown, Interrupted,
    // InterruptedDueToReplStateChange, StaleConfig, NotPrimaryNoSecondaryOk, NotPrimaryOrSecondary, OutOfDiskSpace
    const CODES: [i32; 21] = [
        6, 7, 13, 18, 24, 50, 89, 91, 112, 189, 246, 262, 365, 10_107, 11_600, 11_601, 11_602, 13_388,
        13_435, 13_436, 14_031,
    ];
    CODES.contains(&code)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn transient_and_final_errors_have_different_classes() {
        for code in [112, 189, 365, 11_600, 11_602, 14_031, 50] {
            assert!(classify(code) == Failure::Transient(code) && !is_final(code), "{code}");
        }
        for code in [121, 10_334] {
            assert!(matches!(classify(code), Failure::Final(..)) && is_final(code), "{code}");
        }
        assert_eq!(classify(11_000), Failure::Duplicate);
        assert_eq!(
            StoreError::from(Error::custom("a stored call has no dates")),
            StoreError::Refused("a stored call has no dates".to_owned())
        );
        let of_file = std::io::Error::other(Error::custom("a stored call has no dates"));
        assert_eq!(
            StoreError::from(Error::from(of_file)),
            StoreError::Refused("a stored call has no dates".to_owned())
        );
    }
}
