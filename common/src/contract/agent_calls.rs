//! The NATS requests that the gateway sends to a worker: for the status of a call, and to place a call.
//!
//! The workers form a NATS service (ADR-32): one of them answers each request. A refusal comes in the error
//! headers of the service API, with the HTTP status for the caller. [`ERROR_CODE_HEADER`] adds the stable
//! code.

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
