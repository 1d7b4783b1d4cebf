//! What gateway and worker agree on: streams, subjects, headers, and the requests of the status API.

pub mod agent_calls;
pub mod form_limits;
pub mod streams;
