//! Finds telephone numbers in a text.
//!
//! A number is 7 to 15 digits (E.164 has at most 15), in one run or in runs with spaces, dashes, dots,
//! slashes and brackets between them. Digits within a word (`CA6581234567`, `conv_6581234567`) belong to
//! an identifier, unless a plus sign stands before them. UUIDs, dates, times and addresses are
//! passed over, and so are amounts, lengths and moments that say what they are.

use std::ops::Range;

use super::{fields, shapes, symbol};

/// Fewest and most digits of a number.
const DIGITS: std::ops::RangeInclusive<usize> = 7..=15;
/// Most symbols between two runs of digits of one number: `) - `.
const GAP: usize = 4;
/// Digits of the longest amount or length that is recognised by its unit.
const MEASURE_DIGITS: usize = 10;

/// A number in a text.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Found {
    /// Its place in the text, in bytes.
    pub range: Range<usize>,
    /// Its digits, in ASCII.
    pub digits: String,
    /// Whether it begins with a plus sign.
    pub plus: bool,
}

/// The telephone numbers in `text`, in order.
pub fn find(text: &str) -> impl Iterator<Item = Found> + '_ {
    let mut scan = Scan { text, at: 0, before: ' ' };
    std::iter::from_fn(move || scan.next())
}

struct Scan<'a> {
    text: &'a str,
    at: usize,
    /// The symbol before `at`.
    before: char,
}

/// Digits with nothing between them.
struct Run {
    end: usize,
    /// Whether letters stand directly behind them.
    in_word: bool,
}

impl Scan<'_> {
    fn next(&mut self) -> Option<Found> {
        while let Some((symbol, length)) = symbol::at(self.text, self.at) {
            let starts_word = is_word(symbol) && !is_word(self.before);
            if starts_word && let Some(length) = shapes::length(&self.text[self.at..]) {
                (self.at, self.before) = (self.at + length, '0');
                continue;
            }
            let begins = symbol == '+' || (starts_word && symbol.is_ascii_digit());
            if begins && let Some((found, end)) = self.candidate(symbol == '+', length) {
                (self.at, self.before) = (end, '0');
                if found.is_some() {
                    return found;
                }
                continue;
            }
            (self.at, self.before) = (self.at + length, symbol);
        }
        None
    }

    /// The number that begins here, and where to go on; `None`: no digits of a number begin here.
    fn candidate(&self, plus: bool, length: usize) -> Option<(Option<Found>, usize)> {
        let start = self.at;
        let mut at = if plus { self.gap(start + length, 2)? } else { start };
        let (mut digits, mut runs, mut end) = (String::new(), Vec::new(), start);
        loop {
            let before = digits.len();
            let run = self.run(at, &mut digits);
            let is_first = runs.is_empty();
            let is_too_long = digits.len() > *DIGITS.end();
            if is_too_long || (run.in_word && !(plus && is_first)) {
                digits.truncate(before);
                if is_first {
                    return Some((None, run.end));
                }
                break;
            }
            runs.push(digits.len() - before);
            end = run.end;
            let Some(next) = self.gap(end, GAP) else { break };
            let is_enough = digits.len() >= *DIGITS.start();
            let is_spaced = self.text[end..next].chars().all(char::is_whitespace);
            let follows = self.text[next..].chars().take_while(char::is_ascii_digit).count();
            if next == end
                || shapes::length(&self.text[next..]).is_some()
                || (is_enough
                    && (self.text[end..next].contains('+') || (is_spaced && follows >= *DIGITS.start())))
            {
                break;
            }
            at = next;
        }
        let found = Found { range: start..end, digits, plus };
        let is_number = DIGITS.contains(&found.digits.len()) && (plus || !self.is_measure(&found, &runs));
        Some((is_number.then_some(found), end))
    }

    /// The digits at `at`, appended to `digits`.
    fn run(&self, mut at: usize, digits: &mut String) -> Run {
        while let Some((symbol, length)) = symbol::at(self.text, at) {
            if !symbol.is_ascii_digit() {
                return Run { end: at, in_word: is_word(symbol) };
            }
            // More than enough to know that it is too long.
            if digits.len() <= 2 * DIGITS.end() {
                digits.push(symbol);
            }
            at += length;
        }
        Run { end: at, in_word: false }
    }

    /// Where the next digit stands behind `at`, if at most `most` separators lie between.
    fn gap(&self, mut at: usize, most: usize) -> Option<usize> {
        for _ in 0..=most {
            let (symbol, length) = symbol::at(self.text, at)?;
            if symbol.is_ascii_digit() {
                return Some(at);
            }
            if !" -./()+".contains(symbol) {
                return None;
            }
            at += length;
        }
        None
    }

    /// Whether the digits say how much, how long or when.
    fn is_measure(&self, found: &Found, runs: &[usize]) -> bool {
        let (before, after) = (&self.text[..found.range.start], &self.text[found.range.end..]);
        match runs {
            [_] => {
                let is_short = found.digits.len() <= MEASURE_DIGITS;
                fields::key_before(before).is_some_and(|key| fields::is_measure(key, &found.digits))
                    || (is_short && (fields::has_unit(after) || fields::has_currency(before, after)))
            }
            [whole, part] => {
                let is_decimal =
                    self.text[found.range.clone()].bytes().filter(u8::is_ascii_punctuation).eq(*b".");
                is_decimal && (*part <= 2 || (*whole == 1 && found.digits.starts_with('0')))
            }
            _ => false,
        }
    }
}

fn is_word(symbol: char) -> bool {
    symbol.is_ascii_alphanumeric() || symbol == '_'
}
