//! The store of `SPOOL=fallback`: one `redb` database.
//!
//! Invariant: the database holds an id at most once.

use std::{fs::File, path::Path, sync::Arc};

use async_nats::{HeaderMap, HeaderName, Subject};
use bytes::Bytes;
use redb::{
    ReadableDatabase as _, ReadableTable as _, ReadableTableMetadata as _, TableDefinition,
    backends::FileBackend,
};

use super::{
    journal::{Appended, Journal, JournalSize, Record, RecordRange},
    private_file,
};
use crate::{
    admission::body::Body,
    storage::message::{Webhook, WebhookId},
};

/// Name of the file in `SPOOL_DIR`.
const FILE: &str = "spool.redb";
/// Most bytes of the file that are kept in memory.
const CACHE_BYTES: usize = 4 * 1024 * 1024;

type Id = [u8; 32];
/// Id, subject, headers as JSON, body.
type Row<'a> = (Id, &'a str, &'a [u8], &'a [u8]);
/// The webhooks by position.
const WEBHOOKS: TableDefinition<u64, Row> = TableDefinition::new("webhooks");
/// The position of each id.
const POSITIONS: TableDefinition<Id, u64> = TableDefinition::new("places");
/// Sums over all webhooks, by name.
const SUMS: TableDefinition<&str, u64> = TableDefinition::new("sums");
const BYTES: &str = "bytes";

type Headers = Vec<(String, String)>;

/// The open file.
pub(super) struct WebhookDatabase {
    database: redb::Database,
    size: JournalSize,
    next_position: u64,
}

impl Journal for WebhookDatabase {
    type Error = redb::Error;

    /// After a crash `redb` repairs the file.
    fn open(folder: &Path) -> Result<Self, redb::Error> {
        let file = private_file::open(folder, FILE)?;
        let mut database = redb::Database::builder()
            .set_cache_size(CACHE_BYTES)
            .create_with_backend(FileBackend::new(file)?)?;
        // Writes the name of the file to disk. Without the name, a power cut would lose the file.
        File::open(folder)?.sync_all()?;
        let writing = database.begin_write()?;
        let (size, next_position) = {
            let webhooks = writing.open_table(WEBHOOKS)?;
            writing.open_table(POSITIONS)?;
            let sums = writing.open_table(SUMS)?;
            let bytes = sums.get(BYTES)?.map_or(0, |bytes| bytes.value());
            let next_position = webhooks.last()?.map_or(0, |(position, _)| position.value() + 1);
            (JournalSize { webhooks: webhooks.len()?, bytes }, next_position)
        };
        writing.commit()?;
        if size.webhooks == 0 {
            // The file does not shrink otherwise.
            database.compact().map_err(redb::Error::from)?;
        }
        Ok(Self { database, size, next_position })
    }

    fn exists(folder: &Path) -> bool {
        folder.join(FILE).exists()
    }

    fn size(&self) -> JournalSize {
        self.size
    }

    fn append(&mut self, webhooks: &[Arc<Webhook>], max_bytes: u64) -> Result<Vec<Appended>, redb::Error> {
        let (mut size, mut next_position) = (self.size, self.next_position);
        let mut outcomes = Vec::with_capacity(webhooks.len());
        let writing = self.database.begin_write()?;
        {
            let mut table = writing.open_table(WEBHOOKS)?;
            let mut positions = writing.open_table(POSITIONS)?;
            for webhook in webhooks {
                let id = webhook.id.bytes();
                if positions.get(id)?.is_some() {
                    outcomes.push(Appended::Duplicate);
                    continue;
                }
                let headers = encode_headers(&webhook.headers);
                let body = webhook.body.whole();
                let bytes = stored_bytes(&webhook.subject, &headers, &body);
                if size.bytes + bytes > max_bytes {
                    outcomes.push(Appended::Full);
                    continue;
                }
                table.insert(next_position, (id, webhook.subject.as_str(), &headers[..], &body[..]))?;
                positions.insert(id, next_position)?;
                size = JournalSize { webhooks: size.webhooks + 1, bytes: size.bytes + bytes };
                next_position += 1;
                outcomes.push(Appended::Stored);
            }
            writing.open_table(SUMS)?.insert(BYTES, size.bytes)?;
        }
        writing.commit()?;
        (self.size, self.next_position) = (size, next_position);
        Ok(outcomes)
    }

    fn read(
        &mut self,
        start: u64,
        max_webhooks: usize,
        max_bytes: usize,
    ) -> Result<Vec<Record>, redb::Error> {
        let (mut records, mut bytes) = (Vec::new(), 0);
        let reading = self.database.begin_read()?;
        for entry in reading.open_table(WEBHOOKS)?.range(start..)?.take(max_webhooks) {
            let (position, value) = entry?;
            let (id, subject, headers, body) = value.value();
            bytes += body.len();
            if bytes > max_bytes && !records.is_empty() {
                break;
            }
            let webhook = Webhook {
                subject: Subject::from(subject),
                id: WebhookId::from(id),
                headers: decode_headers(headers)?,
                body: Body::unbudgeted(Bytes::copy_from_slice(body)),
            };
            let position = position.value();
            records.push(Record { range: position..position + 1, webhook: Arc::new(webhook) });
        }
        Ok(records)
    }

    fn remove(&mut self, ranges: &[RecordRange]) -> Result<(), redb::Error> {
        let mut size = self.size;
        let writing = self.database.begin_write()?;
        {
            let mut table = writing.open_table(WEBHOOKS)?;
            let mut ids = writing.open_table(POSITIONS)?;
            for range in ranges {
                let Some(value) = table.remove(range.start)? else { continue };
                let (id, subject, headers, body) = value.value();
                ids.remove(id)?;
                let bytes = size.bytes.saturating_sub(stored_bytes(subject, headers, body));
                size = JournalSize { webhooks: size.webhooks - 1, bytes };
            }
            writing.open_table(SUMS)?.insert(BYTES, size.bytes)?;
        }
        writing.commit()?;
        self.size = size;
        Ok(())
    }
}

/// The bytes that a webhook adds to the size of the journal.
fn stored_bytes(subject: &str, headers: &[u8], body: &[u8]) -> u64 {
    (size_of::<Id>() + subject.len() + headers.len() + body.len()) as u64
}

fn encode_headers(headers: &HeaderMap) -> Vec<u8> {
    let pairs = headers.iter().flat_map(|(name, values)| {
        values.iter().map(move |value| (name.to_string(), value.as_str().to_owned()))
    });
    serde_json::to_vec(&pairs.collect::<Headers>()).expect("pairs of text are JSON")
}

fn decode_headers(json: &[u8]) -> Result<HeaderMap, redb::Error> {
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
