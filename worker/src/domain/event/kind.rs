//! The types of ElevenLabs' webhooks that the worker understands.

use super::spelling::normalize;

/// The type of a webhook that brings a conversation with its transcript, once it is over and analysed.
pub const TRANSCRIPTION: &str = "post_call_transcription";

/// The type of a webhook of ElevenLabs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    /// `post_call_transcription`
    Transcription,
    /// `post_call_transcription_otel`: the conversation as an OpenTelemetry trace. ElevenLabs does not document the
    /// form of the trace, so the worker fetches the conversation.
    TranscriptionTrace,
    /// `post_call_audio`
    Audio,
    /// `call_initiation_failure`
    InitiationFailure,
    /// `answering_machine_detection`. ElevenLabs does not document its payload.
    MachineDetection,
}

impl Kind {
    const ALL: [Self; 5] = [
        Self::Transcription,
        Self::TranscriptionTrace,
        Self::Audio,
        Self::InitiationFailure,
        Self::MachineDetection,
    ];

    /// The type with exactly this name.
    pub(super) fn exact(word: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|kind| kind.as_str() == word)
    }

    /// The type with this name, in upper or lower case, and with any separators between its words.
    pub(super) fn from_word(word: &str) -> Option<Self> {
        let word = normalize(word);
        Self::ALL.into_iter().find(|kind| normalize(kind.as_str()) == word)
    }

    /// The name, as `type` in a body has it.
    pub(super) fn as_str(self) -> &'static str {
        match self {
            Self::Transcription => TRANSCRIPTION,
            Self::TranscriptionTrace => "post_call_transcription_otel",
            Self::Audio => "post_call_audio",
            Self::InitiationFailure => "call_initiation_failure",
            Self::MachineDetection => "answering_machine_detection",
        }
    }
}
