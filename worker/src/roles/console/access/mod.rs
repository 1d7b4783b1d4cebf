//! Access to the console: logins, sessions, limits for wrong logins, for event streams, and for searches for
//! numbers.

pub mod auth;
pub mod backoff;
pub mod csrf;
pub mod ended_sessions;
pub mod named;
pub mod number_searches;
pub mod session;
pub mod stream_limits;
pub mod user;
