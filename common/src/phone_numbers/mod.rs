//! Telephone numbers in texts and payloads: where they are, and how they are hidden. Pure.
//!
//! Console, log lines and reports use this one scanner. It cannot cover numbers whose digits are spoken as
//! words ("six five eight …").

mod fields;
mod scan;
mod search;
mod shapes;
mod symbol;

use std::{borrow::Cow, collections::HashMap};

use serde_json::{Map, Value};

pub use self::{
    scan::{Found, find},
    search::Wanted,
};

/// Whether telephone numbers are shown.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Numbers {
    /// As they are.
    Whole,
    /// The first three symbols and the last two digits.
    Masked,
}

impl Numbers {
    /// `Whole` if `show` says so.
    pub fn shown(show: bool) -> Self {
        if show { Self::Whole } else { Self::Masked }
    }

    /// A text that is a number as a whole, or an address that stands for one.
    pub fn number(self, number: &str) -> Cow<'_, str> {
        if self == Self::Whole {
            return number.into();
        }
        match self.text(number) {
            Cow::Borrowed(_) => hidden(number).into(),
            masked @ Cow::Owned(_) => masked,
        }
    }

    /// A text in which numbers may stand.
    pub fn text(self, text: &str) -> Cow<'_, str> {
        self.masked(text, |_| true)
    }

    /// An identifier. Its digits are no number, unless a plus sign says so.
    pub fn id(self, id: &str) -> Cow<'_, str> {
        self.masked(id, |found| found.plus)
    }

    fn masked(self, text: &str, is_meant: impl Fn(&Found) -> bool) -> Cow<'_, str> {
        if self == Self::Whole {
            return text.into();
        }
        let mut shown = String::new();
        let mut done = 0;
        for found in scan::find(text).filter(is_meant) {
            shown.push_str(&text[done..found.range.start]);
            mask(text, &found, &mut shown);
            done = found.range.end;
        }
        if done == 0 {
            return text.into();
        }
        shown.push_str(&text[done..]);
        shown.into()
    }

    /// Every text, number and name in a payload.
    pub fn payload(self, value: &mut Value) {
        if self == Self::Masked {
            self.value("", value);
        }
    }

    fn value(self, key: &str, value: &mut Value) {
        match value {
            Value::String(text) => {
                let is_measure =
                    text.bytes().all(|byte| byte.is_ascii_digit()) && fields::is_measure(key, text);
                if !is_measure && let Cow::Owned(masked) = self.text(text) {
                    *text = masked;
                }
            }
            Value::Number(number) => {
                let text = digits_of(number);
                if !fields::is_measure(key, &text)
                    && let Cow::Owned(masked) = self.text(&text)
                {
                    *value = Value::String(masked);
                }
            }
            Value::Array(items) => items.iter_mut().for_each(|item| self.value(key, item)),
            Value::Object(object) => {
                object.iter_mut().for_each(|(name, item)| self.value(name, item));
                if object.keys().any(|name| matches!(self.text(name), Cow::Owned(_))) {
                    *object = self.names(std::mem::take(object));
                }
            }
            Value::Null | Value::Bool(_) => {}
        }
    }

    /// The same object, the numbers in its names masked. Names that become equal are counted.
    fn names(self, object: Map<String, Value>) -> Map<String, Value> {
        let mut masked = Map::with_capacity(object.len());
        // How often each masked name came. A search for a free number would take quadratic time.
        let mut count: HashMap<String, usize> = HashMap::new();
        for (name, value) in object {
            let name = self.text(&name).into_owned();
            let mut free = name.clone();
            while masked.contains_key(&free) {
                let n = count.entry(name.clone()).or_insert(1);
                *n += 1;
                free = format!("{name} ({n})");
            }
            masked.insert(free, value);
        }
        masked
    }
}

/// The digits of a whole number, also where it is written as a floating-point number.
fn digits_of(number: &serde_json::Number) -> String {
    match number.as_f64() {
        Some(float) if number.is_f64() && float.fract() == 0.0 && float.abs() < 1e15 => format!("{float:.0}"),
        _ => number.to_string(),
    }
}

/// Appends the number to `shown`, its digits hidden but for the first and the last.
fn mask(text: &str, found: &Found, shown: &mut String) {
    let plus = usize::from(found.plus);
    let count = found.digits.len();
    // What is too short to keep ends of is hidden whole.
    let (head, tail) = if count + plus >= 8 { (3 - plus, 2) } else { (0, 0) };
    let (mut at, mut n) = (found.range.start, 0);
    while at < found.range.end
        && let Some((symbol, length)) = symbol::at(text, at)
    {
        if symbol.is_ascii_digit() {
            if n < head || n >= count - tail {
                shown.push(symbol);
            } else {
                shown.push('•');
            }
            n += 1;
        } else {
            shown.push_str(&text[at..at + length]);
        }
        at += length;
    }
}

/// Everything but the first three symbols and the last two; all of it where it is short.
fn hidden(text: &str) -> String {
    let count = text.chars().count();
    let (head, tail) = if count >= 8 { (3, 2) } else { (0, 0) };
    let keep = |n: usize| n < head || n >= count - tail;
    text.chars().enumerate().map(|(n, c)| if keep(n) { c } else { '•' }).collect()
}

#[cfg(test)]
mod tests;
