//! Splits inputs: into lines, and bodies into the pieces in which they may arrive.

use bytes::Bytes;

/// Bodies up to this length are cut in two at every position.
const SHORT: usize = 64;
/// Positions at which longer bodies are cut in two.
const POSITIONS: usize = 16;

/// `body` in one piece, in pieces of one byte with empty pieces between them, and in two pieces.
pub fn pieces(body: &Bytes) -> impl Iterator<Item = Vec<Bytes>> {
    let bytes = (0..body.len()).flat_map(|at| [body.slice(at..=at), Bytes::new()]).collect();
    let step = if body.len() <= SHORT { 1 } else { body.len().div_ceil(POSITIONS) };
    let halves = (0..=body.len()).step_by(step).map(|at| vec![body.slice(..at), body.slice(at..)]);
    [vec![body.clone()], bytes].into_iter().chain(halves)
}

/// The first line of `data` without its line feed, and the rest.
pub fn line(data: &[u8]) -> (&[u8], &[u8]) {
    match data.iter().position(|&byte| byte == b'\n') {
        Some(end) => (&data[..end], &data[end + 1..]),
        None => (data, &[]),
    }
}
