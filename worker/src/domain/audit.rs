//! What people do in the console, as its audit keeps it: who did what, on which object.
//!
//! Invariant: an entry holds no telephone number, no transcript and no body. Objects are named by ids.

use aftercall_common::phone_numbers::Numbers;
use jiff::Timestamp;

use super::text::cut;

/// Most characters of an object's name.
const MAX_OBJECT: usize = 256;

/// How a person logged in.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Login {
    /// A trusted proxy named the person.
    Proxy,
    /// By the password or the token that several people share.
    Shared,
}

impl Login {
    /// The stored word.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Proxy => "proxy",
            Self::Shared => "shared",
        }
    }

    /// The login of a stored word.
    pub fn parse(word: &str) -> Option<Self> {
        [Self::Proxy, Self::Shared].into_iter().find(|login| login.as_str() == word)
    }
}

/// Who did something.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Person {
    /// The name by the proxy, or the name of the shared login.
    pub name: String,
    /// How the person logged in.
    pub login: Login,
}

/// Declares [`Action`] from one row for each action: its name, its stored word and its text.
macro_rules! actions {
    ($($(#[$doc:meta])+ $name:ident = $word:literal, $text:literal;)+) => {
        /// Something that a person does in the console.
        #[derive(Clone, Copy, Debug, PartialEq, Eq)]
        pub enum Action {
            $($(#[$doc])+ $name,)+
        }

        impl Action {
            /// Every action.
            pub const ALL: &[Self] = &[$(Self::$name),+];

            /// The stored word.
            pub const fn as_str(self) -> &'static str {
                match self { $(Self::$name => $word,)+ }
            }

            /// The action in words.
            pub const fn text(self) -> &'static str {
                match self { $(Self::$name => $text,)+ }
            }
        }
    };
}

actions! {
    /// Whole telephone numbers were shown although pages mask them.
    RevealNumbers = "reveal_numbers", "saw whole telephone numbers";
    /// Calls were exported with whole telephone numbers.
    ExportNumbers = "export_numbers", "exported with whole telephone numbers";
    /// A dead letter was sent again with another body.
    EditDeadLetter = "edit_dead_letter", "edited and sent again";
    /// A dead letter was sent again.
    ReplayDeadLetter = "replay_dead_letter", "sent again";
    /// A dead letter was deleted.
    DeleteDeadLetter = "delete_dead_letter", "deleted";
    /// Dead letters began to be sent again.
    ReplayDeadLetters = "replay_dead_letters", "began to send again";
    /// Dead letters began to be deleted.
    DeleteDeadLetters = "delete_dead_letters", "began to delete";
    /// The work on several dead letters was canceled.
    CancelDeadLetters = "cancel_dead_letters", "canceled the work";
    /// An endpoint was added.
    AddEndpoint = "add_endpoint", "added";
    /// A test was sent to an endpoint.
    TestEndpoint = "test_endpoint", "sent a test";
    /// An endpoint was paused.
    PauseEndpoint = "pause_endpoint", "paused";
    /// An endpoint was resumed.
    ResumeEndpoint = "resume_endpoint", "resumed";
    /// What an endpoint gets was changed.
    ChangeFilter = "change_filter", "changed the filter";
    /// An endpoint got a new secret.
    RotateSecret = "rotate_secret", "gave a new secret";
    /// An endpoint was removed.
    RemoveEndpoint = "remove_endpoint", "removed";
    /// A message was sent to an endpoint again.
    ReplayDelivery = "replay_delivery", "sent a message again";
    /// Messages were sent to an endpoint again.
    ReplayDeliveries = "replay_deliveries", "sent messages again";
    /// A note on a call was written.
    WriteNote = "write_note", "wrote a note";
    /// The note on a call was removed.
    RemoveNote = "remove_note", "removed the note";
    /// A call was marked as reviewed.
    MarkReviewed = "mark_reviewed", "marked as reviewed";
    /// The mark of a call was removed.
    UnmarkReviewed = "unmark_reviewed", "removed the reviewed mark";
}

impl Action {
    /// The action of a stored word.
    pub fn parse(word: &str) -> Option<Self> {
        Self::ALL.iter().copied().find(|action| action.as_str() == word)
    }
}

/// The kind of an object.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ObjectKind {
    /// A call, by one of its ids.
    Call,
    /// Several calls, by the filter of their list.
    Calls,
    /// A dead letter, by its number.
    DeadLetter,
    /// Several dead letters, in words.
    DeadLetters,
    /// An endpoint, by its id.
    Endpoint,
    /// Deliveries, by their id or the id of their endpoint or call.
    Delivery,
}

impl ObjectKind {
    const ALL: [Self; 6] =
        [Self::Call, Self::Calls, Self::DeadLetter, Self::DeadLetters, Self::Endpoint, Self::Delivery];

    /// The stored word.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Call => "call",
            Self::Calls => "calls",
            Self::DeadLetter => "dead_letter",
            Self::DeadLetters => "dead_letters",
            Self::Endpoint => "endpoint",
            Self::Delivery => "delivery",
        }
    }

    /// The kind of a stored word.
    pub fn parse(word: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|kind| kind.as_str() == word)
    }
}

/// The object of an action.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Object {
    /// The kind.
    pub kind: ObjectKind,
    /// The name, without telephone numbers.
    pub name: String,
}

impl Object {
    /// The object `name`. Telephone numbers in the name are masked, and a long name is cut.
    pub fn new(kind: ObjectKind, name: &str) -> Self {
        let name = cut(name, MAX_OBJECT);
        let masked = match kind {
            ObjectKind::Calls | ObjectKind::DeadLetters => Numbers::Masked.text(&name),
            // Long digits are usual in an id.
            ObjectKind::Call | ObjectKind::DeadLetter | ObjectKind::Endpoint | ObjectKind::Delivery => {
                Numbers::Masked.id(&name)
            }
        };
        Self { kind, name: masked.into_owned() }
    }

    /// The dead letter `number`.
    pub fn dead_letter(number: u64) -> Self {
        Self { kind: ObjectKind::DeadLetter, name: number.to_string() }
    }
}

/// One line of the audit.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AuditEntry {
    /// When.
    pub at: Timestamp,
    /// Who.
    pub by: Person,
    /// What.
    pub action: Action,
    /// On which object.
    pub object: Object,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_stored_word_is_read_again() {
        for action in Action::ALL {
            assert_eq!(Action::parse(action.as_str()), Some(*action));
        }
        for kind in ObjectKind::ALL {
            assert_eq!(ObjectKind::parse(kind.as_str()), Some(kind));
        }
        for login in [Login::Proxy, Login::Shared] {
            assert_eq!(Login::parse(login.as_str()), Some(login));
        }
    }

    #[test]
    fn the_name_of_an_object_holds_no_number_and_is_bounded() {
        let object = Object::new(ObjectKind::Call, &format!("CA+6581234567 {}", "x".repeat(5000)));
        assert!(!object.name.contains("6581234567"), "{}", object.name);
        assert!(object.name.chars().count() <= MAX_OBJECT, "{}", object.name.len());
    }
}
