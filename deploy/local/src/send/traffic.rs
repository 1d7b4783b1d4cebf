//! The order in which webhooks are posted: shuffled or not, with some of them twice.

use bytes::Bytes;
use rand::{Rng, RngExt as _, seq::SliceRandom as _};

use super::story::Call;

/// With `--ordered`, events of one call are so many webhooks apart, which lets calls overlap.
const APART: usize = 50;

/// Bodies in posting order.
pub fn posts(calls: &[Call], duplicates: f64, ordered: bool, rng: &mut impl Rng) -> Vec<Bytes> {
    let mut posts: Vec<(usize, Bytes)> = Vec::new();
    for (n, call) in calls.iter().enumerate() {
        posts.extend(
            call.webhooks.iter().enumerate().map(|(k, webhook)| (n + k * APART, webhook.to_string().into())),
        );
    }
    for _ in 0..share(posts.len(), duplicates) {
        let (position, body) = posts[rng.random_range(0..posts.len())].clone();
        // Most arrive as the same bytes, as a sender's retry does; some do not, and the broker
        // cannot know them.
        let body = if rng.random_bool(0.25) { Bytes::from([&body[..], b"\n"].concat()) } else { body };
        posts.push((position + rng.random_range(1..APART), body));
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
