//! The largest body of a webhook. Gateway and worker keep to it, so that the worker can read what the gateway
//! accepts.

/// Largest value of `MAX_BODY_BYTES`, in bytes: 128 MiB.
pub const MAX_BYTES: usize = 128 * 1024 * 1024;
