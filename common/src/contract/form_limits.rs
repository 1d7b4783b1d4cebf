//! Bounds of a form, which gateway and worker keep alike.

/// Largest body of a callback of Twilio, in bytes. Twilio's have about 1 KiB.
pub const MAX_BYTES: usize = 64 * 1024;
/// Most parameters of a callback. Twilio's have about 30.
pub const MAX_PARAMETERS: usize = 300;
