//! The recording in a payload: base64, in any of its usual spellings.

use base64::{
    Engine as _, alphabet,
    engine::{DecodePaddingMode, GeneralPurpose, GeneralPurposeConfig},
};
use serde_json::{Map, Value};

use super::{call_event::Recording, error::ParseError};

/// Standard alphabet, with or without padding.
const BASE64: GeneralPurpose = GeneralPurpose::new(
    &alphabet::STANDARD,
    GeneralPurposeConfig::new()
        .with_decode_padding_mode(DecodePaddingMode::Indifferent)
        .with_decode_allow_trailing_bits(true),
);
/// Longest prefix of a data URI (`data:audio/mpeg;base64,`), in bytes.
const MAX_PREFIX: usize = 256;

/// Moves the recording out of the payload.
///
/// # Errors
/// The field is not a text, or the text is not base64.
pub(super) fn take(data: &mut Map<String, Value>, field: &str) -> Result<Option<Recording>, ParseError> {
    match data.remove(field) {
        Some(Value::String(audio)) if !audio.trim().is_empty() => {
            let audio = decode(audio).ok_or(ParseError::InvalidAudio)?;
            Ok(Some(Recording(audio.into())))
        }
        Some(Value::Null | Value::String(_)) | None => Ok(None),
        Some(_) => Err(ParseError::InvalidAudio),
    }
}

/// Decodes base64: in one piece or in lines, padded or not, in the standard or the URL-safe alphabet, alone
/// or in a data URI. Takes linear time and changes the text in place.
fn decode(text: String) -> Option<Vec<u8>> {
    let start = prefix_length(&text)?;
    let mut text = text.into_bytes();
    let is_plain = |byte: &u8| !(byte.is_ascii_whitespace() || matches!(byte, b'-' | b'_'));
    if text[start..].iter().all(is_plain) {
        return BASE64.decode(&text[start..]).ok();
    }
    text.drain(..start);
    text.retain(|byte| !byte.is_ascii_whitespace());
    for byte in &mut text {
        match byte {
            b'-' => *byte = b'+',
            b'_' => *byte = b'/',
            _ => {}
        }
    }
    BASE64.decode(&text).ok()
}

/// Length in bytes of the prefix of a data URI, and 0 without one. `None` for a data URI that is not base64.
fn prefix_length(text: &str) -> Option<usize> {
    let blank = text.len() - text.trim_start().len();
    let rest = &text.as_bytes()[blank..];
    if !rest.get(..5).is_some_and(|scheme| scheme.eq_ignore_ascii_case(b"data:")) {
        return Some(0);
    }
    let comma = rest.iter().take(MAX_PREFIX).position(|&byte| byte == b',')?;
    let says_base64 = rest[..comma].trim_ascii_end().to_ascii_lowercase().ends_with(b";base64");
    says_base64.then_some(blank + comma + 1)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn base64_is_decoded_in_every_usual_spelling() {
        #[rustfmt::skip]
        let table: [(&str, Option<&[u8]>); 16] = [
            ("SUQz",                                Some(b"ID3")),
            ("SUQzAQ==",                            Some(b"ID3\x01")),
            ("SUQzAQ",                              Some(b"ID3\x01")),
            ("SUQz\nSUQz\r\n",                      Some(b"ID3ID3")),
            (" S U\tQz ",                           Some(b"ID3")),
            ("SUQz-_8=",                            Some(b"ID3\xfb\xff")),
            ("SUQz+/8=",                            Some(b"ID3\xfb\xff")),
            ("SUQz-_8",                             Some(b"ID3\xfb\xff")),
            ("data:audio/mpeg;base64,SUQz",         Some(b"ID3")),
            ("\nDATA:audio/mpeg;x=1;BASE64,SUQ\nz", Some(b"ID3")),
            ("data:audio/mpeg,SUQz",                None),
            ("data:audio/mpeg;base64 SUQz",         None),
            ("not base64!",                         None),
            ("SUQzA",                               None),
            ("SUQ=SUQ=",                            None),
            ("SUQz\u{e9}",                          None),
        ];
        for (text, expected) in table {
            assert_eq!(decode(text.to_owned()).as_deref(), expected, "{text}");
        }
    }
}
