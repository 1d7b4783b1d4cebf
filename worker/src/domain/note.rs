//! What people write about a call: a note, and the mark that they have reviewed it. Not a part of the call's join.

use aftercall_common::phone_numbers::Numbers;
use jiff::Timestamp;

use super::audit::Person;

/// Most characters of a note.
pub const MAX_NOTE: usize = 2000;

/// A text that is kept as a note: without telephone numbers, and bounded.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NoteText(String);

impl NoteText {
    /// The text that somebody entered, without control characters. Telephone numbers in it are masked, so that nothing
    /// has to be searched when a person is erased.
    ///
    /// # Errors
    /// The text has more than [`MAX_NOTE`] characters.
    pub fn new(entered: &str) -> Result<Self, TooLong> {
        let is_text = |c: &char| !c.is_control() || matches!(c, '\n' | '\t');
        let entered: String = entered.replace("\r\n", "\n").chars().filter(is_text).collect();
        let text = Numbers::Masked.text(entered.trim()).into_owned();
        if text.chars().count() > MAX_NOTE { Err(TooLong) } else { Ok(Self(text)) }
    }

    /// The text. Empty: there is no note.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

/// A note has too many characters.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("a note has at most {MAX_NOTE} characters")]
pub struct TooLong;

/// A stored note.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Note {
    /// The text.
    pub text: String,
    /// Who wrote it.
    pub by: Person,
    /// When.
    pub at: Timestamp,
}

/// The mark that somebody has reviewed a call.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Review {
    /// Who.
    pub by: Person,
    /// When.
    pub at: Timestamp,
}

/// What people wrote about one call.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct CallNotes {
    /// The notes, the oldest first. There is more than one if two documents with notes became one call.
    pub notes: Vec<Note>,
    /// The latest mark.
    pub review: Option<Review>,
}

impl CallNotes {
    /// All notes as one text.
    pub fn text(&self) -> String {
        self.notes.iter().map(|note| note.text.as_str()).collect::<Vec<_>>().join("\n\n")
    }

    /// The time of the latest note. It tells whether somebody has written meanwhile.
    pub fn latest(&self) -> Option<Timestamp> {
        self.notes.iter().map(|note| note.at).max()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_note_is_bounded_and_holds_no_number() {
        let text = |entered: &str| NoteText::new(entered).map(|note| note.as_str().to_owned());
        assert_eq!(text("  asked for the terms \n").as_deref(), Ok("asked for the terms"));
        assert_eq!(text(" \r\n ").as_deref(), Ok(""));
        assert!(!text("call back at +65 8123 4567").unwrap().contains("8123"));
        assert_eq!(text(&"é".repeat(MAX_NOTE)).map(|text| text.chars().count()), Ok(MAX_NOTE));
        assert_eq!(text(&"é".repeat(MAX_NOTE + 1)), Err(TooLong));
    }
}
