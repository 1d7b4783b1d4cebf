//! Decompresses bodies that arrive with `Content-Encoding: gzip` or `deflate`.
//!
//! Some forwarders compress webhooks. A signature covers the bytes as received. Format check, id and
//! storage use the decompressed bytes, so nothing behind the gateway handles encodings.
//!
//! Invariant: decompressed bytes are limited and reserved before they are kept, as received bytes are.
//! Therefore a body that expands to a thousand times its size costs no more than a body of that size.

use std::io::{self, Read};

use bytes::Bytes;
use flate2::bufread::{DeflateDecoder, MultiGzDecoder, ZlibDecoder};
use hyper::{HeaderMap, header::CONTENT_ENCODING};

use super::{
    Body,
    budget::Budget,
    pieces::{self, PiecesReader},
};

/// Bytes that are decompressed into one piece.
const PIECE: usize = 64 * 1024;

/// The encoding of a body.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Encoding {
    /// Not compressed.
    Identity,
    /// RFC 1952.
    Gzip,
    /// RFC 1950 (with a header), or RFC 1951 (without a header): some senders use this name for both.
    Deflate,
}

/// Why a body was not decompressed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum UnpackError {
    /// The `Content-Encoding` is neither gzip nor deflate, or there are several.
    Unsupported,
    /// The decompressed body is larger than `limit` bytes.
    TooLarge {
        /// Largest accepted size, in bytes.
        limit: usize,
    },
    /// The budget for all requests is used up.
    OverBudget,
    /// The content does not match the `Content-Encoding`, is incomplete, or is followed by other bytes.
    Broken,
}

/// The encoding that `headers` name.
///
/// # Errors
/// [`UnpackError::Unsupported`].
pub fn encoding(headers: &HeaderMap) -> Result<Encoding, UnpackError> {
    let mut lines = headers.get_all(CONTENT_ENCODING).iter();
    let Some(line) = lines.next() else { return Ok(Encoding::Identity) };
    let named = |name: &str| line.as_bytes().trim_ascii().eq_ignore_ascii_case(name.as_bytes());
    match () {
        () if lines.next().is_some() => Err(UnpackError::Unsupported),
        () if named("gzip") || named("x-gzip") => Ok(Encoding::Gzip),
        () if named("deflate") => Ok(Encoding::Deflate),
        () if named("identity") || named("") => Ok(Encoding::Identity),
        () => Err(UnpackError::Unsupported),
    }
}

/// How the body of a request is decompressed. To decompress a few hundred MiB takes a second, so large bodies
/// are decompressed on a blocking thread.
#[derive(Clone, Copy, Debug)]
pub struct Unpacking<'a> {
    /// The encoding of the body.
    pub encoding: Encoding,
    /// Largest decompressed size, in bytes.
    pub max_bytes: usize,
    /// Largest decompressed size that is put into one piece, in bytes.
    pub max_joined_bytes: usize,
    /// The budget for the decompressed bytes.
    pub budget: &'a Budget,
}

impl Unpacking<'_> {
    /// Replaces a compressed `body` with its content.
    ///
    /// # Errors
    /// See [`UnpackError`].
    pub fn replace(self, body: &mut Body) -> Result<(), UnpackError> {
        if self.encoding != Encoding::Identity {
            *body = self.unpack(body)?;
        }
        Ok(())
    }

    /// The content of `packed`.
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
        let (mut reservation, mut length, mut pieces) = (self.budget.reservation(), 0, Vec::new());
        let mut buffer = vec![0; PIECE];
        loop {
            let read = read_full(reader, &mut buffer).map_err(|_error| UnpackError::Broken)?;
            if read == 0 {
                break;
            }
            length += read;
            if length > self.max_bytes {
                return Err(UnpackError::TooLarge { limit: self.max_bytes });
            }
            if !reservation.raise_to(length) {
                return Err(UnpackError::OverBudget);
            }
            pieces.push(Bytes::copy_from_slice(&buffer[..read]));
        }
        Ok(Body::reserved(pieces::join(pieces, length, self.max_joined_bytes), reservation))
    }
}

/// Returns `body` if nothing follows the compressed content.
fn must_end(mut packed: PiecesReader<'_>, body: Body) -> Result<Body, UnpackError> {
    if packed.is_at_end() { Ok(body) } else { Err(UnpackError::Broken) }
}

/// Whether `packed` begins with an RFC 1950 header: method 8 in the first byte, and the first two bytes are a
/// multiple of 31.
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

    fn unpacked(packed: &[u8], encoding: Encoding, max_bytes: usize) -> Result<Bytes, UnpackError> {
        let budget = Budget::new(64 * MIB, Gauge::default());
        let packed = Body::unbudgeted(Bytes::copy_from_slice(packed));
        Unpacking { encoding, max_bytes, max_joined_bytes: 1000, budget: &budget }
            .unpack(&packed)
            .map(|body| body.whole())
    }

    #[test]
    fn body_is_decompressed_however_it_is_cut_into_pieces() {
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
                let unpacking =
                    Unpacking { encoding, max_bytes: MIB, max_joined_bytes: 1000, budget: &budget };
                let body = unpacking.unpack(&Body::reserved(pieces, budget.reservation())).unwrap();
                assert_eq!(body.whole(), expected, "{encoding:?} in pieces of seven");
                assert_eq!(body.pieces().len() > 1, expected.len() > PIECE, "long ones stay in pieces");
            }
        }
    }

    #[test]
    fn decompression_stops_at_the_limit_and_at_the_budget() {
        let bomb = gzip(&vec![b' '; 32 * MIB]);
        assert!(bomb.len() < 40_000);
        assert_eq!(unpacked(&bomb, Encoding::Gzip, MIB), Err(UnpackError::TooLarge { limit: MIB }));
        assert!(unpacked(&bomb, Encoding::Gzip, 32 * MIB).is_ok());
        let (held, packed) = (Gauge::default(), Body::unbudgeted(bomb.into()));
        let budget = Budget::new(2 * MIB, held.clone());
        let encoding = Encoding::Gzip;
        let refused = Unpacking { encoding, max_bytes: 32 * MIB, max_joined_bytes: 1000, budget: &budget }
            .unpack(&packed);
        assert_eq!(refused.unwrap_err(), UnpackError::OverBudget);
        assert_eq!(held.get(), 0, "a refused body holds nothing");
    }

    #[test]
    fn content_that_does_not_match_its_encoding_is_broken() {
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
    fn only_single_known_encodings_are_supported() {
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
