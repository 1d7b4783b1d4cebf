use std::time::Duration;

use async_nats::HeaderMap;
use bytes::Bytes;
use proptest::prelude::*;

use super::*;
use crate::{body::Body, message::webhook_id};

/// For a broker that takes no batches.
const NEVER: usize = usize::MAX;

type Texts = &'static [&'static str];

fn entry(text: &str, deadline: Instant) -> (Entry, oneshot::Receiver<Outcome>) {
    let (reply, outcome) = oneshot::channel();
    let body = Body::unbudgeted(text.as_bytes());
    let webhook = Arc::new(Webhook {
        subject: "s".into(),
        id: webhook_id("/", &[Bytes::copy_from_slice(text.as_bytes())]),
        headers: HeaderMap::new(),
        body,
    });
    (Entry { webhook, deadline, reply }, outcome)
}

fn texts(slots: &[Slot]) -> Vec<String> {
    slots.iter().map(|slot| String::from_utf8(slot.webhook.body.whole().to_vec()).unwrap()).collect()
}

/// Batch, singles and expired of a group of `posted`; `-` in front means past its deadline.
fn planned(posted: &[&str], smallest: usize, remembered: &[&str]) -> (Vec<String>, Vec<String>, usize) {
    let now = Instant::now();
    let mut recent = Recent::default();
    for text in remembered {
        recent.insert(webhook_id("/", &[Bytes::copy_from_slice(text.as_bytes())]));
    }
    let entries = posted.iter().map(|text| match text.strip_prefix('-') {
        Some(text) => entry(text, now).0,
        None => entry(text, now + Duration::from_secs(1)).0,
    });
    let plan = plan(entries, now, smallest, &recent);
    (texts(&plan.batch), texts(&plan.singles), plan.expired.len())
}

#[test]
fn a_group_goes_as_a_batch_unless_small_known_or_unsupported() {
    #[rustfmt::skip]
    let table: [(Texts, usize, Texts, Texts, Texts, usize); 8] = [
        // posted,                        least, remembered,   batch,                  singles,              expired
        (&["a"],                          4,    &[],          &[],                   &["a"],               0),
        (&["a", "b", "c"],                4,    &[],          &[],                   &["a", "b", "c"],     0),
        (&["a", "b", "c", "d"],           4,    &[],          &["a", "b", "c", "d"], &[],                  0),
        (&["a", "b", "c", "d"],           NEVER,   &[],          &[],                   &["a", "b", "c", "d"], 0),
        (&["a", "b", "c", "d", "e"],      4,    &["b", "x"],  &["a", "c", "d", "e"], &["b"],               0),
        (&["a", "b", "c", "d"],           4,    &["b"],       &[],                   &["b", "a", "c", "d"], 0),
        (&["a", "a", "b", "a", "c", "d"], 4,    &[],          &["a", "b", "c", "d"], &[],                  0),
        (&["-a", "a", "-b", "c"],         4,    &[],          &[],                   &["a", "c"],          2),
    ];
    for (posted, smallest, remembered, batch, singles, expired) in table {
        let found = planned(posted, smallest, remembered);
        let owned = |texts: &[&str]| texts.iter().map(|text| (*text).to_owned()).collect::<Vec<_>>();
        assert_eq!(found, (owned(batch), owned(singles), expired), "{posted:?} {smallest} {remembered:?}");
    }
}

#[tokio::test]
async fn everyone_who_posted_the_same_gets_the_same_sequence() {
    let deadline = Instant::now() + Duration::from_secs(1);
    let (entries, outcomes): (Vec<_>, Vec<_>) =
        ["a", "a", "a"].iter().map(|text| entry(text, deadline)).unzip();
    let mut plan = plan(entries, Instant::now(), 2, &Recent::default());
    assert_eq!(plan.singles.len(), 1);
    plan.singles.remove(0).answer(Ok(Stored { sequence: 7, duplicate: false }));
    let mut duplicates = Vec::new();
    for outcome in outcomes {
        let stored = outcome.await.unwrap().unwrap();
        assert_eq!(stored.sequence, 7);
        duplicates.push(stored.duplicate);
    }
    assert_eq!(duplicates, [false, true, true]);
}

#[test]
fn a_group_is_bounded_in_messages_and_bytes_but_never_empty() {
    assert_eq!(fitting(std::iter::repeat_n(300, 5000)), MAX_MESSAGES);
    assert_eq!(fitting([MAX_BYTES / 4; 9].into_iter()), 4);
    assert_eq!(fitting([MAX_BYTES + 1, 1].into_iter()), 1);
    assert_eq!(fitting([1, MAX_BYTES, 1].into_iter()), 1);
}

#[test]
fn memory_of_ids_is_bounded_and_keeps_the_latest() {
    let mut recent = Recent::default();
    let id = |n: usize| webhook_id("/", &[n.to_string().into()]);
    for n in 0..5 * REMEMBERED {
        recent.insert(id(n));
    }
    assert!(recent.young.len() + recent.old.len() <= 2 * REMEMBERED);
    assert!((4 * REMEMBERED..5 * REMEMBERED).all(|n| recent.contains(id(n))));
    assert!(!recent.contains(id(0)));
}

proptest! {
    #[test]
    fn every_entry_ends_in_one_place(posted in prop::collection::vec("-?[a-f]", 0..20), smallest in 2_usize..6, known in "[a-f]") {
        let posted: Vec<&str> = posted.iter().map(String::as_str).collect();
        let (batch, singles, expired) = planned(&posted, smallest, &[&known]);
        let mut sent = [batch.clone(), singles].concat();
        sent.sort();
        let mut expected: Vec<_> = posted.iter().filter(|text| !text.starts_with('-')).map(ToString::to_string).collect();
        expected.sort();
        expected.dedup();
        prop_assert_eq!(sent, expected);
        prop_assert_eq!(expired, posted.iter().filter(|text| text.starts_with('-')).count());
        prop_assert!(batch.is_empty() || batch.len() >= smallest && !batch.contains(&known));
    }
}
