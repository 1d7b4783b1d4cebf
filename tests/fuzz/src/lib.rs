//! Fuzz targets: one module for each parser. Its function `run` checks the properties of the parser for any
//! input, and panics if one does not hold.
//!
//! `tests/fuzz/run` calls the targets with inputs that libFuzzer derives from `corpus/`. `cargo test` calls
//! them with the inputs in `corpus/`, which include every input that once failed.

pub mod config;
pub mod elevenlabs_signature;
pub mod event;
mod input;
pub mod json;
pub mod reader;
pub mod source;
pub mod twilio_signature;

/// Checks one input.
pub type Run = fn(&[u8]);

/// The targets and their names. Corpus and binary have the same name.
pub const TARGETS: [(&str, Run); 7] = [
    ("config", config::run),
    ("elevenlabs_signature", elevenlabs_signature::run),
    ("event", event::run),
    ("json", json::run),
    ("reader", reader::run),
    ("source", source::run),
    ("twilio_signature", twilio_signature::run),
];
