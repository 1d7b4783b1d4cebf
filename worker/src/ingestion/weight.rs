//! Estimates the memory of a parsed message from its bytes.

/// Copies of a text that exist at the same time: parsed, as BSON, and in the command.
const COPIES: usize = 3;
/// Bytes of a parsed value besides its text, for each character that may begin a value. An object of one
/// member takes about 500 bytes and has three such characters. An empty array takes 100 bytes and has two.
const PER_VALUE: usize = 128;
/// Bytes of memory above which a message is heavy. A body of 32 MiB takes up to 130 MiB.
const HEAVY: usize = 16 * 1024 * 1024;

/// The weight of a message.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Weight {
    /// Bytes of the body.
    pub bytes: usize,
    /// Estimated bytes of memory while the message is processed.
    pub memory: usize,
}

impl Weight {
    /// The weight of `body`, which is JSON or a form. Reads the bytes once and does not allocate.
    pub fn of(body: &[u8]) -> Self {
        let begins_value = |byte: &&u8| matches!(byte, b'[' | b'{' | b',' | b':' | b'&' | b'=');
        let values = body.iter().filter(begins_value).count();
        Self { bytes: body.len(), memory: COPIES * body.len() + PER_VALUE * values }
    }

    /// Whether the message is heavy. Only one heavy message is processed at a time, and it is parsed on a
    /// separate thread.
    pub fn is_heavy(self) -> bool {
        self.memory > HEAVY
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_body_is_heavy_because_of_its_text_or_its_values() {
        let megabyte = 1024 * 1024;
        #[rustfmt::skip]
        let table = [
            ("",                                    false),
            (r#"{"event_type":"call.ringing"}"#,    false),
            (&*"x".repeat(megabyte),                false),
            (&*"x".repeat(6 * megabyte),            true),
            (&*"[],".repeat(100_000),               true),
            (&*"[],".repeat(1000),                  false),
            (&*"a=1&".repeat(100_000),              true),
        ];
        for (body, heavy) in table {
            assert_eq!(Weight::of(body.as_bytes()).is_heavy(), heavy, "{} bytes", body.len());
        }
    }
}
