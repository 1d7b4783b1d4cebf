//! Server-sent events as bytes. Pure.

use bytes::Bytes;

/// One event: its name, and one `data:` line for each line of `data`.
pub fn frame(event: &str, data: &str) -> Bytes {
    let mut frame = format!("event: {event}\n");
    for line in data.lines() {
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
        assert_eq!(frame("row", "a\nb\r\nc"), "event: row\ndata: a\ndata: b\ndata: c\n\n");
    }
}
