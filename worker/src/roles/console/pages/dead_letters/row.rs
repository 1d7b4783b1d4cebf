//! One row of the list of dead letters. Pure.

use aftercall_common::phone_numbers::Numbers;
use jiff::Timestamp;

use crate::{dead_letters::DeadLetterView, roles::console::view::format};

/// A dead letter, as texts.
pub struct Row {
    pub number: u64,
    pub age: String,
    /// Time at which the message became a dead letter, in RFC 3339.
    pub iso: String,
    /// The same time as a readable text.
    pub moment: String,
    pub reason: String,
    pub detail: String,
    pub size: String,
    /// Whether the message was a dead letter before, was sent again, and was rejected again.
    pub was_redriven: bool,
}

impl Row {
    /// The texts for `letter`.
    pub fn new(letter: &DeadLetterView, numbers: Numbers, now: Timestamp) -> Self {
        Self {
            number: letter.number,
            age: format::age(letter.dead_lettered_at, now),
            iso: letter.dead_lettered_at.to_string(),
            moment: format::moment(letter.dead_lettered_at),
            reason: format::words(&letter.reason, Numbers::Whole),
            detail: format::sender_text(&letter.detail, numbers),
            size: format::bytes(letter.bytes as u64),
            was_redriven: letter.was_redriven,
        }
    }
}
