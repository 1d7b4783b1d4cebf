//! What must hold for any bytes whatsoever: one module a parser, each with a `run` that panics where
//! it does not hold.
//!
//! `tests/fuzz/run` feeds them inputs that libFuzzer makes up from `corpus/`. `cargo test` feeds them
//! `corpus/` as it stands, so that what was once found wrong stays right.

pub mod config;
pub mod elevenlabs_signature;
pub mod event;
pub mod json;
mod pieces;
pub mod reader;
pub mod source;
pub mod twilio_signature;

/// Judges one input.
pub type Run = fn(&[u8]);

/// Every target by its name, which is also that of its corpus and of its binary.
pub const TARGETS: [(&str, Run); 7] = [
    ("config", config::run),
    ("elevenlabs_signature", elevenlabs_signature::run),
    ("event", event::run),
    ("json", json::run),
    ("reader", reader::run),
    ("source", source::run),
    ("twilio_signature", twilio_signature::run),
];

/// The first line of `data` without its line feed, and what follows.
fn line(data: &[u8]) -> (&[u8], &[u8]) {
    match data.iter().position(|&byte| byte == b'\n') {
        Some(end) => (&data[..end], &data[end + 1..]),
        None => (data, &[]),
    }
}
