//! Finds and masks telephone numbers in texts and payloads. Pure.
//!
//! Console, log lines and reports use this scanner. It does not find numbers whose digits are written as
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

/// Whether telephone numbers are shown or masked.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Numbers {
    /// Numbers are shown as they are.
    Whole,
    /// Only the first three symbols and the last two digits of a number are shown.
    Masked,
}

impl Numbers {
    /// `Whole` if `show` is true.
    pub fn shown(show: bool) -> Self {
        if show { Self::Whole } else { Self::Masked }
    }

    /// Masks the value of a field for telephone numbers. A value without a number, such as a SIP address, is
    /// masked too.
    pub fn number(self, number: &str) -> Cow<'_, str> {
        if self == Self::Whole {
            return number.into();
        }
        match self.text(number) {
            Cow::Borrowed(_) => mask_whole(number).into(),
            masked @ Cow::Owned(_) => masked,
        }
    }

    /// Masks the numbers in a text.
    pub fn text(self, text: &str) -> Cow<'_, str> {
        self.masked(text, |_| true)
    }

    /// Masks an identifier. Digits in it count as a number only after a plus sign.
    pub fn id(self, id: &str) -> Cow<'_, str> {
        self.masked(id, |found| found.plus)
    }

    /// Whether the first `length` bytes of an identifier end within a number that [`Self::id`] masks.
    pub fn splits_id(self, id: &str, length: usize) -> bool {
        let splits = |found: Found| found.plus && found.range.start < length && length < found.range.end;
        self == Self::Masked && find(id).any(splits)
    }

    fn masked(self, text: &str, is_number: impl Fn(&Found) -> bool) -> Cow<'_, str> {
        if self == Self::Whole {
            return text.into();
        }
        let mut shown = String::new();
        let mut done = 0;
        for found in scan::find(text).filter(is_number) {
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

    /// Masks every string, number and field name in a payload.
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

    /// Masks the field names of an object. Names that become equal get a counter.
    fn names(self, object: Map<String, Value>) -> Map<String, Value> {
        let mut masked = Map::with_capacity(object.len());
        // Occurrences of each masked name. Searching for a free counter would take quadratic time.
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

/// The digits of an integer, even if it is written as a floating-point number.
fn digits_of(number: &serde_json::Number) -> String {
    match number.as_f64() {
        Some(float) if number.is_f64() && float.fract() == 0.0 && float.abs() < 1e15 => format!("{float:.0}"),
        _ => number.to_string(),
    }
}

/// Appends the number to `shown`, with all digits masked except the first and the last ones.
fn mask(text: &str, found: &Found, shown: &mut String) {
    let plus = usize::from(found.plus);
    let count = found.digits.len();
    // A short number is masked completely.
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

/// Masks everything except the first three and the last two symbols. A short text is masked completely.
fn mask_whole(text: &str) -> String {
    let count = text.chars().count();
    let (head, tail) = if count >= 8 { (3, 2) } else { (0, 0) };
    let keep = |n: usize| n < head || n >= count - tail;
    text.chars().enumerate().map(|(n, c)| if keep(n) { c } else { '•' }).collect()
}

#[cfg(test)]
mod tests;
