//! Unpacks bodies that arrive with `Content-Encoding: gzip` or `deflate`.
//!
//! Some forwarders compress what they pass on. The signature is of the bytes received; the checks, the id and
//! storage are of the bytes unpacked, so nothing behind the gateway knows encodings.
//!
//! Invariant: unpacked bytes are bounded and reserved as received ones are, before they are kept. A body that
//! unpacks to a thousand times its size costs no more than one that arrives at that size.

use std::io::{self, Read};

use bytes::Bytes;
use flate2::bufread::{DeflateDecoder, MultiGzDecoder, ZlibDecoder};
use hyper::{HeaderMap, header::CONTENT_ENCODING};

use super::{Body, Budget, pieces::PiecesReader};
use crate::http::rejection::Rejection;

/// Bytes unpacked at a time; each such piece has a buffer of its own.
const PIECE: usize = 64 * 1024;

/// How a body is packed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Encoding {
    /// Not at all.
    Identity,
    /// RFC 1952.
    Gzip,
    /// RFC 1950, and the bare RFC 1951 that some senders mean by it.
    Deflate,
}

/// Why a body was not unpacked.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum UnpackError {
    /// It unpacks to more bytes than one request may have.
    TooLarge,
    /// All requests together hold as much as they may.
    OverBudget,
    /// It is not packed as its header says, or not complete, or other bytes follow.
    Broken,
}

/// The encoding that `headers` name.
///
/// # Errors
/// [`Rejection::UnsupportedEncoding`]: any other than gzip and deflate, or several one after the other.
pub fn encoding(headers: &HeaderMap) -> Result<Encoding, Rejection> {
    let mut lines = headers.get_all(CONTENT_ENCODING).iter();
    let Some(line) = lines.next() else { return Ok(Encoding::Identity) };
    let named = |name: &str| line.as_bytes().trim_ascii().eq_ignore_ascii_case(name.as_bytes());
    match () {
        () if lines.next().is_some() => Err(Rejection::UnsupportedEncoding),
        () if named("gzip") || named("x-gzip") => Ok(Encoding::Gzip),
        () if named("deflate") => Ok(Encoding::Deflate),
        () if named("identity") || named("") => Ok(Encoding::Identity),
        () => Err(Rejection::UnsupportedEncoding),
    }
}

/// How the body of a request is unpacked. Takes a second for some hundred MiB: to be done on a thread that nobody
/// waits for.
#[derive(Clone, Copy, Debug)]
pub struct Unpacking<'a> {
    /// How it is packed.
    pub encoding: Encoding,
    /// Most bytes it may unpack to.
    pub most: usize,
    /// Up to so many bytes it is in one piece.
    pub joined: usize,
    /// Where the unpacked bytes are reserved.
    pub budget: &'a Budget,
}

impl Unpacking<'_> {
    /// Replaces a packed `body`.
    ///
    /// # Errors
    /// Of the sender's as of [`UnpackError`].
    pub fn replace(self, body: &mut Body) -> Result<(), Rejection> {
        if self.encoding != Encoding::Identity {
            *body = self.unpack(body).map_err(|error| Rejection::unpacking(error, self.most))?;
        }
        Ok(())
    }

    /// Unpacks `packed`.
    ///
    /// # Errors
    /// See [`UnpackError`].
    pub fn unpack(self, packed: &Body) -> Result<Body, UnpackError> {
        let mut reader = PiecesReader::new(packed.pieces());
        match self.encoding {
            Encoding::Identity => self.fill(&mut reader),
            Encoding::Gzip => self.fill(&mut MultiGzDecoder::new(reader)),
            Encoding::Deflate if is_zlib(packed) => {
                let mut decoder = ZlibDecoder::new(reader);
                let body = self.fill(&mut decoder)?;
                must_end(decoder.into_inner(), body)
            }
            Encoding::Deflate => {
                let mut decoder = DeflateDecoder::new(reader);
                let body = self.fill(&mut decoder)?;
                must_end(decoder.into_inner(), body)
            }
        }
    }

    fn fill(self, reader: &mut impl Read) -> Result<Body, UnpackError> {
        let (mut hold, mut length, mut pieces) = (self.budget.hold(), 0, Vec::new());
        let mut buffer = vec![0; PIECE];
        loop {
            let read = read_full(reader, &mut buffer).map_err(|_error| UnpackError::Broken)?;
            if read == 0 {
                break;
            }
            length += read;
            if length > self.most {
                return Err(UnpackError::TooLarge);
            }
            if !hold.raise_to(length) {
                return Err(UnpackError::OverBudget);
            }
            pieces.push(Bytes::copy_from_slice(&buffer[..read]));
        }
        Ok(Body::held(super::join(pieces, length, self.joined), hold))
    }
}

/// `body`, if nothing follows what it was unpacked from.
fn must_end(mut packed: PiecesReader<'_>, body: Body) -> Result<Body, UnpackError> {
    if packed.is_at_end() { Ok(body) } else { Err(UnpackError::Broken) }
}

/// Whether `packed` begins with a header of RFC 1950: method 8 in the first byte, and both a multiple of 31.
fn is_zlib(packed: &Body) -> bool {
    let mut bytes = packed.pieces().iter().flatten();
    let (Some(&first), Some(&second)) = (bytes.next(), bytes.next()) else { return false };
    first & 0x0F == 8 && u16::from_be_bytes([first, second]) % 31 == 0
}

/// Reads until `buffer` is full or `reader` ends.
fn read_full(reader: &mut impl Read, buffer: &mut [u8]) -> io::Result<usize> {
    let mut filled = 0;
    while filled < buffer.len() {
        match reader.read(&mut buffer[filled..])? {
            0 => break,
            read => filled += read,
        }
    }
    Ok(filled)
}

#[cfg(test)]
mod tests {
    use std::io::Write as _;

    use flate2::{
        Compression,
        write::{DeflateEncoder, GzEncoder, ZlibEncoder},
    };
    use hyper::header::HeaderValue;
    use prometheus_client::metrics::gauge::Gauge;

    use super::*;

    const MIB: usize = 1024 * 1024;

    fn gzip(bytes: &[u8]) -> Vec<u8> {
        let mut encoder = GzEncoder::new(Vec::new(), Compression::default());
        encoder.write_all(bytes).unwrap();
        encoder.finish().unwrap()
    }

    fn zlib(bytes: &[u8]) -> Vec<u8> {
        let mut encoder = ZlibEncoder::new(Vec::new(), Compression::default());
        encoder.write_all(bytes).unwrap();
        encoder.finish().unwrap()
    }

    fn raw(bytes: &[u8]) -> Vec<u8> {
        let mut encoder = DeflateEncoder::new(Vec::new(), Compression::default());
        encoder.write_all(bytes).unwrap();
        encoder.finish().unwrap()
    }

    fn unpacked(packed: &[u8], encoding: Encoding, most: usize) -> Result<Bytes, UnpackError> {
        let budget = Budget::new(64 * MIB, Gauge::default());
        let packed = Body::unbudgeted(Bytes::copy_from_slice(packed));
        Unpacking { encoding, most, joined: 1000, budget: &budget }.unpack(&packed).map(|body| body.whole())
    }

    #[test]
    fn what_was_packed_is_unpacked_however_it_arrived() {
        let budget = Budget::new(64 * MIB, Gauge::default());
        let text = (0..50_000).map(|n| format!("{{\"n\":{n}}}")).collect::<Vec<_>>().join(",");
        for text in ["", "{}", &text] {
            let text = text.as_bytes();
            for (packed, encoding) in [
                (gzip(text), Encoding::Gzip),
                ([gzip(b"{"), gzip(b"}")].concat(), Encoding::Gzip),
                (zlib(text), Encoding::Deflate),
                (raw(text), Encoding::Deflate),
                (text.to_vec(), Encoding::Identity),
            ] {
                let expected = if encoding == Encoding::Gzip && packed != gzip(text) { b"{}" } else { text };
                assert_eq!(unpacked(&packed, encoding, MIB).unwrap(), expected, "{encoding:?}");
                let pieces = packed.chunks(7).map(Bytes::copy_from_slice).collect();
                let unpacking = Unpacking { encoding, most: MIB, joined: 1000, budget: &budget };
                let body = unpacking.unpack(&Body::held(pieces, budget.hold())).unwrap();
                assert_eq!(body.whole(), expected, "{encoding:?} in pieces of seven");
                assert_eq!(body.pieces().len() > 1, expected.len() > PIECE, "long ones stay in pieces");
            }
        }
    }

    #[test]
    fn a_bomb_stops_at_the_limit_and_at_the_budget() {
        let bomb = gzip(&vec![b' '; 32 * MIB]);
        assert!(bomb.len() < 40_000);
        assert_eq!(unpacked(&bomb, Encoding::Gzip, MIB), Err(UnpackError::TooLarge));
        assert!(unpacked(&bomb, Encoding::Gzip, 32 * MIB).is_ok());
        let (held, packed) = (Gauge::default(), Body::unbudgeted(bomb.into()));
        let budget = Budget::new(2 * MIB, held.clone());
        let encoding = Encoding::Gzip;
        let refused = Unpacking { encoding, most: 32 * MIB, joined: 1000, budget: &budget }.unpack(&packed);
        assert_eq!(refused.unwrap_err(), UnpackError::OverBudget);
        assert_eq!(held.get(), 0, "a refused body holds nothing");
    }

    #[test]
    fn what_is_not_packed_as_it_says_is_broken() {
        let gzip = gzip(b"{\"a\":1}");
        let touched =
            [&gzip[..gzip.len() - 5], &[gzip[gzip.len() - 5] ^ 1], &gzip[gzip.len() - 4..]].concat();
        for (packed, encoding) in [
            (b"{}".to_vec(), Encoding::Gzip),
            (gzip[..gzip.len() - 1].to_vec(), Encoding::Gzip),
            ([&gzip[..], b"{}"].concat(), Encoding::Gzip),
            (touched, Encoding::Gzip),
            (gzip, Encoding::Deflate),
            ([zlib(b"{}"), b"{}".to_vec()].concat(), Encoding::Deflate),
            ([raw(b"{}"), b"{}".to_vec()].concat(), Encoding::Deflate),
            (b"{}".to_vec(), Encoding::Deflate),
        ] {
            assert_eq!(unpacked(&packed, encoding, MIB), Err(UnpackError::Broken), "{encoding:?}");
        }
    }

    #[test]
    fn every_header_names_one_encoding_or_is_refused() {
        let table: [(&[&str], Option<Encoding>); 12] = [
            (&[], Some(Encoding::Identity)),
            (&["identity"], Some(Encoding::Identity)),
            (&[""], Some(Encoding::Identity)),
            (&["gzip"], Some(Encoding::Gzip)),
            (&[" GZip "], Some(Encoding::Gzip)),
            (&["x-gzip"], Some(Encoding::Gzip)),
            (&["deflate"], Some(Encoding::Deflate)),
            (&["br"], None),
            (&["zstd"], None),
            (&["gzip, gzip"], None),
            (&["deflate", "gzip"], None),
            (&["gzip,"], None),
        ];
        for (lines, expected) in table {
            let mut headers = HeaderMap::new();
            for line in lines {
                headers.append(CONTENT_ENCODING, HeaderValue::from_static(line));
            }
            assert_eq!(encoding(&headers).ok(), expected, "{lines:?}");
        }
    }
}
