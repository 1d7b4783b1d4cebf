//! Reads the parameters of a Twilio callback.
//!
//! Twilio signs the sorted names and values of all parameters, without separators. Therefore several bodies
//! can have the same signature: the parameters may be in another order or encoding, or the boundary between a
//! name and its value may be moved. [`Form::canonical`] is the same for all of these bodies. The id of a
//! callback is the hash of this canonical form, so one signature has one id.
//!
//! Invariants:
//! - Reading takes time and memory in proportion to the body, which has at most [`MAX_BYTES`].
//! - No name occurs twice.
//! - Error texts contain no part of the body.

use std::borrow::Cow;

pub use aftercall_common::contract::form_limits::{MAX_BYTES, MAX_PARAMETERS};
use aftercall_common::json::BYTE_ORDER_MARK;
use bytes::Bytes;

/// The parameter that identifies the call. Every callback has it.
const CALL_SID: &str = "CallSid";

/// Why a body is refused as a form.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum FormError {
    /// The form is larger than [`MAX_BYTES`].
    #[error("The form is larger than {MAX_BYTES} bytes.")]
    TooLarge,
    /// The form has more than [`MAX_PARAMETERS`] parameters.
    #[error("The form has more than {MAX_PARAMETERS} parameters.")]
    TooManyParameters,
    /// The form is not UTF-8.
    #[error("The body must be a form in UTF-8.")]
    NotText,
    /// A name is empty, or has characters that Twilio's names do not have.
    #[error(
        "The name of a parameter must be letters, digits and underscores, with a letter first; after `SipHeader_` also hyphens."
    )]
    Name,
    /// A name occurs twice.
    #[error("A parameter occurs twice.")]
    Duplicate,
    /// `CallSid` is missing or invalid.
    #[error("The parameter CallSid must be 1 to 34 letters and digits.")]
    NoCall,
}

/// The decoded parameters, sorted by name.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Form<'a> {
    parameters: Vec<(Cow<'a, str>, Cow<'a, str>)>,
}

impl<'a> Form<'a> {
    /// Reads `body`. A byte order mark before the first name is skipped.
    ///
    /// # Errors
    /// See [`FormError`].
    pub fn parse(body: &'a [u8]) -> Result<Self, FormError> {
        if body.len() > MAX_BYTES {
            return Err(FormError::TooLarge);
        }
        let body = body.strip_prefix(BYTE_ORDER_MARK).unwrap_or(body);
        if str::from_utf8(body).is_err() {
            return Err(FormError::NotText);
        }
        let mut parameters = Vec::new();
        for (name, value) in form_urlencoded::parse(body) {
            if parameters.len() == MAX_PARAMETERS {
                return Err(FormError::TooManyParameters);
            }
            if !is_name(&name) {
                return Err(FormError::Name);
            }
            parameters.push((name, value));
        }
        parameters.sort_unstable();
        if parameters.windows(2).any(|two| two[0].0 == two[1].0) {
            return Err(FormError::Duplicate);
        }
        let form = Self { parameters };
        if form.get(CALL_SID).is_some_and(is_call_sid) { Ok(form) } else { Err(FormError::NoCall) }
    }

    /// The value of the parameter `name`.
    pub fn get(&self, name: &str) -> Option<&str> {
        let found = self.parameters.binary_search_by(|(other, _)| other.as_ref().cmp(name)).ok()?;
        Some(&self.parameters[found].1)
    }

    /// The parameters as Twilio signs them. The id of the callback is the hash of these bytes.
    pub fn canonical(&self) -> Bytes {
        let length = self.parameters.iter().map(|(name, value)| name.len() + value.len()).sum();
        let mut text = Vec::with_capacity(length);
        for (name, value) in &self.parameters {
            text.extend_from_slice(name.as_bytes());
            text.extend_from_slice(value.as_bytes());
        }
        text.into()
    }
}

/// Whether Twilio can have a parameter with this name: a letter, then letters, digits and underscores.
/// Names of SIP headers (`SipHeader_X-…`) also have hyphens.
fn is_name(name: &str) -> bool {
    let may_have_hyphens = name.starts_with("SipHeader_");
    name.starts_with(|first: char| first.is_ascii_alphabetic())
        && name
            .bytes()
            .all(|byte| byte.is_ascii_alphanumeric() || byte == b'_' || (may_have_hyphens && byte == b'-'))
}

/// Whether `value` can be the id of a call. Twilio's ids have 34 characters. A longer value means that the
/// boundary of the parameter was moved.
fn is_call_sid(value: &str) -> bool {
    (1..=34).contains(&value.len()) && value.bytes().all(|byte| byte.is_ascii_alphanumeric())
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn all_spellings_of_the_same_parameters_have_one_canonical_form() {
        let canonical = |body: &str| Form::parse(body.as_bytes()).unwrap().canonical();
        let expected = canonical("CallSid=CA1&CallStatus=no-answer&To=%2B15005550006");
        assert_eq!(&expected[..], b"CallSidCA1CallStatusno-answerTo+15005550006");
        for spelling in [
            "To=%2b15005550006&CallStatus=no-answer&CallSid=CA1",
            "&CallSid=CA1&&CallStatus=no%2Danswer&To=%2B15005550006&",
            "%43allSid=CA1&CallStatus=no-answer&To=%2B15005550006",
            "\u{feff}CallSid=CA1&CallStatus=no-answer&To=%2B15005550006",
        ] {
            assert_eq!(canonical(spelling), expected, "{spelling}");
        }
        assert_ne!(canonical("CallSid=CA1&CallStatus=no-answer&To=%2B15005550007"), expected);
        // The boundary between name and value is moved.
        for (divided, error) in [
            ("CallSid=CA1CallStatusno-answerTo%2B15005550006", FormError::NoCall),
            ("CallSid=CA1&CallStatusno-answerTo=%2B15005550006", FormError::Name),
        ] {
            assert_eq!(Form::parse(divided.as_bytes()), Err(error), "{divided}");
        }
    }

    #[test]
    fn forms_that_twilio_does_not_send_are_refused() {
        use FormError::{Duplicate, Name, NoCall, NotText, TooLarge, TooManyParameters};
        let many = |count: usize| {
            let more: Vec<_> = (1..count).map(|n| format!("p{n}=1")).collect();
            format!("CallSid=CA1&{}", more.join("&")).into_bytes()
        };
        let long = |bytes: usize| [b"CallSid=CA1&a=".to_vec(), vec![b'x'; bytes - 14]].concat();
        #[rustfmt::skip]
        let table: [(Vec<u8>, Result<(), FormError>); 22] = [
            (b"CallSid=CA1".to_vec(),                           Ok(())),
            (b"CallSid=CA1&SipHeader_X-Account=1".to_vec(),     Ok(())),
            (b"CallSid=CA1&Empty=".to_vec(),                    Ok(())),
            (many(300),                                         Ok(())),
            (many(301),                                         Err(TooManyParameters)),
            (long(64 * 1024),                                   Ok(())),
            (long(64 * 1024 + 1),                               Err(TooLarge)),
            (b"".to_vec(),                                      Err(NoCall)),
            (b"CallStatus=ringing".to_vec(),                    Err(NoCall)),
            (b"CallSid=".to_vec(),                              Err(NoCall)),
            (b"callsid=CA1".to_vec(),                           Err(NoCall)),
            // The boundary of the first name is moved.
            (b"CallSidCAtw1CallStatusring=ing".to_vec(),        Err(NoCall)),
            (b"CallSid=CA1&CallSid=CA1".to_vec(),               Err(Duplicate)),
            (b"CallSid=CA1&CallSid=CA2".to_vec(),               Err(Duplicate)),
            (b"CallSid=CA1&a=1&%61=2".to_vec(),                 Err(Duplicate)),
            (b"CallSid=CA1&=1".to_vec(),                        Err(Name)),
            (b"CallSid=CA1&1a=1".to_vec(),                      Err(Name)),
            (b"CallSid=CA1&a+b=1".to_vec(),                     Err(Name)),
            (b"CallSid=CA1&caf%C3%A9=1".to_vec(),               Err(Name)),
            (b"{\"CallSid\":\"CA1\"}".to_vec(),                 Err(Name)),
            (b"CallSid=CA1&a=\xff".to_vec(),                    Err(NotText)),
            (b"\xEF\xBB\xBF\xEF\xBB\xBFCallSid=CA1".to_vec(),   Err(Name)),
        ];
        for (body, expected) in table {
            let shown = body[..body.len().min(60)].escape_ascii().to_string();
            assert_eq!(Form::parse(&body).map(drop), expected, "{shown}");
        }
    }

    proptest! {
        #[test]
        fn order_of_parameters_does_not_matter_and_values_are_found(values in prop::collection::vec("[ -~é新]{0,12}", 1..9), turn: usize) {
            let mut pairs: Vec<_> = values.iter().enumerate().map(|(n, value)| (format!("P{n}"), value.clone())).collect();
            pairs.push((CALL_SID.to_owned(), "CA1".to_owned()));
            let encode = |pairs: &[(String, String)]| {
                form_urlencoded::Serializer::new(String::new()).extend_pairs(pairs).finish()
            };
            let first = encode(&pairs);
            let middle = turn % pairs.len();
            pairs.rotate_left(middle);
            let second = encode(&pairs);
            let (first, second) = (Form::parse(first.as_bytes()).unwrap(), Form::parse(second.as_bytes()).unwrap());
            prop_assert_eq!(&first, &second);
            for (name, value) in &pairs {
                prop_assert_eq!(first.get(name), Some(&value[..]));
            }
        }

        #[test]
        fn any_bytes_are_parsed_or_refused(body: Vec<u8>) {
            let _any = Form::parse(&body);
        }
    }
}
