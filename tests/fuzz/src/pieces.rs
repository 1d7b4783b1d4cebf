//! Ways to cut a body: as it may arrive in any number of pieces, none of them may matter.

use bytes::Bytes;

/// Bodies up to this length are cut in two at every place.
const SHORT: usize = 64;
/// Places at which longer ones are cut in two.
const PLACES: usize = 16;

/// `body` in one piece, in pieces of one byte with empty ones between them, and in two pieces.
pub fn of(body: &Bytes) -> impl Iterator<Item = Vec<Bytes>> {
    let bytes = (0..body.len()).flat_map(|at| [body.slice(at..=at), Bytes::new()]).collect();
    let step = if body.len() <= SHORT { 1 } else { body.len().div_ceil(PLACES) };
    let halves = (0..=body.len()).step_by(step).map(|at| vec![body.slice(..at), body.slice(at..)]);
    [vec![body.clone()], bytes].into_iter().chain(halves)
}
