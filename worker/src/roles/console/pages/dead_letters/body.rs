//! The body of a dead letter as a page shows it. Pure.

use aftercall_common::{
    json::{
        self,
        measure::{LIMITS, measure},
    },
    phone_numbers::Numbers,
};

use crate::{dead_letters::DeadLetterView, roles::console::view::format};

/// Most characters shown of a body.
const MAX_CHARS: usize = 100_000;
/// Largest body, in bytes, that can be edited on a page.
pub const MAX_EDITABLE_BYTES: usize = 1024 * 1024;

/// Whether the body can be edited in a form. A large body, a body in the object store, and a body that is no
/// text cannot be edited.
pub fn is_editable(letter: &DeadLetterView) -> bool {
    letter.object.is_none()
        && letter.body.len() <= MAX_EDITABLE_BYTES
        && std::str::from_utf8(&letter.body).is_ok()
}

/// `text` with LF at each line end: browsers send each line end of a form as CR LF, whatever it was before.
pub fn normalize_line_ends(text: &str) -> String {
    text.replace("\r\n", "\n").replace('\r', "\n")
}

/// The body as text, with JSON indented, and whether the text was cut at [`MAX_CHARS`].
pub fn display_text(body: &[u8], numbers: Numbers) -> (String, bool) {
    // Parsed JSON needs several times the memory of its text. So a body that is too large or too complex is cut before it is
    // parsed. Its beginning is usually no JSON, and is shown as plain text.
    let exceeds_limits = body.len() > MAX_EDITABLE_BYTES || measure([body], LIMITS).is_err();
    let body = if exceeds_limits { &body[..body.len().min(4 * MAX_CHARS + 4)] } else { body };
    let text = if let Ok(mut json) = json::read(body) {
        numbers.payload(&mut json);
        serde_json::to_string_pretty(&json).unwrap_or_default()
    } else {
        let text = String::from_utf8_lossy(body);
        numbers.text(format::beginning(&text, MAX_CHARS)).into_owned()
    };
    match text.char_indices().nth(MAX_CHARS) {
        Some((end, _)) => (text[..end].to_owned(), true),
        None => (text, false),
    }
}
