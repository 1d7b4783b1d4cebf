//! How much memory a message takes once it is parsed, estimated from its bytes.

/// Copies of a text that exist at the same time: parsed, as BSON, and in the command.
const COPIES: usize = 3;
/// Bytes of a parsed value besides its text, for each character that may begin one. An object of one member takes
/// about 500 bytes and has three such characters; an empty array takes 100 and has two.
const PER_VALUE: usize = 128;
/// Above it a message is heavy. One of 32 MiB takes up to 130 MiB.
const HEAVY: usize = 16 * 1024 * 1024;

/// The size of a message.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Weight {
    /// Bytes of its body.
    pub bytes: usize,
    /// Estimated bytes of memory while it is worked on.
    pub memory: usize,
}

impl Weight {
    /// The weight of `body`, be it JSON or a form. One pass; nothing is built.
    pub fn of(body: &[u8]) -> Self {
        let begins_value = |byte: &&u8| matches!(byte, b'[' | b'{' | b',' | b':' | b'&' | b'=');
        let values = body.iter().filter(begins_value).count();
        Self { bytes: body.len(), memory: COPIES * body.len() + PER_VALUE * values }
    }

    /// Whether it is worked on as the only one of its kind in the process, and parsed off the path of the others.
    pub fn is_heavy(self) -> bool {
        self.memory > HEAVY
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_body_is_heavy_by_its_text_or_by_its_values() {
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
