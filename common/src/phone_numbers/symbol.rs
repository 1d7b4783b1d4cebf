//! Reads a text character by character, and decodes the escaped forms of a character.
//!
//! Telephone numbers may contain percent-escapes (`%2B`), HTML entities (`&#43;`), JSON escapes (`\u002b`, `\n`),
//! digits of other scripts, and several kinds of dashes and spaces. They are read as the plain ASCII character.

use crate::json::escaped_unit;

/// The digit zero of the supported scripts besides ASCII: fullwidth, Arabic, Persian, Devanagari, Bengali, Thai, Khmer,
/// and the five mathematical ones (bold, double-struck, sans-serif, sans-serif bold, monospace).
const ZEROS: [char; 12] = [
    '\u{ff10}',
    '\u{660}',
    '\u{6f0}',
    '\u{966}',
    '\u{9e6}',
    '\u{e50}',
    '\u{17e0}',
    '\u{1d7ce}',
    '\u{1d7d8}',
    '\u{1d7e2}',
    '\u{1d7ec}',
    '\u{1d7f6}',
];

/// The character at the byte `at` of `text`, and the bytes of its form.
pub(super) fn at(text: &str, at: usize) -> Option<(char, usize)> {
    let rest = text.get(at..)?;
    let first = rest.chars().next()?;
    let escaped = match first {
        '%' => percent(rest.as_bytes()),
        '&' => entity(rest),
        '\\' => json(rest),
        _ => None,
    };
    Some(escaped.map_or_else(|| (plain(first), first.len_utf8()), |(symbol, length)| (plain(symbol), length)))
}

/// Decodes `%2B`, and `%252B`, which is encoded twice, or more often. Only characters that stand in numbers or around
/// them are decoded: in `%6581234567`, the digits after the percent sign may be a telephone number.
fn percent(bytes: &[u8]) -> Option<(char, usize)> {
    let mut start = 1;
    while bytes[start..].starts_with(b"25") && hex(bytes, start + 2).is_some() {
        start += 2;
    }
    let byte = hex(bytes, start)?;
    let stands_by_numbers = byte.is_ascii_digit() || b" \t\r\n\"%&'()+,-./:;<=>[\\]{}".contains(&byte);
    stands_by_numbers.then_some((char::from(byte), start + 2))
}

fn hex(bytes: &[u8], at: usize) -> Option<u8> {
    let digits = std::str::from_utf8(bytes.get(at..at + 2)?).ok()?;
    // `from_str_radix` would accept a sign.
    digits.bytes().all(|digit| digit.is_ascii_hexdigit()).then(|| u8::from_str_radix(digits, 16).ok())?
}

/// Decodes `&#43;`, `&#x2B;`, `&plus;`, `&nbsp;`.
fn entity(rest: &str) -> Option<(char, usize)> {
    let end = rest.bytes().take(10).position(|byte| byte == b';')?;
    let name = rest.get(1..end)?;
    let symbol = match name {
        "plus" => '+',
        "nbsp" => ' ',
        "lpar" => '(',
        "rpar" => ')',
        _ => {
            let number = name.strip_prefix('#')?;
            let hex = number.strip_prefix(['x', 'X']);
            // `from_str_radix` would accept a sign.
            let (digits, radix) = hex.map_or((number, 10), |hex| (hex, 16));
            let digits = digits.chars().all(|digit| digit.is_digit(radix)).then_some(digits)?;
            char::from_u32(u32::from_str_radix(digits, radix).ok()?)?
        }
    };
    Some((symbol, end + 1))
}

/// Most backslashes of an escape that are read as one. JSON within JSON doubles them each time.
const MAX_BACKSLASHES: usize = 8;

/// Decodes `\u002b` and `\n`, which occur in JSON that is read as text, and `\\n`, which is encoded twice.
fn json(rest: &str) -> Option<(char, usize)> {
    if let Some((first, length)) = unit(rest.as_bytes()) {
        if let Some(symbol) = char::from_u32(first.into()) {
            return Some((symbol, length));
        }
        let (second, further) = unit(&rest.as_bytes()[length..])?;
        let symbol = char::decode_utf16([first, second]).next()?.ok()?;
        return Some((symbol, length + further));
    }
    let backslashes = backslashes(rest.as_bytes());
    let escape = &rest.as_bytes()[backslashes - 1..];
    let symbol = match escape.get(1)? {
        b't' => '\t',
        b'n' | b'r' | b'f' | b'b' => '\n',
        _ => return None,
    };
    Some((symbol, backslashes + 1))
}

/// Decodes `\u002b` to a unit of UTF-16, and returns the bytes of the escape.
fn unit(rest: &[u8]) -> Option<(u16, usize)> {
    let backslashes = backslashes(rest);
    let unit = escaped_unit(rest.get(backslashes.checked_sub(1)?..)?)?;
    Some((unit, backslashes + 5))
}

fn backslashes(rest: &[u8]) -> usize {
    rest.iter().take(MAX_BACKSLASHES).take_while(|byte| **byte == b'\\').count()
}

/// The equivalent ASCII character.
fn plain(symbol: char) -> char {
    if symbol.is_ascii() {
        return if symbol == '\t' { ' ' } else { symbol };
    }
    match symbol {
        '\u{ff0b}' | '\u{fe62}' => '+',
        '\u{ad}' | '\u{2010}'..='\u{2015}' | '\u{2212}' | '\u{fe63}' | '\u{ff0d}' | '\u{30fc}' => '-',
        '\u{ff08}' => '(',
        '\u{ff09}' => ')',
        '\u{ff0e}' | '\u{b7}' => '.',
        '\u{ff0f}' => '/',
        // Spaces and invisible marks.
        '\u{a0}'
        | '\u{2000}'..='\u{200f}'
        | '\u{202a}'..='\u{202f}'
        | '\u{2060}'..='\u{2069}'
        | '\u{3000}'
        | '\u{feff}' => ' ',
        _ => digit(symbol).unwrap_or(symbol),
    }
}

fn digit(symbol: char) -> Option<char> {
    ZEROS.into_iter().find_map(|zero| {
        let value = u32::from(symbol).checked_sub(u32::from(zero))?;
        char::from_digit(value, 10)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_form_of_a_character_is_read_as_the_plain_one() {
        #[rustfmt::skip]
        let table = [
            ("+1", '+', 1), ("%2B1", '+', 3), ("%2b", '+', 3), ("%252B1", '+', 5), ("%20", ' ', 3),
            ("&#43;", '+', 5), ("&#x2b;", '+', 6), ("&plus;", '+', 6), ("\\u002b", '+', 6), ("\u{ff0b}", '+', 3),
            ("%", '%', 1), ("%zz", '%', 1), ("%+1", '%', 1), ("%25", '%', 3), ("%C3", '%', 1), ("&", '&', 1), ("&é;", '&', 1),
            ("%65", '%', 1), ("%12", '%', 1), ("%2512", '%', 1), ("%5F8", '%', 1), ("%36", '6', 3), ("&#+43;", '&', 1), ("&#x+2B;", '&', 1), ("\u{1d7f7}", '1', 4),
            ("\\ud835\\udfd3", '5', 12), ("\\\\ud835\\\\udfd3", '5', 14), ("\\ud835", '\\', 1), ("\\ud835\\u0030", '\\', 1),
            ("\\u00", '\\', 1), ("\\uéé", '\\', 1), ("\u{ff16}", '6', 3), ("\u{667}", '7', 2), ("\u{2011}", '-', 3), ("é", 'é', 2),
        ];
        for (text, symbol, length) in table {
            assert_eq!(at(text, 0), Some((symbol, length)), "{text}");
        }
        assert_eq!(at("", 0), None);
    }
}
