//! Orders the webhooks of several calls for posting, with duplicates.

use bytes::Bytes;
use rand::{Rng, RngExt as _, seq::SliceRandom as _};

use super::scenario::Call;

/// Distance between two events of one call in ordered traffic. It makes calls overlap.
const EVENT_DISTANCE: usize = 50;

/// The bodies of all webhooks in posting order: shuffled, or with the events of each call in order.
/// `duplicates` is the share of webhooks that are posted twice.
pub fn posts(calls: &[Call], duplicates: f64, ordered: bool, rng: &mut impl Rng) -> Vec<Bytes> {
    let mut posts: Vec<(usize, Bytes)> = Vec::new();
    for (n, call) in calls.iter().enumerate() {
        posts.extend(
            call.webhooks
                .iter()
                .enumerate()
                .map(|(k, webhook)| (n + k * EVENT_DISTANCE, webhook.to_string().into())),
        );
    }
    for _ in 0..share(posts.len(), duplicates) {
        let (position, body) = posts[rng.random_range(0..posts.len())].clone();
        // Most duplicates have the same bytes, as a retry does. Some differ, so that the broker cannot
        // recognize them.
        let body = if rng.random_bool(0.25) { Bytes::from([&body[..], b"\n"].concat()) } else { body };
        posts.push((position + rng.random_range(1..EVENT_DISTANCE), body));
    }
    if ordered {
        posts.sort_by_key(|(position, _)| *position);
    } else {
        posts.shuffle(rng);
    }
    posts.into_iter().map(|(_, body)| body).collect()
}

#[expect(
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    clippy::cast_precision_loss,
    reason = "a count, small"
)]
fn share(count: usize, fraction: f64) -> usize {
    (count as f64 * fraction).round() as usize
}
