//! The NATS requests that the gateway sends to a worker: to read calls, and to place a call.
//!
//! The workers form a NATS service (ADR-32): one of them answers each request. A refusal comes in the error
//! headers of the service API, with the HTTP status for the caller. [`ERROR_CODE_HEADER`] adds the stable
//! code.

use serde::{Deserialize, Serialize};

/// The name of the NATS service that the workers register.
pub const SERVICE_NAME: &str = "agent-calls";

/// Asks for the status of one call. The request is the JSON that the caller posted; the gateway passes the
/// JSON of the answer on to the caller.
pub const STATUS_SUBJECT: &str = "agent-calls.status";

/// Places one call. The request is the JSON that the caller posted; the gateway passes the JSON of the
/// answer on to the caller.
pub const PLACE_SUBJECT: &str = "agent-calls.place";

/// The caller's key for a placement. Two requests with the same key place only one call.
pub const IDEMPOTENCY_KEY_HEADER: &str = "Idempotency-Key";

/// The stable code of a refusal, such as `not_found`.
pub const ERROR_CODE_HEADER: &str = "Aftercall-Error-Code";

/// Lists calls. The request is the query of the URL; the gateway passes the JSON of the answer on to the
/// caller.
pub const LIST_SUBJECT: &str = "agent-calls.list";

/// Reads one call. The request is a [`CallRequest`]; the gateway passes the JSON of the answer on to the
/// caller.
pub const CALL_SUBJECT: &str = "agent-calls.call";

/// Reads a part of the turns of a call. The request is a [`PartRequest`], the answer the bytes of the part.
pub const TRANSCRIPT_SUBJECT: &str = "agent-calls.transcript";

/// Reads a part of the recording of a call. The request is a [`PartRequest`], the answer the bytes of the part.
pub const AUDIO_SUBJECT: &str = "agent-calls.audio";

/// The version of the content of an answer, without quotes.
pub const ETAG_HEADER: &str = "ETag";

/// Size of the whole content in bytes, in the answer to a [`PartRequest`].
pub const LENGTH_HEADER: &str = "Aftercall-Length";

/// Id of the placement, in the answer to [`PLACE_SUBJECT`].
pub const PLACEMENT_ID_HEADER: &str = "Aftercall-Placement-Id";

/// `true` in the answer to [`PLACE_SUBJECT`] if an earlier request with the same key placed the call.
pub const REPLAYED_HEADER: &str = "Idempotent-Replayed";

/// Declares [`Refusal`] from one row for each: name, HTTP status, code, sentence.
macro_rules! refusals {
    ($($name:ident: $status:literal, $code:literal, $sentence:literal;)+) => {
        /// Why a worker does not answer a request. Codes never change.
        #[derive(Clone, Copy, Debug, PartialEq, Eq)]
        pub enum Refusal {
            $(#[doc = $sentence] $name,)+
        }

        impl Refusal {
            /// Every refusal.
            pub const ALL: &'static [Self] = &[$(Self::$name),+];

            /// The HTTP status for the caller.
            pub const fn status(self) -> u16 {
                match self { $(Self::$name => $status,)+ }
            }

            /// The stable code in answers, metrics and documents.
            pub const fn code(self) -> &'static str {
                match self { $(Self::$name => $code,)+ }
            }

            /// What the code means. An answer may have a more precise sentence.
            pub const fn sentence(self) -> &'static str {
                match self { $(Self::$name => $sentence,)+ }
            }
        }
    };
}

refusals! {
    InvalidRequest: 400, "invalid_request", "The request is not valid.";
    NoIdentifier: 400, "no_identifier", "The request names no call.";
    NotFound: 404, "not_found", "No call has the id.";
    NoTranscript: 404, "no_transcript", "The call has no transcript.";
    NoRecording: 404, "no_recording", "The call has no recording.";
    ContentChanged: 409, "content_changed", "The content changed while it was read.";
    IdempotencyConflict: 409, "idempotency_conflict", "The Idempotency-Key was used for another request.";
    InProgress: 409, "in_progress", "A request with the same Idempotency-Key is being dialled.";
    CallRefused: 502, "call_refused", "ElevenLabs declined the call.";
    ElevenLabsUnauthorized: 502, "elevenlabs_unauthorized", "ElevenLabs does not allow the call with this API key.";
    PaymentRequired: 402, "payment_required", "The ElevenLabs plan does not allow the call.";
    AgentOrNumberNotFound: 404, "agent_or_number_not_found", "ElevenLabs does not know the agent or its number.";
    CallInvalid: 422, "call_invalid", "ElevenLabs does not accept the request.";
    RateLimited: 429, "rate_limited", "ElevenLabs accepts no more calls at the moment.";
    ElevenLabsUnavailable: 503, "elevenlabs_unavailable", "ElevenLabs cannot be asked at the moment.";
    ElevenLabsNotConfigured: 503, "elevenlabs_not_configured", "The worker has no API key of ElevenLabs.";
    DatabaseUnavailable: 503, "database_unavailable", "The database does not answer.";
    OutcomeUnknown: 504, "outcome_unknown", "ElevenLabs gave no clear answer and may have dialled.";
}

/// A request for one call.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize, Serialize)]
pub struct CallRequest {
    /// A call id, a conversation id or the id of a placement.
    pub id: String,
    /// The query of the URL.
    pub query: String,
}

/// A request for a part of a content. Large contents travel in parts, so that no message is large and the
/// gateway asks for no more than its client takes.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize, Serialize)]
pub struct PartRequest {
    /// A call id, a conversation id or the id of a placement.
    pub id: String,
    /// Position of the first byte.
    pub offset: u64,
    /// Number of bytes. The answer has fewer only at the end of the content.
    pub length: u64,
    /// The version of which a part is requested, as [`ETAG_HEADER`] gave it. `None`: any.
    pub tag: Option<String>,
}

/// Most bytes of one part.
pub const MAX_PART_BYTES: u64 = 128 * 1024;
