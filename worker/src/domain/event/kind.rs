//! The event types of ElevenLabs' own envelope.

use super::spelling::normalize;

/// Type of the event that a conversation is over and analysed.
pub const TRANSCRIPTION: &str = "post_call_transcription";

/// The events of the vendor's envelope that this version knows.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    /// `post_call_transcription`
    Transcription,
    /// `post_call_transcription_otel`: the conversation as OpenTelemetry traces. Its form is not documented, so
    /// the worker fetches the conversation.
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

    /// The kind with exactly this word.
    pub(super) fn exact(word: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|kind| kind.as_str() == word)
    }

    /// The kind of a word in any of the usual spellings.
    pub(super) fn from_word(word: &str) -> Option<Self> {
        let word = normalize(word);
        Self::ALL.into_iter().find(|kind| normalize(kind.as_str()) == word)
    }

    /// The word in a body.
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
