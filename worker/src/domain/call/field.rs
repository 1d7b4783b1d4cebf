//! The fields of a document whose whole value comes from one event: one row for each field.

/// A field of the document whose whole value comes from one event: the latest event that has the field.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Field {
    /// The payload of the latest event that is about a status or a conversation.
    RawResponse,
    /// The turns of the conversation.
    Transcript,
    /// ElevenLabs' analysis of the conversation.
    Analysis,
    /// ElevenLabs' metadata of the conversation: times, cost, why it ended, the telephone call.
    Metadata,
    /// The kind of party that answered, for example a person or a machine: ElevenLabs' call result, or the
    /// result of an answering machine detection.
    AnsweredBy,
    /// The answer of Twilio or of the SIP trunk when the call could not be initiated.
    InitiationFailure,
    /// What the caller gave the agent, without ElevenLabs' own and secret variables.
    DynamicVariables,
    /// The id and the size of the recording's file.
    Audio,
    /// Twilio's callback on an answering machine detection.
    TwilioAmd,
    /// Twilio's callback on a conference.
    TwilioConference,
    /// Twilio's callback on a recording.
    TwilioRecording,
    /// Twilio's callback on a media stream.
    TwilioStream,
    /// Twilio's callback on a transcription.
    TwilioTranscription,
    /// Any other callback of Twilio without a status.
    TwilioOther,
}

/// The class that decides the largest size of a field: see [`super::size`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum SizeClass {
    Payload,
    Transcript,
    Part,
    Detail,
    Form,
}

/// The fixed properties of a field.
struct Row {
    name: &'static str,
    key_name: &'static str,
    is_payload: bool,
    size: SizeClass,
}

const fn row(name: &'static str, key_name: &'static str, is_payload: bool, size: SizeClass) -> Row {
    Row { name, key_name, is_payload, size }
}

impl Field {
    /// Every field.
    pub const ALL: [Self; 14] = [
        Self::RawResponse,
        Self::Transcript,
        Self::Analysis,
        Self::Metadata,
        Self::AnsweredBy,
        Self::InitiationFailure,
        Self::DynamicVariables,
        Self::Audio,
        Self::TwilioAmd,
        Self::TwilioConference,
        Self::TwilioRecording,
        Self::TwilioStream,
        Self::TwilioTranscription,
        Self::TwilioOther,
    ];

    #[rustfmt::skip]
    const fn row(self) -> Row {
        match self { //                   name, name of the key, is a payload, size
            Self::RawResponse         => row("rawResponse",         "_raw",                 true,  SizeClass::Payload),
            Self::Transcript          => row("transcript",          "_transcript",          false, SizeClass::Transcript),
            Self::Analysis            => row("analysis",            "_analysis",            false, SizeClass::Part),
            Self::Metadata            => row("metadata",            "_metadata",            false, SizeClass::Part),
            Self::AnsweredBy          => row("answeredBy",          "_answeredBy",          false, SizeClass::Detail),
            Self::InitiationFailure   => row("initiationFailure",   "_initiationFailure",   false, SizeClass::Detail),
            Self::DynamicVariables    => row("dynamicVariables",    "_dynamicVariables",    false, SizeClass::Form),
            Self::Audio               => row("audio",               "_audio",               false, SizeClass::Detail),
            Self::TwilioAmd           => row("twilioAmd",           "_twilioAmd",           true,  SizeClass::Form),
            Self::TwilioConference    => row("twilioConference",    "_twilioConference",    true,  SizeClass::Form),
            Self::TwilioRecording     => row("twilioRecording",     "_twilioRecording",     true,  SizeClass::Form),
            Self::TwilioStream        => row("twilioStream",        "_twilioStream",        true,  SizeClass::Form),
            Self::TwilioTranscription => row("twilioTranscription", "_twilioTranscription", true,  SizeClass::Form),
            Self::TwilioOther         => row("twilioOther",         "_twilioOther",         true,  SizeClass::Form),
        }
    }

    /// Whether the field holds the payload of an event. Each event has a payload. An observation (the answer
    /// of ElevenLabs to a status lookup) and a stored call may have none.
    pub fn is_payload(self) -> bool {
        self.row().is_payload
    }

    /// Name in the document.
    pub fn name(self) -> &'static str {
        self.row().name
    }

    /// Name of the internal field with the key: time and id of the event that gave the value.
    pub fn key_name(self) -> &'static str {
        self.row().key_name
    }

    /// The class that decides the largest size of the value.
    pub(super) fn size_class(self) -> SizeClass {
        self.row().size
    }
}
