//! The fields of a document that one event gives whole.

/// A field of the document that one event gives whole, and the latest event's prevails.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Field {
    /// The payload of the latest event.
    RawResponse,
    /// The turns of the conversation.
    Transcript,
    /// ElevenLabs' analysis of it.
    Analysis,
    /// ElevenLabs' metadata of it: times, cost, why it ended, the telephone call.
    Metadata,
    /// Who or what answered: ElevenLabs' call result, or the verdict of an answering machine detection.
    AnsweredBy,
    /// What Twilio or the SIP trunk said when the call could not be initiated.
    InitiationFailure,
    /// Where the recording is.
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
    /// A callback of Twilio that says nothing of the kinds above, nor of the status.
    TwilioOther,
}

impl Field {
    /// All of them.
    pub const ALL: [Self; 13] = [
        Self::RawResponse,
        Self::Transcript,
        Self::Analysis,
        Self::Metadata,
        Self::AnsweredBy,
        Self::InitiationFailure,
        Self::Audio,
        Self::TwilioAmd,
        Self::TwilioConference,
        Self::TwilioRecording,
        Self::TwilioStream,
        Self::TwilioTranscription,
        Self::TwilioOther,
    ];

    /// Whether it is the payload of an event. Every event has one; observations and whole documents need not.
    pub fn is_payload(self) -> bool {
        match self {
            Self::RawResponse
            | Self::TwilioAmd
            | Self::TwilioConference
            | Self::TwilioRecording
            | Self::TwilioStream
            | Self::TwilioTranscription
            | Self::TwilioOther => true,
            Self::Transcript
            | Self::Analysis
            | Self::Metadata
            | Self::AnsweredBy
            | Self::InitiationFailure
            | Self::Audio => false,
        }
    }

    /// Its name in the document.
    pub fn name(self) -> &'static str {
        match self {
            Self::RawResponse => "rawResponse",
            Self::Transcript => "transcript",
            Self::Analysis => "analysis",
            Self::Metadata => "metadata",
            Self::AnsweredBy => "answeredBy",
            Self::InitiationFailure => "initiationFailure",
            Self::Audio => "audio",
            Self::TwilioAmd => "twilioAmd",
            Self::TwilioConference => "twilioConference",
            Self::TwilioRecording => "twilioRecording",
            Self::TwilioStream => "twilioStream",
            Self::TwilioTranscription => "twilioTranscription",
            Self::TwilioOther => "twilioOther",
        }
    }

    /// The internal field that keeps which event gave it.
    pub fn key_name(self) -> &'static str {
        match self {
            Self::RawResponse => "_raw",
            Self::Transcript => "_transcript",
            Self::Analysis => "_analysis",
            Self::Metadata => "_metadata",
            Self::AnsweredBy => "_answeredBy",
            Self::InitiationFailure => "_initiationFailure",
            Self::Audio => "_audio",
            Self::TwilioAmd => "_twilioAmd",
            Self::TwilioConference => "_twilioConference",
            Self::TwilioRecording => "_twilioRecording",
            Self::TwilioStream => "_twilioStream",
            Self::TwilioTranscription => "_twilioTranscription",
            Self::TwilioOther => "_twilioOther",
        }
    }
}
