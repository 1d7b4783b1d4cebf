//! Recognizes texts with many digits that are not telephone numbers: UUIDs, dates, times, IP addresses.

/// Length in bytes of the UUID, date, time or IP address at the beginning of `text`. `None` if `text` begins with
/// something else.
pub(super) fn length(text: &str) -> Option<usize> {
    let bytes = text.as_bytes();
    uuid(bytes).or_else(|| date_and_time(bytes)).or_else(|| time(bytes)).or_else(|| address(bytes))
}

/// Number of ASCII digits at the beginning of `bytes`.
fn digits(bytes: &[u8]) -> usize {
    bytes.iter().take_while(|byte| byte.is_ascii_digit()).count()
}

/// Value of the digits at the beginning, if there are exactly `count` of them.
fn value(bytes: &[u8], count: usize) -> Option<u32> {
    let digits = digits(bytes);
    (digits == count).then(|| std::str::from_utf8(&bytes[..count]).ok()?.parse().ok())?
}

fn uuid(bytes: &[u8]) -> Option<usize> {
    let shape = bytes.get(..36)?;
    let fits = shape.iter().enumerate().all(|(n, byte)| match n {
        8 | 13 | 18 | 23 => *byte == b'-',
        _ => byte.is_ascii_hexdigit(),
    });
    (fits && !bytes.get(36).is_some_and(u8::is_ascii_alphanumeric)).then_some(36)
}

/// A date, and the time after it if there is one.
fn date_and_time(bytes: &[u8]) -> Option<usize> {
    let date = date(bytes)?;
    let rest = &bytes[date..];
    let gap = rest.iter().take(1).filter(|byte| b"T t".contains(byte)).count();
    match time(&rest[gap..]) {
        Some(time) if gap > 0 => Some(date + gap + time),
        _ => Some(date),
    }
}

/// `2026-11-28`, `28.11.2026`, `11/28/2026`, `Y/M/D` and so on: one separator, a plausible year, month and
/// day.
fn date(bytes: &[u8]) -> Option<usize> {
    let year = |year: u32| (1900..2200).contains(&year);
    let first = digits(bytes);
    let separator = *bytes.get(first).filter(|byte| b"-/.".contains(byte))?;
    let rest = &bytes[first + 1..];
    let second = digits(rest);
    if rest.get(second) != Some(&separator) || !(1..=2).contains(&second) {
        return None;
    }
    let last = &rest[second + 1..];
    let third = digits(last);
    let (a, b, c) = (value(bytes, first)?, value(rest, second)?, value(last, third)?);
    let fits = match (first, third) {
        (4, 1..=2) => year(a) && (1..=12).contains(&b) && (1..=31).contains(&c),
        (1..=2, 4) => year(c) && (1..=31).contains(&a) && (1..=31).contains(&b) && a.min(b) <= 12,
        _ => false,
    };
    let length = first + second + third + 2;
    // A text with a fourth group is not a date: `01.02.1990.33`.
    let has_fourth_group =
        bytes.get(length) == Some(&separator) && bytes.get(length + 1).is_some_and(u8::is_ascii_digit);
    (fits && !has_fourth_group).then_some(length)
}

/// `17:53`, `17:53:11`, `17:53:11.123456Z`, `17:53:11+08:00`.
fn time(bytes: &[u8]) -> Option<usize> {
    let part = |at: usize| {
        let rest = bytes.get(at + 1..)?;
        (bytes.get(at) == Some(&b':') && value(rest, 2)? < 60).then_some(at + 3)
    };
    let hours = digits(bytes);
    if !(1..=2).contains(&hours) {
        return None;
    }
    let mut end = part(hours)?;
    if let Some(seconds) = part(end) {
        end = seconds;
        let fraction = bytes.get(end + 1..).map_or(0, digits);
        if bytes.get(end).is_some_and(|byte| b".,".contains(byte)) && fraction > 0 {
            end += 1 + fraction;
        }
        let zone = bytes.get(end).is_some_and(|byte| b"+-".contains(byte));
        let hours = bytes.get(end + 1..).map_or(0, digits);
        match (zone, hours) {
            (true, 4) => end += 5,
            (true, 2) => end = part(end + 3).unwrap_or(end),
            _ => {}
        }
    }
    Some(end)
}

/// Four numbers below 256 with dots between them.
fn address(bytes: &[u8]) -> Option<usize> {
    let mut end = 0;
    for n in 0..4 {
        let rest = bytes.get(end..)?;
        let count = digits(rest);
        if !(1..=3).contains(&count) || value(rest, count)? > 255 || (count > 1 && rest[0] == b'0') {
            return None;
        }
        end += count;
        let dot = bytes.get(end) == Some(&b'.');
        match n {
            0..=2 if dot => end += 1,
            0..=2 => return None,
            _ if dot && bytes.get(end + 1).is_some_and(u8::is_ascii_digit) => return None,
            _ => {}
        }
    }
    Some(end)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_shape_is_recognized_with_its_length() {
        #[rustfmt::skip]
        let table = [
            ("550e8400-e29b-41d4-a716-446655440000, x",   Some(36)),
            ("550e8400-e29b-41d4-a716-4466554400001",     None),
            ("2026-11-28",                                Some(10)),
            ("2026-11-28T17:53:11.123456789Z",            Some(29)),
            ("2026-11-28 17:53:11+08:00 x",               Some(25)),
            ("28.11.2026, 17:53",                         Some(10)),
            ("11/28/2026",                                Some(10)),
            ("1/2/2026",                                  Some(8)),
            ("2026-13-28",                                None),
            ("6581-23-45",                                None),
            ("01.02.1990.33",                             None),
            ("17:53:11.1234567",                          Some(16)),
            ("17:531234567",                              None),
            ("192.168.100.200",                           Some(15)),
            ("192.168.100.200.1",                         None),
            ("656.812.345.67",                            None),
            ("6581234567",                                None),
            ("",                                          None),
        ];
        for (text, expected) in table {
            assert_eq!(length(text), expected, "{text}");
        }
    }
}
