//! Classes of database failure, decided once.

use mongodb::error::{Error, ErrorKind};

/// Why the store could not do as asked.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum StoreError {
    /// The outcome is unknown or nothing happened: repeat. Every statement may be repeated.
    #[error("MongoDB is unavailable: {0}")]
    Unavailable(String),
    /// The server is no replica set.
    #[error("MONGODB_URI leads to a standalone server; Aftercall needs a replica set (one member is enough)")]
    Standalone,
}

impl From<Error> for StoreError {
    fn from(error: Error) -> Self {
        // The kinds below quote documents or commands; the others speak of servers and sockets.
        let what = match &*error.kind {
            ErrorKind::Command(command) => format!("{} (code {})", command.code_name, command.code),
            ErrorKind::Write(_) | ErrorKind::InsertMany(_) | ErrorKind::BulkWrite(_) => {
                "write refused".to_owned()
            }
            ErrorKind::BsonDeserialization(_) | ErrorKind::BsonSerialization(_) => {
                "document not understood".to_owned()
            }
            other => other.to_string(),
        };
        Self::Unavailable(what)
    }
}
