//! Runs statements in commands. One command has many statements, which do not depend on each other.

use std::collections::HashSet;

use mongodb::bson::{
    RawArrayBuf, RawDocumentBuf,
    raw::{CStr, cstr},
    rawdoc,
};

use super::{
    connection::{COLLECTION, SERVER_TIME, Store},
    convert::whole_number,
    error::{Failure, StoreError, Unstorable, classify},
};
use crate::domain::reason::Reason;

/// Most bytes of statements in one command. The server takes 16 MiB.
const MAX_COMMAND_BYTES: usize = 8 * 1024 * 1024;

/// Largest statement. A document ends at 16 MiB and holds more than one payload.
const MAX_STATEMENT_BYTES: usize = 15 * 1024 * 1024;
/// The failure of a larger statement. It is not sent, because the server would refuse the whole command.
const TOO_LARGE: Unstorable =
    (Reason::UnstorablePayload, "as BSON the payload is larger than a document may be");

/// The kind of the statements.
#[derive(Clone, Copy, Debug)]
pub(super) enum Kind {
    Insert,
    Update,
}

impl Kind {
    /// The name of the command, and of its field with the statements.
    fn names(self) -> (&'static CStr, &'static CStr) {
        match self {
            Self::Insert => (cstr!("insert"), cstr!("documents")),
            Self::Update => (cstr!("update"), cstr!("updates")),
        }
    }
}

/// Runs statements and returns the positions of the failed statements. If an update matched no document, all statements
/// of its command that did not fail otherwise are [`Failure::Outdated`]: the server does not say which one it was.
///
/// # Errors
/// The result of some statements is unknown, or they are not durable yet.
pub(super) async fn run(
    store: &Store,
    kind: Kind,
    statements: impl Iterator<Item = Result<RawDocumentBuf, Unstorable>>,
) -> Result<Vec<(usize, Failure)>, StoreError> {
    let mut failures = Vec::new();
    let mut command = Command::default();
    let fits = |statement: &RawDocumentBuf| statement.as_bytes().len() <= MAX_STATEMENT_BYTES;
    for (position, statement) in statements.enumerate() {
        match statement.and_then(|statement| fits(&statement).then_some(statement).ok_or(TOO_LARGE)) {
            Ok(statement) => {
                if !command.fits(&statement) {
                    failures.extend(std::mem::take(&mut command).run(store, kind).await?);
                }
                command.add(position, statement);
            }
            Err((reason, detail)) => failures.push((position, Failure::Final(reason, detail.to_owned()))),
        }
    }
    failures.extend(command.run(store, kind).await?);
    Ok(failures)
}

/// The statements of one command, with the positions of their patches.
#[derive(Default)]
struct Command {
    positions: Vec<usize>,
    statements: RawArrayBuf,
}

impl Command {
    fn fits(&self, statement: &RawDocumentBuf) -> bool {
        self.positions.is_empty()
            || self.statements.as_bytes().len() + statement.as_bytes().len() <= MAX_COMMAND_BYTES
    }

    fn add(&mut self, position: usize, statement: RawDocumentBuf) {
        self.positions.push(position);
        self.statements.push(statement);
    }

    /// Runs the command and returns the statements that failed.
    async fn run(self, store: &Store, kind: Kind) -> Result<Vec<(usize, Failure)>, StoreError> {
        if self.positions.is_empty() {
            return Ok(Vec::new());
        }
        let mut command = RawDocumentBuf::new();
        let (name, field) = kind.names();
        command.append(name, COLLECTION);
        command.append(field, self.statements);
        command.append(cstr!("ordered"), false); // A failed statement does not stop the others.
        command.append(cstr!("writeConcern"), rawdoc! { "w": "majority", "j": true });
        let server_time = i64::try_from(SERVER_TIME.as_millis()).expect("a small constant");
        command.append(cstr!("maxTimeMS"), server_time);
        let database = store.database.clone();
        let answer = store.run(async move { database.run_raw_command(command).await }).await?;
        if let Ok(concern) = answer.get_document("writeConcernError") {
            // The statements were written, but may be lost: the caller has to repeat them.
            let code = concern.get_i32("code").unwrap_or(0);
            return Err(StoreError::Unavailable(format!("write concern: code {code}")));
        }
        let errors = answer.get_array("writeErrors").map(Vec::as_slice).unwrap_or_default();
        let failed = errors.iter().filter_map(|error| {
            let error = error.as_document()?;
            let index = usize::try_from(error.get_i32("index").ok()?).ok()?;
            Some((*self.positions.get(index)?, classify(error.get_i32("code").ok()?)))
        });
        let mut failures: Vec<_> = failed.collect();
        let matched = whole_number(&answer, "n").and_then(|n| usize::try_from(n).ok()).unwrap_or(0);
        if matched + failures.len() < self.positions.len() {
            let failed: HashSet<_> = failures.iter().map(|(position, _)| *position).collect();
            let others = self.positions.into_iter().filter(|position| !failed.contains(position));
            failures.extend(others.map(|position| (position, Failure::Outdated)));
        }
        Ok(failures)
    }
}
