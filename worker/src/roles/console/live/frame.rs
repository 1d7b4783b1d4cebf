//! Server-sent events as bytes. Pure.

use bytes::Bytes;

/// One event: its name, and one `data:` line for each line of `data`.
pub fn frame(event: &str, data: &str) -> Bytes {
    let mut frame = format!("event: {event}\n");
    // A browser ends a line at a carriage return too. Otherwise a text of a sender could contain an event.
    for line in data.lines().flat_map(|line| line.split('\r')) {
        frame.push_str("data: ");
        frame.push_str(line);
        frame.push('\n');
    }
    frame.push('\n');
    frame.into()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_line_of_an_event_becomes_one_data_line() {
        let expected = "event: row\ndata: a\ndata: b\ndata: c\n\n";
        for data in ["a\nb\r\nc", "a\rb\rc\n", "a\r\nb\rc"] {
            assert_eq!(frame("row", data), expected, "{data:?}");
        }
        let hostile = frame("row", "x\r\revent: letters\rdata: 99999\r\r");
        assert!(!hostile.contains(&b'\r'), "{hostile:?}");
        assert!(!std::str::from_utf8(&hostile).unwrap().contains("\nevent:"), "{hostile:?}");
    }
}
