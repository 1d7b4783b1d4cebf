//! The reasons why a message cannot be processed, each with the label that the outside sees.

/// Declares [`Reason`] from one row for each reason: its name and its label.
macro_rules! reasons {
    ($($(#[$doc:meta])+ $name:ident = $label:literal,)+) => {
        /// Why a message cannot be processed.
        #[derive(Clone, Copy, Debug, PartialEq, Eq)]
        pub enum Reason {
            $($(#[$doc])+ $name,)+
        }

        impl Reason {
            /// Every reason.
            pub const ALL: &[Self] = &[$(Self::$name),+];

            /// The stable label, for filters and metrics.
            pub const fn label(self) -> &'static str {
                match self { $(Self::$name => $label,)+ }
            }
        }
    };
}

reasons! {
    /// The broker's metadata of the message is missing or out of range.
    NotAStreamMessage = "not_a_stream_message",
    /// Aftercall publishes nothing to the subject of the message.
    UnknownSubject = "unknown_subject",
    /// The body is not one JSON object.
    InvalidJson = "invalid_json",
    /// The event has neither a call id nor a conversation id.
    NoIdentifier = "no_identifier",
    /// An identifier has the wrong type, or characters that no provider uses.
    InvalidIdentifier = "invalid_identifier",
    /// The recording is not base64.
    InvalidAudio = "invalid_audio",
    /// The body names no event type, and its fields do not identify the event type.
    NoEventType = "no_event_type",
    /// The event type is known, but the body does not have its shape.
    UnexpectedShape = "unexpected_shape",
    /// This version does not know the event type.
    UnsupportedEvent = "unsupported_event",
    /// The event does not concern a call. The worker skips the message, without a dead letter.
    NotAboutACall = "not_about_a_call",
    /// MongoDB cannot store the payload.
    UnstorablePayload = "unstorable_payload",
    /// MongoDB refuses the document.
    RejectedByDatabase = "rejected_by_database",
    /// The body is not in the object store.
    BodyMissing = "body_missing",
    /// The body is too large for the worker.
    BodyTooLarge = "body_too_large",
    /// The body has too many values, levels or parameters.
    TooComplex = "too_complex",
    /// The worker's process ended repeatedly while it worked on this message alone.
    KillsTheWorker = "kills_the_worker",
    /// The message is not a transcript job.
    InvalidJob = "invalid_job",
}

impl Reason {
    /// Every reason of a dead letter.
    pub fn of_dead_letters() -> impl Iterator<Item = Self> {
        Self::ALL.iter().copied().filter(|reason| *reason != Self::NotAboutACall)
    }
}
