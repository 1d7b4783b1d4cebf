//! Classes of database failure, decided once.

use mongodb::error::{
    Error, ErrorKind, RETRYABLE_WRITE_ERROR, TRANSIENT_TRANSACTION_ERROR, UNKNOWN_TRANSACTION_COMMIT_RESULT,
    WriteFailure,
};

use super::calls::Failure;

/// Why the store could not do as asked.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum StoreError {
    /// The outcome is unknown or nothing happened: repeat. Every statement may be repeated.
    #[error("MongoDB is unavailable: {0}")]
    Unavailable(String),
    /// This change can never be made, however often it is tried.
    #[error("MongoDB refuses the change: {0}")]
    Refused(String),
    /// The server is no replica set.
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
        let passes = [RETRYABLE_WRITE_ERROR, TRANSIENT_TRANSACTION_ERROR, UNKNOWN_TRANSACTION_COMMIT_RESULT]
            .iter()
            .any(|label| error.contains_label(label));
        // Commands and documents are not repeated: the words of these kinds may quote them.
        let (what, code, last) = match &*error.kind {
            ErrorKind::Command(command) => (command.code_name.as_str(), command.code, is_final(command.code)),
            ErrorKind::Write(WriteFailure::WriteError(write)) => {
                ("write", write.code, !is_passing(write.code))
            }
            ErrorKind::Write(_) => return Self::Unavailable("write concern not met".to_owned()),
            ErrorKind::BsonDeserialization(_) => {
                return Self::Unavailable("answer not understood".to_owned());
            }
            ErrorKind::InvalidArgument { .. } | ErrorKind::BsonSerialization(_) | ErrorKind::Custom(_) => {
                return Self::Refused("it cannot be expressed".to_owned());
            }
            other => return Self::Unavailable(other.to_string()),
        };
        let what = format!("{what} (code {code})");
        if last && !passes { Self::Refused(what) } else { Self::Unavailable(what) }
    }
}

/// Whether a failed command fails every time: what it carries is too large or too deep. Everything
/// else may pass, were it by an operator who grants a right.
fn is_final(code: i32) -> bool {
    // BadValue, Overflow, InvalidBSON, DocumentValidationFailure, BSONObjectTooLarge, and older codes
    // for sizes.
    matches!(code, 2 | 15 | 22 | 121 | 10_334 | 17_280 | 17_419 | 17_420)
}

/// The server's answer where a unique index holds the value already.
const DUPLICATE_KEY: i32 = 11_000;

/// What the code says of a statement that failed within a command.
pub(super) fn classify(code: i32) -> Failure {
    match code {
        DUPLICATE_KEY => Failure::Duplicate,
        code if is_passing(code) => Failure::Passing(code),
        code => Failure::Final("rejected_by_database", format!("MongoDB refuses the change: code {code}")),
    }
}

/// Whether a statement that failed within a command may succeed next time: write conflicts, step-downs,
/// shutdowns, time limits, a right not granted yet. Any other failure is the statement's own.
fn is_passing(code: i32) -> bool {
    // HostUnreachable, HostNotFound, Unauthorized, AuthenticationFailed, LockTimeout, MaxTimeMSExpired,
    // NetworkTimeout, ShutdownInProgress, WriteConflict, PrimarySteppedDown, SnapshotUnavailable,
    // ExceededTimeLimit, NotWritablePrimary, Interrupted…
    const CODES: [i32; 19] = [
        6, 7, 13, 18, 24, 50, 89, 91, 112, 189, 246, 262, 10_107, 11_600, 11_601, 11_602, 13_388, 13_435,
        13_436,
    ];
    CODES.contains(&code)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_passes_is_told_from_what_does_not() {
        for code in [112, 189, 11_600, 11_602, 50] {
            assert!(classify(code) == Failure::Passing(code) && !is_final(code), "{code}");
        }
        for code in [121, 10_334] {
            assert!(matches!(classify(code), Failure::Final(..)) && is_final(code), "{code}");
        }
        assert_eq!(classify(11_000), Failure::Duplicate);
        assert_eq!(
            StoreError::from(Error::custom("a half is not understood")),
            StoreError::Refused("it cannot be expressed".to_owned())
        );
    }
}
