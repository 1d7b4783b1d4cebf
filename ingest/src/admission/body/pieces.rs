//! The pieces of a body: how they are kept, and how they are read one after the other.

use std::io::{self, BufRead, Read};

use aftercall_common::json::BYTE_ORDER_MARK;
use bytes::Bytes;

/// A piece below this size is joined with its neighbours once there are [`MAX_SMALL_PIECES`] of them.
const SMALL_BYTES: usize = 16 * 1024;
const MAX_SMALL_PIECES: usize = 64;

/// Adds `data` to `pieces`. Small pieces are joined from time to time, because each piece keeps the whole
/// buffer that it was read into: many small ones would keep far more memory than they have bytes.
pub(super) fn push(pieces: &mut Vec<Bytes>, data: Bytes) {
    pieces.push(data);
    let small = pieces.iter().rev().take_while(|piece| piece.len() < SMALL_BYTES).count();
    if small >= MAX_SMALL_PIECES {
        let joined = pieces.split_off(pieces.len() - small).concat();
        pieces.push(joined.into());
    }
}

/// Joins pieces of `length` bytes into one piece if they have at most `joined` bytes.
pub(super) fn join(pieces: Vec<Bytes>, length: usize, joined: usize) -> Vec<Bytes> {
    if pieces.len() > 1 && length <= joined { vec![pieces.concat().into()] } else { pieces }
}

/// A reader over the pieces, without joining them.
#[derive(Clone)]
pub(crate) struct PiecesReader<'a> {
    current: &'a [u8],
    rest: std::slice::Iter<'a, Bytes>,
}

impl<'a> PiecesReader<'a> {
    pub(crate) fn new(pieces: &'a [Bytes]) -> Self {
        Self { current: &[], rest: pieces.iter() }
    }

    /// Skips a byte order mark at the start. The mark may be in several pieces.
    pub(crate) fn skip_byte_order_mark(&mut self) {
        let mut after_mark = self.clone();
        for expected in BYTE_ORDER_MARK {
            if after_mark.peek().first() != Some(expected) {
                return;
            }
            after_mark.consume(1);
        }
        *self = after_mark;
    }

    /// Whether all bytes have been read.
    pub(crate) fn is_at_end(&mut self) -> bool {
        self.peek().is_empty()
    }

    /// The rest of the current piece. Empty only at the end.
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
