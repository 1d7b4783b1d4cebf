use std::sync::Arc;

use async_nats::HeaderMap;
use proptest::prelude::*;

use super::*;
use crate::{admission::body::Body, storage::message::Webhook};

const MILLI: Duration = Duration::from_millis(1);

/// A group commit with its clock. The waiter of a request is the text of its webhook.
struct Bench {
    commits: GroupCommit<&'static str>,
    now: Instant,
}

fn webhook(text: &str) -> Arc<Webhook> {
    let mut id = [0; 32];
    id[..text.len()].copy_from_slice(text.as_bytes());
    let body = Body::unbudgeted(text.as_bytes().to_vec().into());
    Arc::new(Webhook { subject: "s".into(), id: id.into(), headers: HeaderMap::new(), body })
}

fn stored(sequence: u64, count: usize) -> Answer {
    Answer::Stored { sequence, duplicate: false, count }
}

#[expect(clippy::unnecessary_wraps, reason = "it is compared with results")]
fn ok(sequence: u64, duplicate: bool) -> PublishResult {
    Ok(Stored { sequence, duplicate })
}

impl Bench {
    /// With a broker for which a batch of two is cheaper than two single publishes.
    fn batching() -> Self {
        let mut bench = Self { commits: GroupCommit::default(), now: Instant::now() };
        bench.commits.set_supports_batches(true);
        (0..1000).for_each(|_| bench.commits.cost_model.observe_single(Duration::from_millis(5)));
        bench
    }

    fn singly() -> Self {
        Self { commits: GroupCommit::default(), now: Instant::now() }
    }

    fn after(&mut self, time: Duration) {
        self.now += time;
        self.commits.expire(self.now);
    }

    /// Posts these webhooks at the same time, with a deadline of one second. Returns the bodies of the
    /// messages that are sent: `<` marks the first message of a batch, `>` the one that commits it.
    fn post(&mut self, texts: &[&'static str]) -> Vec<String> {
        for text in texts {
            let deadline = self.now + Duration::from_secs(1);
            self.commits.arrive(PublishRequest { webhook: webhook(text), deadline, waiter: text }, self.now);
        }
        self.sent()
    }

    fn answer(&mut self, ack: u64, answer: Answer) -> Vec<String> {
        self.commits.acknowledged(AckId(ack), answer, self.now);
        self.sent()
    }

    fn sent(&mut self) -> Vec<String> {
        self.commits.advance(self.now);
        let messages = std::iter::from_fn(|| self.commits.next_publish());
        let texts = messages.map(|message| {
            let text = String::from_utf8(message.webhook.body.whole().to_vec()).unwrap();
            match message.position {
                Some(BatchPosition { sequence: 1, .. }) => format!("<{text}"),
                Some(BatchPosition { commits: true, .. }) => format!("{text}>"),
                Some(_) | None => text,
            }
        });
        texts.collect()
    }

    fn completed(&mut self) -> Vec<(&'static str, PublishResult)> {
        self.commits.completed().collect()
    }
}

#[test]
fn single_messages_are_sent_as_they_arrive() {
    let mut bench = Bench::singly();
    assert_eq!(bench.post(&["a"]), ["a"]);
    assert_eq!(bench.post(&["b", "c"]), ["b", "c"]);
    bench.answer(2, stored(7, 1));
    bench.answer(1, Answer::Stored { sequence: 3, duplicate: true, count: 1 });
    bench.answer(3, Answer::Refused(10077));
    assert_eq!(
        bench.completed(),
        [("b", ok(7, false)), ("a", ok(3, true)), ("c", Err(PublishError::Refused(10077)))]
    );
    assert!(bench.commits.is_idle());
    bench.answer(3, stored(9, 1));
    assert_eq!(bench.completed(), [], "an acknowledgement that is not expected");
}

#[test]
fn a_batch_includes_webhooks_that_arrive_before_the_broker_is_prepared() {
    let mut bench = Bench::batching();
    assert_eq!(bench.post(&["a"]), ["a"], "a webhook that arrives alone");
    assert_eq!(bench.post(&["b", "c"]), ["<b"]);
    assert!(bench.post(&["d"]).is_empty());
    assert_eq!(bench.answer(2, Answer::Staged), ["c", "d>"]);
    assert!(bench.post(&["e", "f"]).is_empty(), "only one batch is open at a time");
    assert_eq!(bench.answer(3, stored(9, 3)), ["<e"]);
    assert_eq!(bench.completed(), [("b", ok(7, false)), ("c", ok(8, false)), ("d", ok(9, false))]);
}

#[test]
fn the_cost_of_single_messages_is_measured_only_while_several_are_in_flight() {
    let texts: [&'static str; 64] = std::array::from_fn(|n| &*n.to_string().leak());
    let mut bench = Bench::singly();
    bench.commits.set_supports_batches(true);
    for n in 1..=1000 {
        bench.post(&["a"]);
        bench.after(MILLI);
        bench.answer(n, Answer::Stored { sequence: 1, duplicate: true, count: 1 });
    }
    assert!(!bench.commits.cost_model.prefers_batch(64), "one message at a time does not measure the broker");
    for round in 0..20 {
        assert_eq!(bench.post(&texts).len(), 64, "{round}");
        bench.after(MILLI * 10);
        let first = 1001 + round * 64;
        (first..first + 64).for_each(|n| drop(bench.answer(n, stored(n, 1))));
        if bench.commits.cost_model.prefers_batch(64) {
            assert!((8..12).contains(&round), "{round}");
            assert!(!bench.commits.cost_model.prefers_batch(12), "ten milliseconds for all 64");
            return;
        }
    }
    panic!("acknowledgements that come together were not measured");
}

#[test]
fn a_batch_without_a_second_message_is_not_committed() {
    let mut bench = Bench::batching();
    assert_eq!(bench.post(&["a", "b"]), ["<a"]);
    bench.after(MILLI * 1000);
    bench.post(&[]);
    assert_eq!(bench.completed().len(), 2);
    assert_eq!(bench.post(&["c", "d"]), ["<c"], "no request waits for the first batch any more");
    assert!(bench.answer(1, Answer::Staged).is_empty());
    let mut bench = Bench::batching();
    bench.post(&["a", "b"]);
    bench.commits.queue.clear();
    assert_eq!(bench.answer(1, Answer::Staged), ["a"]);
}

#[test]
fn the_messages_of_a_refused_batch_are_published_one_by_one() {
    for refusal in [Answer::Refused(10201), Answer::Garbled, stored(9, 1)] {
        let mut bench = Bench::batching();
        bench.post(&["a", "b"]);
        assert_eq!(bench.answer(1, Answer::Staged), ["b>"]);
        assert_eq!(bench.answer(2, refusal), ["a", "b"], "{refusal:?}");
        assert_eq!((bench.completed(), bench.commits.refused_batches()), (vec![], 1));
        bench.answer(3, Answer::Stored { sequence: 1, duplicate: true, count: 1 });
        bench.answer(4, stored(2, 1));
        assert_eq!(bench.completed(), [("a", ok(1, true)), ("b", ok(2, false))]);
    }
}

#[test]
fn no_batch_is_opened_for_a_while_after_a_refusal() {
    let mut bench = Bench::batching();
    bench.post(&["a", "b"]);
    assert_eq!(bench.answer(1, Answer::Refused(10199)), ["a", "b"]);
    assert_eq!(bench.post(&["c", "d"]), ["c", "d"]);
    bench.after(BATCH_PAUSE);
    assert_eq!(bench.post(&["e", "f"]), ["<e"]);
}

#[test]
fn the_same_bytes_are_sent_once_and_every_request_is_completed() {
    let mut bench = Bench::batching();
    assert_eq!(bench.post(&["a", "a", "b", "a"]), ["<a"]);
    assert_eq!(bench.answer(1, Answer::Staged), ["b>"]);
    bench.post(&["b"]);
    bench.answer(2, stored(2, 2));
    let again = ("a", ok(1, true));
    assert_eq!(
        bench.completed(),
        [("a", ok(1, false)), again, again, ("b", ok(2, false)), ("b", ok(2, true))]
    );
    // The broker would refuse a batch that contains a stored id.
    assert_eq!(bench.post(&["c", "d", "a"]), ["a", "<c"]);
}

#[test]
fn every_request_is_completed_by_its_deadline() {
    let mut bench = Bench::batching();
    assert_eq!(bench.post(&["a"]), ["a"]);
    assert_eq!(bench.post(&["b", "c"]), ["<b"]);
    bench.after(MILLI * 999);
    assert_eq!(bench.completed(), []);
    bench.post(&["a"]);
    bench.after(MILLI * 1);
    bench.post(&[]);
    let mut completed = bench.completed();
    completed.sort_unstable_by_key(|(waiter, _)| *waiter);
    let late = Err(PublishError::TimedOut);
    assert_eq!(completed, [("a", late), ("b", late), ("c", Err(PublishError::Expired))]);
    bench.after(MILLI * 999);
    assert_eq!(bench.completed(), [("a", late)], "a later request has a later deadline");
    assert_eq!(
        bench.post(&["a"]),
        ["a"],
        "a repetition does not wait for an acknowledgement that may be lost"
    );
    bench.answer(1, stored(1, 1));
    assert_eq!(bench.completed(), [], "this acknowledgement belongs to the first attempt");
    bench.answer(3, Answer::Stored { sequence: 1, duplicate: true, count: 1 });
    assert_eq!(bench.completed(), [("a", ok(1, true))]);
    bench.after(ACK_TIMEOUT + MILLI);
    assert!(bench.commits.is_idle());
}

#[test]
fn a_broken_connection_completes_every_request() {
    let mut bench = Bench::batching();
    bench.post(&["a"]);
    bench.post(&["b", "c"]);
    bench.commits.connection_lost();
    let lost = Err(PublishError::ConnectionLost);
    assert_eq!(bench.completed(), [("c", Err(PublishError::Disconnected)), ("a", lost), ("b", lost)]);
    assert!(bench.commits.is_idle());
    assert!(bench.answer(1, stored(1, 1)).is_empty() && bench.completed().is_empty());
}

#[test]
fn messages_in_flight_are_bounded_while_the_broker_hangs() {
    let mut bench = Bench::singly();
    let texts: Vec<&'static str> = (0..3000).map(|n| &*n.to_string().leak()).collect();
    assert_eq!(bench.post(&texts).len(), MAX_SINGLES);
    for round in 0..5 {
        bench.after(MILLI * 1000);
        assert!(bench.post(&texts).is_empty(), "{round}");
        assert_eq!(
            (bench.commits.in_flight.len(), bench.commits.waiters.webhooks()),
            (MAX_SINGLES, 1000 + 3000)
        );
    }
    bench.after(ACK_TIMEOUT);
    assert_eq!(bench.post(&["x"]), ["x"]);
}

proptest! {
    #[test]
    fn every_request_is_completed_once_whatever_happens(
        steps in prop::collection::vec((0..8u8, 0..60usize), 1..200),
    ) {
        let mut bench = Bench::batching();
        let (mut posted, mut completed) = (0, 0);
        let mut sent: Vec<(AckId, Option<BatchPosition>)> = Vec::new();
        for (step, pick) in steps {
            match step {
                0..=2 => {
                    posted += 1;
                    let text: &'static str = (pick % 20).to_string().leak();
                    let deadline = bench.now + Duration::from_millis(100);
                    bench.commits.arrive(PublishRequest { webhook: webhook(text), deadline, waiter: text }, bench.now);
                }
                3 | 4 if !sent.is_empty() => {
                    let (ack, position) = sent.swap_remove(pick % sent.len());
                    let answer = match position {
                        Some(BatchPosition { commits: false, .. }) => Answer::Staged,
                        Some(BatchPosition { sequence, .. }) if pick % 3 > 0 => stored(1000, sequence),
                        None if pick % 3 > 0 => stored(7, 1),
                        _ => Answer::Refused(10201),
                    };
                    bench.commits.acknowledged(ack, answer, bench.now);
                }
                5 => bench.after(MILLI * u32::try_from(pick).unwrap()),
                6 if pick == 0 => bench.commits.connection_lost(),
                _ => {}
            }
            bench.commits.advance(bench.now);
            while let Some(message) = bench.commits.next_publish() {
                sent.extend(message.ack.map(|ack| (ack, message.position)));
            }
            completed += bench.completed().len();
        }
        bench.after(MILLI * 100);
        bench.after(ACK_TIMEOUT + MILLI);
        completed += bench.completed().len();
        prop_assert_eq!(completed, posted);
        prop_assert!(bench.commits.is_idle());
        prop_assert!(bench.commits.waiters.awaited() == 0);
    }
}
