//! The request/reply subjects by which the gateway asks a worker about calls.
//!
//! A NATS service (ADR-32): any number of workers answer, one gets each request. A refusal comes
//! back in the service API's own error headers, with the HTTP status the gateway is to answer, plus
//! [`ERROR_CODE_HEADER`] for the problem's stable code.

/// Name of the NATS service the workers register.
pub const SERVICE_NAME: &str = "agent-calls";

/// Asks for the status of one call. The request is the JSON the caller posted, the answer the JSON
/// the caller gets.
pub const STATUS_SUBJECT: &str = "agent-calls.status";

/// Places one call. The request is the JSON the caller posted, the answer the JSON the caller gets.
pub const PLACE_SUBJECT: &str = "agent-calls.place";

/// The caller's own name for a placement: two requests with the same one place one call.
pub const IDEMPOTENCY_KEY_HEADER: &str = "Idempotency-Key";

/// Stable problem code of a refusal, such as `not_found`.
pub const ERROR_CODE_HEADER: &str = "Aftercall-Error-Code";
