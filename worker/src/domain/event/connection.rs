//! Facts about the connection of a call, which several providers state.

use super::spelling::normalize;
use crate::domain::{
    call::{Fact, FactValue, Facts},
    text::{MAX_WORD, cut},
};

/// Whether a direction of ElevenLabs or of Twilio is that of an inbound call.
pub(super) fn is_inbound(direction: &str) -> bool {
    normalize(direction) == "inbound"
}

/// Sets the direction if it is known.
pub(super) fn set_direction(facts: &mut Facts, is_inbound: Option<bool>) {
    set(facts, Fact::Direction, is_inbound.map(|inbound| if inbound { "inbound" } else { "outbound" }));
}

/// Sets a fact to a word if the word is known.
pub(super) fn set(facts: &mut Facts, fact: Fact, word: Option<&str>) {
    let word = word.map(str::trim).filter(|word| !word.is_empty());
    facts.extend(word.map(|word| (fact, FactValue::Text(cut(word, MAX_WORD)))));
}
