//! Sets facts that several providers state.

use super::spelling::normalize;
use crate::domain::{
    call::{Fact, FactValue, Facts, is_sip_failure},
    text::{MAX_WORD, cut},
};

/// Whether a direction of ElevenLabs or of Twilio is that of an inbound call. `None`: the word says neither.
/// Twilio has several words for outbound calls, for example `outbound-api`.
pub(super) fn is_inbound(direction: &str) -> Option<bool> {
    match normalize(direction).as_str() {
        "inbound" => Some(true),
        word => word.starts_with("outbound").then_some(false),
    }
}

/// Sets the direction if it is known.
pub(super) fn set_direction(facts: &mut Facts, is_inbound: Option<bool>) {
    let word = is_inbound.map(|inbound| if inbound { "inbound" } else { "outbound" });
    set(facts, Fact::Direction, word, MAX_WORD);
}

/// Sets the SIP code, if it is that of a failure. Twilio also gives codes such as 200.
pub(super) fn set_sip_code(facts: &mut Facts, code: Option<&str>) {
    set(facts, Fact::SipCode, code.filter(|code| is_sip_failure(code)), MAX_WORD);
}

/// Sets a fact to a text, cut to `most` characters. A blank text says nothing.
pub(super) fn set(facts: &mut Facts, fact: Fact, text: Option<&str>, most: usize) {
    let text = text.map(str::trim).filter(|text| !text.is_empty());
    facts.extend(text.map(|text| (fact, FactValue::Text(cut(text, most)))));
}
