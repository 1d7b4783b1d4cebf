//! The selection of dead letters: in the address of a list, and in the form that starts work on several. Pure.

use aftercall_common::phone_numbers::Numbers;

use super::queue::SECTION;
use crate::{
    dead_letters::{Group, PAGE},
    roles::console::{live::letter_work::Work, view::format},
};

/// The parameters of a list.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Params {
    /// The reason. Empty: all dead letters.
    pub reason: String,
    /// The type. `None`: all types.
    pub kind: Option<String>,
    /// The page has dead letters before this number. `None`: the newest.
    pub before: Option<u64>,
}

impl Params {
    /// Reads a query. Unknown parameters are left out.
    pub fn read(query: &[u8]) -> Self {
        let mut params = Self::default();
        for (name, value) in form_urlencoded::parse(query) {
            match &*name {
                "reason" => params.reason = value.into_owned(),
                "type" => params.kind = Some(value.into_owned()).filter(|kind| !kind.is_empty()),
                "before" => params.before = value.parse().ok(),
                _ => {}
            }
        }
        params
    }

    /// Whether one reason is chosen.
    pub fn is_group(&self) -> bool {
        !self.reason.is_empty()
    }

    /// Whether the dead letters of `group` are chosen.
    pub fn has(&self, group: &Group) -> bool {
        group.reason == self.reason && self.kind.as_ref().is_none_or(|kind| *kind == group.kind)
    }

    /// The address of the list.
    pub fn address(&self) -> String {
        let mut query = form_urlencoded::Serializer::new(String::new());
        if self.is_group() {
            query.append_pair("reason", &self.reason);
            query.extend_pairs(self.kind.iter().map(|kind| ("type", kind)));
        }
        query.extend_pairs(self.before.map(|before| ("before", before.to_string())));
        let query = query.finish();
        if query.is_empty() { SECTION.to_owned() } else { format!("{SECTION}?{query}") }
    }
}

/// The chosen group, as texts, and the fields of the forms about all of it.
pub struct Chosen {
    pub reason: String,
    pub kind: String,
    pub count: String,
    fields: Vec<(&'static str, String)>,
}

impl Chosen {
    /// `end`: the number after the last dead letter that the page knows.
    pub fn new(params: &Params, count: u64, is_counted: bool, end: u64, numbers: Numbers) -> Self {
        let mut fields = vec![("reason", params.reason.clone()), ("end", end.to_string())];
        fields.extend(params.kind.clone().map(|kind| ("type", kind)));
        let at_least = if is_counted { "" } else { "at least " };
        Self {
            reason: format::words(&params.reason, Numbers::Whole),
            kind: params.kind.as_ref().map(|kind| format::sender_text(kind, numbers)).unwrap_or_default(),
            count: format!("{at_least}{}", format::count(count)),
            fields,
        }
    }

    /// The fields of a form: name and value.
    pub fn fields(&self) -> impl Iterator<Item = (&'static str, &str)> {
        self.fields.iter().map(|(name, value)| (*name, value.as_str()))
    }
}

/// The dead letters that a form names.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Selection {
    /// These numbers.
    Numbers(Vec<u64>),
    /// A whole group, of the numbers before `end`.
    Group { reason: String, kind: Option<String>, end: u64 },
}

/// Why a form starts nothing.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum FormError {
    /// It names no dead letter.
    NothingSelected,
    /// It names more dead letters than a page has.
    TooMany,
    /// It does not say what to do.
    NoWork,
}

/// Reads the form that starts work.
///
/// # Errors
/// See [`FormError`].
pub fn read_form(body: &[u8]) -> Result<(Work, Selection), FormError> {
    let (mut work, mut numbers, mut end, mut params) = (None, Vec::new(), None, Params::default());
    for (name, value) in form_urlencoded::parse(body) {
        match &*name {
            "work" => {
                work = match &*value {
                    "replay" => Some(Work::Replay),
                    "delete" => Some(Work::Delete),
                    _ => None,
                };
            }
            "number" => numbers.extend(value.parse::<u64>().ok()),
            "reason" => params.reason = value.into_owned(),
            "type" => params.kind = Some(value.into_owned()),
            "end" => end = value.parse().ok(),
            _ => {}
        }
        if numbers.len() > PAGE {
            return Err(FormError::TooMany);
        }
    }
    let work = work.ok_or(FormError::NoWork)?;
    numbers.sort_unstable();
    numbers.dedup();
    match end {
        _ if !numbers.is_empty() => Ok((work, Selection::Numbers(numbers))),
        Some(end) if params.is_group() => {
            Ok((work, Selection::Group { reason: params.reason, kind: params.kind, end }))
        }
        _ => Err(FormError::NothingSelected),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_address_of_a_list_is_read_as_the_list() {
        let params = Params {
            reason: "unsupported_event".to_owned(),
            kind: Some("a b&c=d".to_owned()),
            before: Some(77),
        };
        let address = params.address();
        assert_eq!(address, "/dead-letters?reason=unsupported_event&type=a+b%26c%3Dd&before=77");
        assert_eq!(Params::read(address.split_once('?').unwrap().1.as_bytes()), params);
        assert_eq!(
            Params::read(b"type=x&before=soon"),
            Params { kind: Some("x".to_owned()), ..Params::default() }
        );
        assert_eq!(Params::default().address(), "/dead-letters");
    }

    #[test]
    fn a_form_names_numbers_or_a_whole_group() {
        let many = (0..=PAGE).map(|n| format!("number={n}")).collect::<Vec<_>>().join("&");
        let group = |kind: Option<&str>| Selection::Group {
            reason: "no_identifier".to_owned(),
            kind: kind.map(str::to_owned),
            end: 9,
        };
        #[rustfmt::skip]
        let table = [
            ("number=3&number=1&number=3&work=replay",         Ok((Work::Replay, Selection::Numbers(vec![1, 3])))),
            ("work=delete&reason=no_identifier&type=a&end=9",  Ok((Work::Delete, group(Some("a"))))),
            ("work=delete&reason=no_identifier&end=9",         Ok((Work::Delete, group(None)))),
            ("work=delete&reason=no_identifier&end=9&number=2", Ok((Work::Delete, Selection::Numbers(vec![2])))),
            ("work=delete&reason=no_identifier",               Err(FormError::NothingSelected)),
            ("work=delete&end=9",                              Err(FormError::NothingSelected)),
            ("work=delete&number=all",                         Err(FormError::NothingSelected)),
            ("number=1",                                       Err(FormError::NoWork)),
            ("number=1&work=purge",                            Err(FormError::NoWork)),
            (&*format!("work=replay&{many}"),                   Err(FormError::TooMany)),
        ];
        for (body, expected) in table {
            assert_eq!(read_form(body.as_bytes()), expected, "{body:.60}");
        }
    }
}
