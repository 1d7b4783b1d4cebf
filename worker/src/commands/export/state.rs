//! The state of an unfinished export: what it contains, and where it continues. It is a file beside the output.

use std::{
    fs::{self, File, OpenOptions},
    io::{ErrorKind, Write as _},
    os::unix::fs::OpenOptionsExt as _,
    path::Path,
};

use anyhow::{Context as _, ensure};
use jiff::Timestamp;
use mongodb::bson::oid::ObjectId;
use serde::{Deserialize, Serialize};

use super::options::{Period, Selection};
use crate::store::views::Cursor;

/// The state of an unfinished export.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct State {
    /// Version of the program. Another version may write other columns.
    pub version: String,
    pub selection: Selection,
    /// Whether telephone numbers are complete.
    pub numbers_shown: bool,
    pub period: Period,
    /// Calls in the first `bytes` bytes of the output.
    pub calls: u64,
    /// Length of the output up to the call `last`.
    pub bytes: u64,
    /// The last call in the first `bytes` bytes.
    pub last: Option<Position>,
}

/// The position of a call, see [`Cursor`].
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Position {
    created_at: Timestamp,
    id: String,
}

impl From<Cursor> for Position {
    fn from(cursor: Cursor) -> Self {
        Self { created_at: cursor.at, id: cursor.id.to_hex() }
    }
}

impl State {
    /// The state of an export that has not begun.
    pub fn new(selection: &Selection, numbers_shown: bool, period: Period) -> Self {
        Self {
            version: env!("CARGO_PKG_VERSION").to_owned(),
            selection: selection.clone(),
            numbers_shown,
            period,
            calls: 0,
            bytes: 0,
            last: None,
        }
    }

    /// The position after which the export continues.
    pub fn cursor(&self) -> anyhow::Result<Option<Cursor>> {
        let cursor = |last: &Position| {
            let id = ObjectId::parse_str(&last.id).context("the state has no valid position")?;
            Ok(Cursor { at: last.created_at, id })
        };
        self.last.as_ref().map(cursor).transpose()
    }

    /// Checks that an export with these arguments can continue from this state.
    pub fn check(&self, selection: &Selection, numbers_shown: bool) -> anyhow::Result<()> {
        ensure!(self.version == env!("CARGO_PKG_VERSION"), "it was begun by version {}", self.version);
        ensure!(
            self.selection == *selection && self.numbers_shown == numbers_shown,
            "it was begun with other options; give the same options again"
        );
        Ok(())
    }

    /// Reads the file. `None` if it does not exist.
    pub fn read(path: &Path) -> anyhow::Result<Option<Self>> {
        let text = match fs::read(path) {
            Err(error) if error.kind() == ErrorKind::NotFound => return Ok(None),
            text => text.with_context(|| format!("cannot read {}", path.display()))?,
        };
        let state = serde_json::from_slice(&text);
        state.map(Some).with_context(|| format!("{} holds no state of an export", path.display()))
    }

    /// Writes the file. Either the old or the new state is there at any time.
    pub fn write(&self, path: &Path) -> anyhow::Result<()> {
        let new = path.with_added_extension("new");
        let text = serde_json::to_vec(self)?;
        let write = || {
            let mut file = private(&new, OpenOptions::new().write(true).create(true).truncate(true))?;
            file.write_all(&text)?;
            file.sync_all()?;
            fs::rename(&new, path)
        };
        write().with_context(|| format!("cannot write {}", path.display()))
    }
}

/// Opens a file that only its owner can read: calls are personal data.
pub(super) fn private(path: &Path, options: &mut OpenOptions) -> std::io::Result<File> {
    options.mode(0o600).open(path)
}
