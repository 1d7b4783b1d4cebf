//! The schemas of a call, of lists, and of the parts of a call.

use aftercall_worker::{
    domain::call::{Outcome, Status},
    store::{Include, STATUS_FIELDS, json_fields, views::DIRECTIONS},
};
use utoipa::openapi::{Object, ObjectBuilder, RefOr, Schema};

use crate::schema::{
    anything, list, named, named_or_null, number, object, open_object, or_null, text, time, truth, word,
};

/// Every schema of this module with its name.
pub fn schemas() -> Vec<(&'static str, RefOr<Schema>)> {
    vec![
        ("Call", call("A call. A field that is not known is absent.", json_fields(Include::ALL)).into()),
        ("CallList", call_list().into()),
        ("CallState", call_state().into()),
        ("Outcome", word("How a call turned out.", Outcome::ALL.map(Outcome::as_str)).into()),
        ("Status", word("State of a call. It only moves forward.", Status::ALL.map(Status::as_str)).into()),
        ("Turns", turns().into()),
        ("Turn", turn().into()),
    ]
}

/// A call with these fields of its document.
pub fn call(description: &str, fields: impl Iterator<Item = &'static str>) -> Object {
    let mut call = object(description);
    for name in fields {
        call = call.property(name, field(name));
    }
    call.property("otherConversations", other_conversations()).property("omitted", omitted()).build()
}

/// A page of a list.
fn call_list() -> Object {
    object("A page of a list.")
        .property("calls", list("The calls, the newest first.", named("Call")))
        .property("nextCursor", text("Where the next page begins. Absent on the last page."))
        .required("calls")
        .build()
}

/// The answer of the status endpoint: a call, with `null` for some fields that are not known.
fn call_state() -> Object {
    let mut state = object("The state of a call. Some fields that are not known are `null`.");
    for name in json_fields(Include::ALL) {
        if STATUS_FIELDS.contains(&name) {
            state = state.property(name, nullable_field(name)).required(name);
        } else {
            state = state.property(name, field(name));
        }
    }
    state
        .property("otherConversations", other_conversations())
        .property("omitted", omitted())
        .property(
            "stale",
            truth("The call is unfinished, its state is old, and ElevenLabs could not be asked."),
        )
        .required("stale")
        .build()
}

fn turns() -> Object {
    object("The turns of a call.")
        .property("turns", list("The turns in their order.", named("Turn")))
        .required("turns")
        .build()
}

fn turn() -> Object {
    let words = "What was said. Absent or null in a turn that calls a tool.";
    open_object("A turn as ElevenLabs gives it. It has further fields, such as tool calls.")
        .property("role", or_null(text("Who speaks: `agent` or `user`.").build()))
        .property("message", or_null(text(words).build()))
        .build()
}

fn other_conversations() -> impl Into<RefOr<Schema>> {
    list("Ids of the further conversations of the same telephone call.", text("A conversation id."))
}

fn omitted() -> impl Into<RefOr<Schema>> {
    list("Fields that are left out because the answer would be too large.", text("The name of a field."))
}

/// The schema of one field.
fn field(name: &str) -> RefOr<Schema> {
    match name {
        "status" => named("Status").into(),
        "outcome" => named("Outcome").into(),
        _ => own_field(name).into(),
    }
}

/// The schema of one field that may be null.
fn nullable_field(name: &str) -> RefOr<Schema> {
    match name {
        "status" => named_or_null("Status"),
        "outcome" => named_or_null("Outcome"),
        _ => or_null(own_field(name)).into(),
    }
}

/// The schema of a field whose words have no schema of their own.
fn own_field(name: &str) -> Object {
    let builder: ObjectBuilder = match name {
        "placementId" => text("Id of the placement, for a call that was placed through this API."),
        "callId" => text("Id of the call at the carrier, such as Twilio's CallSid."),
        "conversationId" => text("Id of the conversation at ElevenLabs."),
        "agentId" => text("Id of the agent at ElevenLabs."),
        "agentPhoneNumberId" => text("Id of the agent's number at ElevenLabs."),
        "toNumber" => text("Who was called; for WhatsApp the user id, without `+`."),
        "fromNumber" => text("Who called."),
        "failureReason" => text("Why the call failed."),
        "answeredBy" => text("Who or what answered, such as `human` or `machine_start`."),
        "direction" => text("`outbound` or `inbound`.").examples(DIRECTIONS),
        "channel" => text("How the parties are connected: `twilio`, `sip_trunk`, `whatsapp`, `web`, …"),
        "agentName" => text("Name of the agent."),
        "startedAt" => time("When the conversation began, in whole seconds."),
        "answeredAt" => time("When the callee answered, in whole seconds."),
        "endedAt" => time("When the conversation was over, in whole seconds."),
        "durationSecs" => number("Length in seconds."),
        "cost" => number("ElevenLabs' credits."),
        "sipCode" => text("The SIP response code with which the call failed, such as `486`.")
            .pattern(Some("^[4-6][0-9]{2}$")),
        "terminationReason" => text("Why the conversation ended, in ElevenLabs' words."),
        "callSuccessful" => text("ElevenLabs' verdict: `success`, `failure` or `unknown`."),
        "summary" => text("ElevenLabs' summary of the conversation."),
        "batchCallId" => text("The batch to which the call belongs."),
        "batchCallRecipientId" => text("The recipient of the batch."),
        "campaignId" => text("The campaign to which the call belongs."),
        "campaignLeadId" => text("The lead of the campaign."),
        "dynamicVariables" => open_object("What the caller gave the agent."),
        "placementMetadata" => open_object("The `metadata` with which the call was placed through this API."),
        "parentCallId" => text("The call that a leg of Twilio belongs to."),
        "transcriptState" => word("Whether the turns are stored.", ["owed", "saved", "unavailable"]),
        "recordingState" => word("Whether the recording is stored.", ["owed", "saved", "unavailable"]),
        "audio" => {
            open_object("The stored recording: its file, type and size.").property("bytes", number("Size."))
        }
        "createdAt" => time("Earliest known time of the call."),
        "statusUpdatedAt" => time("Time of the status."),
        "updatedAt" => time("When the latest event was stored."),
        "revision" => number("Grows with each change of the call."),
        "rawResponse" => anything("Payload of the latest event."),
        "requestPayload" => anything("The request by which the call was placed."),
        "analysis" => anything("ElevenLabs' analysis of the conversation."),
        "metadata" => anything("ElevenLabs' metadata of the conversation."),
        "initiationFailure" => anything("What Twilio or the SIP trunk said about a call that did not start."),
        "twilioAmd" => anything("Latest callback of Twilio's answering machine detection."),
        "twilioConference" => anything("Latest callback of Twilio about a conference."),
        "twilioRecording" => anything("Latest callback of Twilio about a recording."),
        "twilioStream" => anything("Latest callback of Twilio about a media stream."),
        "twilioTranscription" => anything("Latest callback of Twilio about a transcription."),
        "twilioOther" => anything("Latest other callback of Twilio."),
        "transcript" => anything("The turns, or the reference to the file that holds them."),
        "history" => anything("The events of the call."),
        "leftOut" => anything("The fields whose values were too large for the database."),
        // A test finds a field without a description by this schema.
        _ => anything(UNDESCRIBED),
    };
    builder.build()
}

/// The description of a field that [`own_field`] does not know.
const UNDESCRIBED: &str = "Not described.";

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_field_of_a_call_is_described() {
        let has_own_schema = |name: &&str| !matches!(*name, "status" | "outcome");
        for name in json_fields(Include::ALL).filter(has_own_schema) {
            assert_ne!(own_field(name).description.as_deref(), Some(UNDESCRIBED), "{name}");
        }
    }
}
