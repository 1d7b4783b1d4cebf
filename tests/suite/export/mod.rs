//! The command `export`: what it writes is what is stored, whatever the calls contain and whenever it is killed.

mod content;
mod resume;
mod selection;

use std::process::{Output, Stdio};

use aftercall_worker::store::Store;
use futures_util::TryStreamExt as _;
use mongodb::{
    Collection,
    bson::{Bson, DateTime, Document, doc, oid::ObjectId},
};
use serde_json::{Map, Value};
use tokio::process::Command;

use crate::{
    harness::{Mongo, within},
    inserts,
};

/// A database with stored calls.
pub struct Stored {
    uri: String,
    database: &'static str,
    calls: Collection<Document>,
    _store: Store,
}

impl Stored {
    /// An empty database of this name, with the indexes of the worker.
    pub async fn empty(database: &'static str) -> Self {
        let mongo = Mongo::shared().await;
        let (store, calls) = inserts::store(&mongo, database).await;
        Self { uri: mongo.uri(), database, calls, _store: store }
    }

    /// Stores calls.
    pub async fn insert(&self, calls: Vec<Document>) {
        self.calls.insert_many(calls).await.unwrap();
    }

    /// The command `export` with these arguments.
    fn command(&self, args: &[&str]) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_aftercall-tests"));
        command.env_clear().env("MONGODB_URI", &self.uri).env("MONGODB_DATABASE", self.database);
        command.args(["worker", "export"]).args(args).kill_on_drop(true);
        command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
        command
    }

    pub async fn run(&self, args: &[&str]) -> Output {
        within("the export ends", self.command(args).output()).await.unwrap()
    }

    /// Standard output of an export that succeeds.
    async fn export(&self, args: &[&str]) -> String {
        let output = self.run(args).await;
        assert!(output.status.success(), "{}", errors(&output));
        String::from_utf8(output.stdout).unwrap()
    }

    /// The stored calls in the order of an export, with their fields as the API gives them.
    async fn expected(&self, filter: Document) -> Vec<Map<String, Value>> {
        let found = self.calls.find(filter).sort(doc! { "createdAt": -1, "_id": -1 });
        let found: Vec<Document> = found.await.unwrap().try_collect().await.unwrap();
        found.iter().map(visible).collect()
    }
}

pub fn errors(output: &Output) -> String {
    String::from_utf8_lossy(&output.stderr).into_owned()
}

/// The calls in the lines of an export as JSON.
fn read_ndjson(text: &str) -> Vec<Map<String, Value>> {
    text.lines().map(|line| serde_json::from_str(line).unwrap_or_else(|_| panic!("{line:?}"))).collect()
}

/// The fields of a document that the API shows, except transcript, payloads and history.
fn visible(document: &Document) -> Map<String, Value> {
    const LARGE: [&str; 6] =
        ["transcript", "rawResponse", "requestPayload", "history", "analysis", "metadata"];
    let mut fields = Map::new();
    for (name, value) in document {
        let name = match name.as_str() {
            "_placementId" => "placementId",
            "sharedCallId" => "callId",
            name if name.starts_with('_') || LARGE.contains(&name) => continue,
            name => name,
        };
        fields.insert(name.to_owned(), json(value));
    }
    fields
}

fn json(value: &Bson) -> Value {
    match value {
        Bson::String(text) => text.as_str().into(),
        Bson::Int32(number) => (*number).into(),
        Bson::Int64(number) => (*number).into(),
        Bson::Double(number) => (*number).into(),
        Bson::Boolean(truth) => (*truth).into(),
        Bson::DateTime(date) => {
            let time = jiff::Timestamp::from_millisecond(date.timestamp_millis()).unwrap();
            time.strftime("%Y-%m-%dT%H:%M:%S.%3fZ").to_string().into()
        }
        Bson::Array(items) => items.iter().map(json).collect(),
        Bson::Document(document) => {
            document.iter().map(|(name, value)| (name.clone(), json(value))).collect::<Map<_, _>>().into()
        }
        other => panic!("{other}"),
    }
}

/// The time of call `n`. Ten calls each have the same one.
pub fn created(n: i64) -> DateTime {
    DateTime::from_millis(1_790_000_000_000 + n / 10)
}

/// A call with all facts.
pub fn call(n: i64) -> Document {
    let outcomes = ["answered", "voicemail", "busy", "no_answer"];
    let outcome = outcomes[usize::try_from(n % 4).unwrap()];
    let at = |after: i64| DateTime::from_millis(created(n).timestamp_millis() + after);
    doc! {
        "_id": ObjectId::new(), "callId": format!("CA{n:032x}"), "conversationId": format!("conv_{n:024x}"),
        "agentId": format!("agent_{}", n % 3), "agentPhoneNumberId": "phnum_1", "agentName": "Anna",
        "toNumber": format!("+1202555{n:04}"), "fromNumber": "+15005550006",
        "status": if n % 4 < 2 { "ended" } else { outcome }, "outcome": outcome,
        "direction": if n % 2 == 0 { "outbound" } else { "inbound" }, "channel": "twilio",
        "startedAt": at(10), "answeredAt": at(4000), "endedAt": at(64_000), "durationSecs": 60_i64 + n % 60,
        "cost": 100_i64 + n % 7, "callSuccessful": "success", "summary": "They agreed on a date.",
        "batchCallId": format!("btcal_{}", n % 5), "campaignId": format!("camp_{}", n % 2),
        "dynamicVariables": { "name": "Anna", "n": n }, "transcriptState": "saved",
        "createdAt": created(n), "statusUpdatedAt": at(64_000), "updatedAt": at(64_040),
        "revision": 1_790_000_000_000_i64 + n,
        "transcript": [{ "role": "agent", "message": "Hello" }], "rawResponse": { "a": 1 },
        "history": [{ "eventId": "e", "status": "ended" }], "_status": { "rank": 5 }, "_outcome": { "rank": 1 },
    }
}
