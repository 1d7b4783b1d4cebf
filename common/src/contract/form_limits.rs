//! The bounds of a form. The gateway refuses larger forms, and the worker makes them dead letters.

/// Largest body of a Twilio callback, in bytes. Real callbacks have about 1 KiB.
pub const MAX_BYTES: usize = 64 * 1024;
/// Most parameters of a Twilio callback. Real callbacks have about 30.
pub const MAX_PARAMETERS: usize = 300;
