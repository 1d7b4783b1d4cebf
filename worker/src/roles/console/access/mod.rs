//! Access to the console: logins, sessions, limits for wrong logins and for event streams.

pub mod auth;
pub mod backoff;
pub mod csrf;
pub mod named;
pub mod session;
pub mod stream_limits;
pub mod user;
