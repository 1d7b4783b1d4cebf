//! The spool on disk: one `redb` file, synced before a write counts.
//!
//! Invariants: what [`Journal::append`] returned is on disk; places only grow, so reading by place is
//! reading in the order of arrival; one id is kept once; the bytes kept never exceed the bound.

use std::{
    fs::{self, DirBuilder, File, Permissions},
    io,
    os::unix::fs::{DirBuilderExt as _, OpenOptionsExt as _, PermissionsExt as _},
    path::Path,
    sync::Arc,
};

use async_nats::{HeaderMap, HeaderName, Subject};
use bytes::Bytes;
use redb::{
    Database, ReadableDatabase as _, ReadableTable as _, ReadableTableMetadata as _, TableDefinition,
    backends::FileBackend,
};

use crate::{
    admission::body::Body,
    storage::{message::WebhookId, publisher::Webhook},
};

/// Name of the file in `SPOOL_DIR`.
const FILE: &str = "spool.redb";
/// Permissions of the folder and of the file: webhooks hold personal data, so nobody else may read them.
const FOLDER_MODE: u32 = 0o700;
const FILE_MODE: u32 = 0o600;
/// Bytes of the file that are kept in memory.
const CACHE: usize = 4 * 1024 * 1024;

type Id = [u8; 32];
/// Id, subject, headers as JSON, body.
type Row<'a> = (Id, &'a str, &'a [u8], &'a [u8]);
/// By place.
const WEBHOOKS: TableDefinition<u64, Row> = TableDefinition::new("webhooks");
/// Place of each id.
const PLACES: TableDefinition<Id, u64> = TableDefinition::new("places");
/// Sums over all webhooks, by name.
const SUMS: TableDefinition<&str, u64> = TableDefinition::new("sums");
const BYTES: &str = "bytes";

type Headers = Vec<(String, String)>;

/// A webhook in the spool.
#[derive(Debug)]
pub(super) struct Record {
    pub place: u64,
    pub webhook: Webhook,
}

/// What became of a webhook that was to be kept.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Appended {
    /// It is on disk now.
    Kept,
    /// It was there already.
    Duplicate,
    /// There is no room for it.
    Full,
}

/// How much is kept.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Held {
    pub webhooks: u64,
    pub bytes: u64,
}

/// The open file. No other process can open it meanwhile.
pub(super) struct Journal {
    database: Database,
    held: Held,
    next: u64,
}

impl Journal {
    /// Opens the spool in `folder`, made if it is missing. A file that a crash left behind is repaired.
    pub fn open(folder: &Path) -> Result<Self, redb::Error> {
        let file = open_private(folder)?;
        let mut database =
            Database::builder().set_cache_size(CACHE).create_with_backend(FileBackend::new(file)?)?;
        // The file is of no use where its name is not on disk.
        File::open(folder)?.sync_all()?;
        let writing = database.begin_write()?;
        let (held, next) = {
            let webhooks = writing.open_table(WEBHOOKS)?;
            writing.open_table(PLACES)?;
            let sums = writing.open_table(SUMS)?;
            let bytes = sums.get(BYTES)?.map_or(0, |bytes| bytes.value());
            let next = webhooks.last()?.map_or(0, |(place, _)| place.value() + 1);
            (Held { webhooks: webhooks.len()?, bytes }, next)
        };
        writing.commit()?;
        if held.webhooks == 0 {
            // The file never shrinks by itself.
            database.compact().map_err(redb::Error::from)?;
        }
        Ok(Self { database, held, next })
    }

    pub fn held(&self) -> Held {
        self.held
    }

    /// Keeps `webhooks`, as long as no more than `most` bytes are kept in all; one sync for all of them.
    pub fn append(&mut self, webhooks: &[Arc<Webhook>], most: u64) -> Result<Vec<Appended>, redb::Error> {
        let (mut held, mut next) = (self.held, self.next);
        let mut outcomes = Vec::with_capacity(webhooks.len());
        let writing = self.database.begin_write()?;
        {
            let mut table = writing.open_table(WEBHOOKS)?;
            let mut places = writing.open_table(PLACES)?;
            for webhook in webhooks {
                let id = webhook.id.bytes();
                if places.get(id)?.is_some() {
                    outcomes.push(Appended::Duplicate);
                    continue;
                }
                let headers = encode(&webhook.headers);
                let body = webhook.body.whole();
                let bytes = size(&webhook.subject, &headers, &body);
                if held.bytes + bytes > most {
                    outcomes.push(Appended::Full);
                    continue;
                }
                table.insert(next, (id, webhook.subject.as_str(), &headers[..], &body[..]))?;
                places.insert(id, next)?;
                held = Held { webhooks: held.webhooks + 1, bytes: held.bytes + bytes };
                next += 1;
                outcomes.push(Appended::Kept);
            }
            writing.open_table(SUMS)?.insert(BYTES, held.bytes)?;
        }
        writing.commit()?;
        (self.held, self.next) = (held, next);
        Ok(outcomes)
    }

    /// The first webhooks from `place` on: at most `count`, and, but for the first, of `bytes` in all.
    pub fn read(&self, place: u64, count: usize, bytes: usize) -> Result<Vec<Record>, redb::Error> {
        let (mut records, mut total) = (Vec::new(), 0);
        let reading = self.database.begin_read()?;
        for entry in reading.open_table(WEBHOOKS)?.range(place..)?.take(count) {
            let (place, value) = entry?;
            let (id, subject, headers, body) = value.value();
            total += body.len();
            if total > bytes && !records.is_empty() {
                break;
            }
            let webhook = Webhook {
                subject: Subject::from(subject),
                id: WebhookId::from(id),
                headers: decode(headers)?,
                body: Body::unbudgeted(Bytes::copy_from_slice(body)),
            };
            records.push(Record { place: place.value(), webhook });
        }
        Ok(records)
    }

    /// Lets go of the webhooks at `places`, which are stored elsewhere now.
    pub fn remove(&mut self, places: &[u64]) -> Result<(), redb::Error> {
        let mut held = self.held;
        let writing = self.database.begin_write()?;
        {
            let mut table = writing.open_table(WEBHOOKS)?;
            let mut ids = writing.open_table(PLACES)?;
            for place in places {
                let Some(value) = table.remove(place)? else { continue };
                let (id, subject, headers, body) = value.value();
                ids.remove(id)?;
                let bytes = held.bytes.saturating_sub(size(subject, headers, body));
                held = Held { webhooks: held.webhooks - 1, bytes };
            }
            writing.open_table(SUMS)?.insert(BYTES, held.bytes)?;
        }
        writing.commit()?;
        self.held = held;
        Ok(())
    }
}

/// Opens the file in `folder`, both made if they are missing. Permissions that are wider are narrowed, whatever
/// the umask of the process is.
///
/// # Errors
/// The folder belongs to another user, so its permissions cannot be narrowed.
fn open_private(folder: &Path) -> io::Result<File> {
    DirBuilder::new().recursive(true).mode(FOLDER_MODE).create(folder)?;
    narrow(folder, FOLDER_MODE)?;
    let path = folder.join(FILE);
    let mut options = File::options();
    let file = options.read(true).write(true).create(true).truncate(false).mode(FILE_MODE).open(&path)?;
    narrow(&path, FILE_MODE)?;
    Ok(file)
}

fn narrow(path: &Path, wanted: u32) -> io::Result<()> {
    let found = fs::metadata(path)?.permissions().mode() & 0o777;
    if found == wanted {
        return Ok(());
    }
    fs::set_permissions(path, Permissions::from_mode(wanted)).map_err(|error| {
        let path = path.display();
        let why = format!(
            "{path} has the permissions {found:o}, which cannot be narrowed to {wanted:o} ({error}): \
             let SPOOL_DIR be a folder of the gateway's own user"
        );
        io::Error::new(error.kind(), why)
    })
}

fn size(subject: &str, headers: &[u8], body: &[u8]) -> u64 {
    (size_of::<Id>() + subject.len() + headers.len() + body.len()) as u64
}

fn encode(headers: &HeaderMap) -> Vec<u8> {
    let pairs = headers.iter().flat_map(|(name, values)| {
        values.iter().map(move |value| (name.to_string(), value.as_str().to_owned()))
    });
    serde_json::to_vec(&pairs.collect::<Headers>()).expect("pairs of text are JSON")
}

fn decode(json: &[u8]) -> Result<HeaderMap, redb::Error> {
    let corrupted = || redb::Error::Corrupted("headers of a webhook cannot be read".to_owned());
    let pairs: Headers = serde_json::from_slice(json).map_err(|_| corrupted())?;
    let mut headers = HeaderMap::new();
    for (name, value) in pairs {
        let name: HeaderName = name.parse().map_err(|_| corrupted())?;
        headers.append(name, value);
    }
    Ok(headers)
}

#[cfg(test)]
mod tests;
