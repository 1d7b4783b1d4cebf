//! One row of the list of calls. Pure.

use std::time::Duration;

use jiff::Timestamp;
use mongodb::bson::{Bson, Document, doc, oid::ObjectId};

use super::{length::LENGTH, plan::NUMBER_SUFFIXES};
use crate::{
    domain::{
        call::{Outcome, Status},
        text::{MAX_PARTY, MAX_REASON, cut},
        time::between,
    },
    store::{
        convert::{date, whole_number},
        notes::note_ids,
    },
};

/// The fields of a call that a list shows.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CallRow {
    /// The `_id` of its document.
    pub id: ObjectId,
    /// Call id that only this document has.
    pub call_id: Option<String>,
    /// Call id that several conversations share. Then `call_id` is `None`.
    pub shared_call_id: Option<String>,
    /// Conversation id.
    pub conversation_id: Option<String>,
    /// Id of the placement.
    pub placement_id: Option<String>,
    /// The number that was called.
    pub to_number: Option<String>,
    /// The number of the caller.
    pub from_number: Option<String>,
    /// The last digits of the numbers.
    pub number_suffixes: Vec<String>,
    /// Status. `None` if this version does not know the stored word.
    pub status: Option<Status>,
    /// How the call turned out. `None`: it is not over, or a worker of an earlier version wrote it.
    pub outcome: Option<Outcome>,
    /// `inbound` or `outbound`.
    pub direction: Option<String>,
    /// Id of the agent.
    pub agent_id: Option<String>,
    /// Name of the agent.
    pub agent_name: Option<String>,
    /// The batch to which the call belongs.
    pub batch: Option<String>,
    /// The campaign to which the call belongs.
    pub campaign: Option<String>,
    /// ElevenLabs' judgement: `success`, `failure` or `unknown`.
    pub evaluation: Option<String>,
    /// The beginning of the summary of the conversation.
    pub summary: Option<String>,
    /// Cost in ElevenLabs' credits.
    pub cost: Option<u64>,
    /// Reason of the failure.
    pub failure_reason: Option<String>,
    /// The SIP response code with which the call failed.
    pub sip_code: Option<String>,
    /// The earliest known time of the call.
    pub created_at: Timestamp,
    /// The length to show: `durationSecs`, or another source for calls of earlier versions.
    pub duration: Option<Duration>,
    /// The stored field `durationSecs`. Filters use it.
    pub stated_length: Option<u64>,
    /// The ids by which notes on the call are found.
    pub note_ids: Vec<String>,
    /// Whether somebody has marked the call as reviewed. Only lists read this.
    pub is_reviewed: bool,
    /// State of the transcript: `owed`, `saved` or `unavailable`.
    pub transcript: Option<String>,
}

/// Most characters of a text that MongoDB returns. Earlier versions stored texts of any length.
pub(super) const MAX_TEXT: i32 = 1000;

/// Most characters of a summary that the server returns for a list.
const MAX_ROW_SUMMARY: i32 = 200;

/// The projection for a row.
pub(super) fn fields() -> Document {
    doc! {
        "outcome": 1, "direction": 1, "agentId": 1, "agentName": 1, "batchCallId": 1, "campaignId": 1,
        "callSuccessful": 1, "summary": start_of("$summary", MAX_ROW_SUMMARY), "cost": 1, "durationSecs": 1,
        "callId": 1, "sharedCallId": 1, "conversationId": 1, "_placementId": 1, "toNumber": beginning("$toNumber"),
        "fromNumber": beginning("$fromNumber"),
        "status": 1, "failureReason": beginning("$failureReason"), "sipCode": 1, NUMBER_SUFFIXES: 1,
        "createdAt": 1, "transcriptState": 1, "metadata.call_duration_secs": 1, "rawResponse.CallDuration": 1,
        "history.status": 1, "history.at": 1,
    }
}

/// An expression for the beginning of a text. A value that is not a text is left out.
pub(in crate::store) fn beginning(field: &str) -> Document {
    start_of(field, MAX_TEXT)
}

/// An expression for the first `most` characters of a text.
fn start_of(field: &str, most: i32) -> Document {
    let is_text = doc! { "$eq": [{ "$type": field }, "string"] };
    doc! { "$cond": [is_text, { "$substrCP": [field, 0, most] }, "$$REMOVE"] }
}

impl CallRow {
    /// The number of the person who talks with the agent: of an inbound call the caller's, else the one called.
    pub fn person_number(&self) -> Option<&str> {
        let is_inbound = self.direction.as_deref() == Some("inbound");
        if is_inbound { self.from_number.as_deref() } else { self.to_number.as_deref() }
    }

    /// Reads a row. `None` if a field is missing that every call has.
    pub(super) fn read(call: &Document) -> Option<Self> {
        let text = |field: &str| call.get_str(field).ok().map(str::to_owned);
        Some(Self {
            id: call.get_object_id("_id").ok()?,
            call_id: text("callId"),
            shared_call_id: text("sharedCallId"),
            conversation_id: text("conversationId"),
            placement_id: text("_placementId"),
            // Earlier versions stored texts of any length.
            to_number: text("toNumber").map(|number| cut(&number, MAX_PARTY)),
            from_number: text("fromNumber").map(|number| cut(&number, MAX_PARTY)),
            number_suffixes: call
                .get_array(NUMBER_SUFFIXES)
                .into_iter()
                .flatten()
                .filter_map(Bson::as_str)
                .map(str::to_owned)
                .collect(),
            status: call.get_str("status").ok().and_then(Status::from_word),
            outcome: call.get_str("outcome").ok().and_then(Outcome::from_word),
            direction: text("direction"),
            agent_id: text("agentId").map(|id| cut(&id, MAX_PARTY)),
            agent_name: text("agentName").map(|name| cut(&name, MAX_PARTY)),
            batch: text("batchCallId"),
            campaign: text("campaignId"),
            evaluation: text("callSuccessful"),
            summary: text("summary"),
            cost: whole_number(call, "cost"),
            failure_reason: text("failureReason").map(|reason| cut(&reason, MAX_REASON)),
            sip_code: text("sipCode"),
            created_at: date(call, "createdAt")?,
            duration: duration(call),
            stated_length: whole_number(call, LENGTH),
            note_ids: note_ids(call),
            is_reviewed: false,
            transcript: text("transcriptState"),
        })
    }

    /// The id that a person is most likely to know: call id, else conversation id, else id of the placement.
    pub fn name(&self) -> Option<&str> {
        self.call_id.as_deref().or(self.conversation_id.as_deref()).or(self.placement_id.as_deref())
    }

    #[cfg(test)]
    pub(super) fn empty() -> Self {
        Self {
            id: ObjectId::from_bytes([1; 12]),
            call_id: None,
            shared_call_id: None,
            conversation_id: None,
            placement_id: None,
            to_number: None,
            from_number: None,
            number_suffixes: Vec::new(),
            status: None,
            outcome: None,
            direction: None,
            agent_id: None,
            agent_name: None,
            batch: None,
            campaign: None,
            evaluation: None,
            summary: None,
            cost: None,
            failure_reason: None,
            sip_code: None,
            created_at: Timestamp::UNIX_EPOCH,
            duration: None,
            stated_length: None,
            note_ids: Vec::new(),
            is_reviewed: false,
            transcript: None,
        }
    }
}

/// Longest length in seconds that is shown. Webhooks that say more are not believed either.
const MAX_SECONDS: u64 = 86_400;

/// The length of a call: `durationSecs`. A call of an earlier version has no such field; then it is the length from
/// ElevenLabs, else from Twilio, else the time between answer and end.
pub(super) fn duration(call: &Document) -> Option<Duration> {
    let metadata = call.get_document("metadata").ok().and_then(|metadata| metadata.get("call_duration_secs"));
    let twilio = call.get_document("rawResponse").ok().and_then(|raw| raw.get("CallDuration"));
    let stated = [call.get("durationSecs"), metadata, twilio].into_iter().flatten().filter_map(seconds);
    let known = stated
        .filter(|secs| *secs <= MAX_SECONDS)
        .map(Duration::from_secs)
        .next()
        .or_else(|| time_between_answer_and_end(call));
    // Some sources say 0 for a call that nobody answered.
    known.filter(|time| !time.is_zero())
}

fn seconds(value: &Bson) -> Option<u64> {
    match value {
        Bson::Int32(seconds) => u64::try_from(*seconds).ok(),
        Bson::Int64(seconds) => u64::try_from(*seconds).ok(),
        Bson::Double(seconds) => Duration::try_from_secs_f64(*seconds).ok().map(|time| time.as_secs()),
        Bson::String(seconds) => seconds.trim().parse().ok(),
        _ => None,
    }
}

fn time_between_answer_and_end(call: &Document) -> Option<Duration> {
    let history = call.get_array("history").ok()?;
    let time_of = |statuses: &[Status]| {
        history.iter().filter_map(Bson::as_document).find_map(|event| {
            let status = event.get_str("status").ok().and_then(Status::from_word)?;
            statuses.contains(&status).then(|| date(event, "at"))?
        })
    };
    let answered = time_of(&[Status::Answered])?;
    let ended = time_of(&[Status::Ended, Status::Completed, Status::Failed])?;
    (ended >= answered).then(|| between(answered, ended))
}

#[cfg(test)]
mod tests {
    use mongodb::bson::DateTime;

    use super::*;

    #[test]
    fn the_length_comes_from_the_first_source_that_states_it() {
        let at = |second: i64| DateTime::from_millis(second * 1000);
        let history = vec![
            doc! { "status": "ringing", "at": at(1) },
            doc! { "status": "answered", "at": at(5) },
            doc! { "status": "ended", "at": at(47) },
        ];
        #[rustfmt::skip]
        let table = [
            (doc! { "durationSecs": 60_i64, "metadata": { "call_duration_secs": 61 } }, Some(60)),
            (doc! { "metadata": { "call_duration_secs": 61 }, "history": &history }, Some(61)),
            (doc! { "rawResponse": { "CallDuration": "12" }, "history": &history },  Some(12)),
            (doc! { "rawResponse": { "CallDuration": "soon" }, "history": &history }, Some(42)),
            (doc! { "metadata": { "call_duration_secs": -1 } },                       None),
            (doc! { "history": [{ "status": "answered", "at": at(5) }] },             None),
            (doc! {},                                                                 None),
        ];
        for (call, seconds) in table {
            assert_eq!(duration(&call), seconds.map(Duration::from_secs), "{call}");
        }
    }

    #[test]
    fn the_person_of_an_inbound_call_is_the_caller() {
        for (direction, number) in [(Some("inbound"), "from"), (Some("outbound"), "to"), (None, "to")] {
            let row = CallRow {
                direction: direction.map(str::to_owned),
                from_number: Some("from".to_owned()),
                to_number: Some("to".to_owned()),
                ..CallRow::empty()
            };
            assert_eq!(row.person_number(), Some(number), "{direction:?}");
        }
    }
}
