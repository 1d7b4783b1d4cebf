//! Finds telephone numbers in a text.
//!
//! A number has 7 to 15 digits; E.164 allows no more. The digits are one run, or several runs with spaces, dashes, dots,
//! slashes, brackets or plus signs between them. (URL-encoded form data writes a space as a plus sign.) Digits within a
//! word (`CA6581234567`, `conv_6581234567`) belong to an identifier, unless a plus sign precedes them.
//!
//! UUIDs, dates, times and IP addresses are skipped. Without a leading plus sign, these are skipped as well: amounts,
//! durations, sizes and Unix times that a unit, a currency or the name of their field marks, and decimal numbers with at
//! most two decimals or below 1.

use std::ops::Range;

use super::{fields, shapes, symbol};

/// Minimum and maximum number of digits of a telephone number.
const DIGITS: std::ops::RangeInclusive<usize> = 7..=15;
/// Maximum number of separators between two runs of digits of one number, such as the four in `) - `.
const MAX_SEPARATORS: usize = 4;
/// Maximum number of digits of an amount, a duration or a size with a unit or a currency beside it.
const MAX_MEASURE_DIGITS: usize = 10;

/// A number in a text.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Found {
    /// Position in the text, in bytes.
    pub range: Range<usize>,
    /// The digits in ASCII.
    pub digits: String,
    /// Whether the number begins with a plus sign.
    pub plus: bool,
}

/// The telephone numbers in `text`, in order.
pub fn find(text: &str) -> impl Iterator<Item = Found> + '_ {
    let mut scan = Scan { text, at: 0, previous: ' ' };
    std::iter::from_fn(move || scan.next())
}

/// A scan of a text, from its start to its end.
struct Scan<'a> {
    text: &'a str,
    /// Current position in the text, in bytes.
    at: usize,
    /// The character before `at`.
    previous: char,
}

/// A run of digits.
struct Run {
    /// Position after the last digit, in bytes.
    end: usize,
    /// Whether a letter or an underscore follows directly.
    is_followed_by_word: bool,
}

impl Scan<'_> {
    fn next(&mut self) -> Option<Found> {
        while let Some((character, length)) = symbol::at(self.text, self.at) {
            let starts_word = is_word_character(character) && !is_word_character(self.previous);
            // '0' is a word character, so a letter or digit directly after the skipped text does not start a word.
            if starts_word && let Some(length) = shapes::length(&self.text[self.at..]) {
                (self.at, self.previous) = (self.at + length, '0');
                continue;
            }
            let begins = character == '+' || (starts_word && character.is_ascii_digit());
            if begins && let Some((found, end)) = self.candidate(character == '+', length) {
                (self.at, self.previous) = (end, '0');
                if found.is_some() {
                    return found;
                }
                continue;
            }
            (self.at, self.previous) = (self.at + length, character);
        }
        None
    }

    /// Reads the digits at the current position. Returns the telephone number, or `None` if they are not one, and the
    /// position after the digits. The outer `None`: no digit follows the plus sign after at most two separators.
    ///
    /// `plus`: whether the character here is a plus sign. `length`: bytes of that character.
    fn candidate(&self, plus: bool, length: usize) -> Option<(Option<Found>, usize)> {
        let start = self.at;
        let mut at = if plus { self.next_digit(start + length, 2)? } else { start };
        let (mut digits, mut runs, mut end) = (String::new(), Vec::new(), start);
        loop {
            let digits_before = digits.len();
            let run = self.run(at, &mut digits);
            let is_first = runs.is_empty();
            let is_too_long = digits.len() > *DIGITS.end();
            if is_too_long || (run.is_followed_by_word && !(plus && is_first)) {
                digits.truncate(digits_before);
                if is_first {
                    return Some((None, run.end));
                }
                break;
            }
            runs.push(digits.len() - digits_before);
            end = run.end;
            let Some(next) = self.next_digit(end, MAX_SEPARATORS) else { break };
            let is_complete = digits.len() >= *DIGITS.start();
            let is_whitespace = self.text[end..next].chars().all(char::is_whitespace);
            let next_run = self.text[next..].chars().take_while(char::is_ascii_digit).count();
            // The number ends before a date, a time, a UUID or an IP address. If it has enough digits already, it also ends
            // before a plus sign, and before whitespace and a run that could be a number by itself.
            if shapes::length(&self.text[next..]).is_some()
                || (is_complete
                    && (self.text[end..next].contains('+') || (is_whitespace && next_run >= *DIGITS.start())))
            {
                break;
            }
            at = next;
        }
        let found = Found { range: start..end, digits, plus };
        let is_number = DIGITS.contains(&found.digits.len()) && (plus || !self.is_measure(&found, &runs));
        Some((is_number.then_some(found), end))
    }

    /// Appends the run of digits at `at` to `digits`. Returns where it ends.
    fn run(&self, mut at: usize, digits: &mut String) -> Run {
        while let Some((character, length)) = symbol::at(self.text, at) {
            if !character.is_ascii_digit() {
                return Run { end: at, is_followed_by_word: is_word_character(character) };
            }
            // The caller only checks whether there are too many digits, so not all of them are kept.
            if digits.len() <= 2 * DIGITS.end() {
                digits.push(character);
            }
            at += length;
        }
        Run { end: at, is_followed_by_word: false }
    }

    /// Position of the next digit at or after `at`. `None`: the text ends first, another character comes first,
    /// or there are more than `max_separators` separators before the digit.
    fn next_digit(&self, mut at: usize, max_separators: usize) -> Option<usize> {
        for _ in 0..=max_separators {
            let (character, length) = symbol::at(self.text, at)?;
            if character.is_ascii_digit() {
                return Some(at);
            }
            if !" -./()+".contains(character) {
                return None;
            }
            at += length;
        }
        None
    }

    /// Whether the digits are an amount, a duration, a size, a Unix time or a decimal number.
    fn is_measure(&self, found: &Found, runs: &[usize]) -> bool {
        let (before, after) = (&self.text[..found.range.start], &self.text[found.range.end..]);
        match runs {
            [_] => {
                let is_short = found.digits.len() <= MAX_MEASURE_DIGITS;
                fields::key_before(before).is_some_and(|key| fields::is_measure(key, &found.digits))
                    || (is_short && (fields::has_unit(after) || fields::has_currency(before, after)))
            }
            // A decimal number: 12345.67 or 0.1234567.
            [whole, part] => {
                let is_decimal =
                    self.text[found.range.clone()].bytes().filter(u8::is_ascii_punctuation).eq(*b".");
                is_decimal && (*part <= 2 || (*whole == 1 && found.digits.starts_with('0')))
            }
            _ => false,
        }
    }
}

fn is_word_character(character: char) -> bool {
    character.is_ascii_alphanumeric() || character == '_'
}
