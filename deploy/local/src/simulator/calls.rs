//! Placed calls, and their JSON in the vendor's shapes.

use jiff::Timestamp;
use serde_json::{Map, Value, json};

use super::{
    conversation::conversation,
    options::{Carrier, Dialled, Outcome},
};

/// Phase of a call.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Phase {
    Initiated,
    Ringing,
    InProgress,
    Processing,
    Over,
}

/// A placed call.
#[derive(Clone, Debug)]
pub(super) struct Call {
    pub dialled: Dialled,
    pub client_data: Value,
    pub outcome: Outcome,
    pub phase: Phase,
    pub began: Timestamp,
    /// Duration in seconds, once the call is over.
    pub seconds: i64,
    /// The batch that placed the call.
    pub member: Option<Member>,
}

/// Batch and recipient of a call.
#[derive(Clone, Debug)]
pub(super) struct Member {
    pub batch_id: String,
    pub recipient_id: String,
}

impl Call {
    /// The call that `request` places. `n`: its number in this run. `drawn`: a random number, for its outcome and its ids.
    /// Fails with the name of a parameter that is missing.
    pub(super) fn new(
        request: &Value,
        carrier: Carrier,
        n: usize,
        drawn: usize,
    ) -> Result<Self, &'static str> {
        let text = |name: &'static str| match request[name].as_str() {
            Some(text) if !text.is_empty() => Ok(text.to_owned()),
            _ => Err(name),
        };
        let mut client_data = request["conversation_initiation_client_data"].clone();
        if !client_data.is_object() {
            client_data = json!({});
        }
        let given = client_data["dynamic_variables"].as_object().cloned().unwrap_or_default();
        let is_whatsapp = carrier == Carrier::WhatsApp;
        let names = if is_whatsapp {
            ("whatsapp_phone_number_id", "whatsapp_user_id")
        } else {
            ("agent_phone_number_id", "to_number")
        };
        if is_whatsapp {
            text("whatsapp_call_permission_request_template_name")?;
            text("whatsapp_call_permission_request_template_language_code")?;
        }
        let to_number = text(names.1)?;
        let call_sid = match carrier {
            // Exotel does not document its ids; this form is guessed. WhatsApp has none.
            Carrier::Exotel => format!("{drawn:016x}{n:016x}"),
            Carrier::WhatsApp => String::new(),
            Carrier::Twilio => format!("CA{drawn:016x}{n:016x}"),
            Carrier::Sip => format!("{drawn:08x}-0000-4000-8000-{n:012x}"),
        };
        let dialled = Dialled {
            conversation_id: format!("conv_sim{drawn:x}n{n}"),
            call_sid,
            agent_id: text("agent_id")?,
            agent_phone_number_id: text(names.0)?,
            to_number,
            dynamic_variables: given,
            carrier,
        };
        let outcome = Outcome::of(&dialled.to_number, drawn);
        let began = Timestamp::now();
        Ok(Self { dialled, client_data, outcome, phase: Phase::Initiated, began, seconds: 0, member: None })
    }

    /// Whether the call fails before the request that places it is answered.
    pub(super) fn fails_at_once(&self) -> bool {
        self.dialled.to_number.ends_with("06")
    }

    pub(super) fn is_over(&self) -> bool {
        self.phase == Phase::Over
    }

    /// The conversation's `status`.
    pub(super) fn status(&self) -> &'static str {
        match self.phase {
            Phase::Initiated | Phase::Ringing => "initiated",
            Phase::InProgress => "in-progress",
            Phase::Processing => "processing",
            Phase::Over if matches!(self.outcome, Outcome::Answered | Outcome::Voicemail) => "done",
            Phase::Over => "failed",
        }
    }

    /// The body of the answer to `GET /v1/convai/conversations/{id}`.
    pub(super) fn detail(&self) -> Value {
        let call = &self.dialled;
        let mut detail = conversation(&call.conversation_id, self.status(), 0);
        detail["agent_id"] = call.agent_id.as_str().into();
        let metadata = &mut detail["metadata"];
        metadata["start_time_unix_secs"] = self.began.as_second().into();
        metadata["accepted_time_unix_secs"] = self.began.as_second().into();
        metadata["call_duration_secs"] = self.seconds.into();
        if call.carrier == Carrier::WhatsApp {
            metadata["whatsapp"] = json!({
                "direction": "outbound", "whatsapp_phone_number_id": call.agent_phone_number_id,
                "whatsapp_user_id": call.to_number,
                "call_result": self.is_over().then(|| self.outcome.call_result()),
            });
        } else {
            metadata["phone_call"] = self.phone_call();
        }
        metadata["conversation_initiation_source"] = match call.carrier {
            Carrier::Twilio => "twilio",
            Carrier::Sip => "sip_trunk",
            Carrier::Exotel => "exotel",
            Carrier::WhatsApp => "whatsapp",
        }
        .into();
        if self.is_over() && !self.outcome.connects() {
            metadata["error"] = Value::Null;
            metadata["termination_reason"] = "simulated: never connected".into();
        }
        if let Some(member) = &self.member {
            metadata["batch_call"] = json!({
                "batch_call_id": member.batch_id, "batch_call_recipient_id": member.recipient_id,
            });
        }
        let mut variables = call.dynamic_variables.clone();
        variables.insert("system__conversation_id".to_owned(), call.conversation_id.as_str().into());
        variables.insert("system__agent_id".to_owned(), call.agent_id.as_str().into());
        let mut client_data = self.client_data.clone();
        client_data["dynamic_variables"] = Value::Object(variables);
        detail["conversation_initiation_client_data"] = client_data;
        detail
    }

    fn phone_call(&self) -> Value {
        let call = &self.dialled;
        let mut phone = json!({
            "direction": "outbound", "phone_number_id": call.agent_phone_number_id, "call_sid": call.call_sid,
            "agent_number": "+15005550006", "external_number": call.to_number,
        });
        match call.carrier {
            Carrier::Twilio => {
                phone["type"] = "twilio".into();
                phone["stream_sid"] = format!("MZ{}", &call.call_sid[2..]).into();
            }
            Carrier::Exotel => {
                phone["type"] = "exotel".into();
                phone["stream_sid"] = format!("stream{}", call.call_sid).into();
            }
            Carrier::Sip | Carrier::WhatsApp => phone["type"] = "sip_trunking".into(),
        }
        if self.is_over() {
            phone["call_result"] = self.outcome.call_result().into();
        }
        phone
    }

    /// The entry in the list of conversations, which has neither a telephony id nor a number.
    pub(super) fn summary(&self) -> Value {
        let detail = self.detail();
        json!({
            "agent_id": detail["agent_id"], "agent_name": detail["agent_name"],
            "conversation_id": detail["conversation_id"], "status": detail["status"],
            "start_time_unix_secs": self.began.as_second(), "call_duration_secs": self.seconds,
            "message_count": detail["transcript"].as_array().map_or(0, Vec::len),
            "call_successful": match self.status() { "done" => "success", "failed" => "failure", _ => "unknown" },
            "conversation_initiation_source": detail["metadata"]["conversation_initiation_source"],
            "direction": "outbound", "termination_reason": detail["metadata"]["termination_reason"],
            "transcript_summary": null, "call_summary_title": null,
        })
    }

    /// `data` of the webhook for a call that never connected.
    pub(super) fn initiation_failure(&self) -> Value {
        let call = &self.dialled;
        let metadata = match call.carrier {
            Carrier::Twilio => {
                json!({ "type": "twilio", "body": self.twilio(self.outcome.twilio_status(), 2) })
            }
            // Guessed: the documentation has Twilio and SIP alone.
            Carrier::Exotel => json!({ "type": "exotel", "body": {} }),
            Carrier::WhatsApp => json!({ "type": "whatsapp", "body": {} }),
            Carrier::Sip => json!({ "type": "sip", "body": {
                "from_number": "+15005550006", "to_number": call.to_number, "call_sid": call.call_sid,
                "sip_status_code": match self.outcome { Outcome::Busy => 486, Outcome::NoAnswer => 480, _ => 503 },
                "error_reason": "simulated: the trunk did not connect", "sip_status": "simulated",
            } }),
        };
        json!({
            "agent_id": call.agent_id, "conversation_id": call.conversation_id,
            "failure_reason": self.outcome.failure_reason(), "metadata": metadata,
        })
    }

    /// The fields of Twilio's status callback number `n`.
    pub(super) fn twilio(&self, status: &str, n: u32) -> Map<String, Value> {
        let timestamp = jiff::fmt::rfc2822::to_string(&Timestamp::now().to_zoned(jiff::tz::TimeZone::UTC));
        let (from, to) = ("+15005550006", self.dialled.to_number.as_str());
        let mut parameters = Map::new();
        for (name, value) in [
            ("AccountSid", "AC00000000000000000000000000000001"),
            ("ApiVersion", "2010-04-01"),
            ("CallSid", self.dialled.call_sid.as_str()),
            ("CallStatus", status),
            ("CallbackSource", "call-progress-events"),
            ("Direction", "outbound-api"),
            ("From", from),
            ("Caller", from),
            ("To", to),
            ("Called", to),
            ("SequenceNumber", n.to_string().as_str()),
            ("Timestamp", timestamp.as_deref().unwrap_or_default()),
        ] {
            parameters.insert(name.to_owned(), value.into());
        }
        if matches!(status, "completed" | "busy" | "no-answer" | "failed") {
            parameters.insert("CallDuration".to_owned(), self.seconds.to_string().into());
        }
        parameters
    }
}
