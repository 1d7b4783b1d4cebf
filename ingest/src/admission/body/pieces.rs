//! Reads the pieces of a body one after the other.

use std::io::{self, BufRead, Read};

use aftercall_common::json::BYTE_ORDER_MARK;
use bytes::Bytes;

/// A reader over pieces, which are not joined.
#[derive(Clone)]
pub(crate) struct PiecesReader<'a> {
    current: &'a [u8],
    rest: std::slice::Iter<'a, Bytes>,
}

impl<'a> PiecesReader<'a> {
    pub(crate) fn new(pieces: &'a [Bytes]) -> Self {
        Self { current: &[], rest: pieces.iter() }
    }

    /// Skips a byte order mark at the start. It may lie across pieces.
    pub(crate) fn pass_over_mark(&mut self) {
        let mut behind = self.clone();
        for expected in BYTE_ORDER_MARK {
            if behind.peek().first() != Some(expected) {
                return;
            }
            behind.consume(1);
        }
        *self = behind;
    }

    /// Whether nothing is left.
    pub(crate) fn is_at_end(&mut self) -> bool {
        self.peek().is_empty()
    }

    /// What is left of the piece that is read; empty at the end alone.
    fn peek(&mut self) -> &'a [u8] {
        while self.current.is_empty() {
            let Some(next) = self.rest.next() else { break };
            self.current = next;
        }
        self.current
    }
}

impl Read for PiecesReader<'_> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let read = self.peek().read(buffer)?;
        self.consume(read);
        Ok(read)
    }
}

impl BufRead for PiecesReader<'_> {
    fn fill_buf(&mut self) -> io::Result<&[u8]> {
        Ok(self.peek())
    }

    fn consume(&mut self, read: usize) {
        self.current = &self.current[read..];
    }
}
