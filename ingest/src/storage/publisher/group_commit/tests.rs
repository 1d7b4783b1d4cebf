use std::sync::Arc;

use async_nats::HeaderMap;
use proptest::prelude::*;

use super::*;
use crate::{
    admission::body::Body,
    storage::{message::Webhook, publisher::batching::BATCH_PAUSE},
};

const MILLI: Duration = Duration::from_millis(1);

/// A group commit with its clock. The waiter of a request is the text of its webhook.
struct Fixture {
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

impl Fixture {
    /// With a broker for which a batch of two is cheaper than two single publishes.
    fn batching() -> Self {
        let mut fixture = Self { commits: GroupCommit::default(), now: Instant::now() };
        fixture.commits.set_supports_batches(true);
        (0..1000).for_each(|_| fixture.commits.batching.cost_model.observe_single(Duration::from_millis(5)));
        fixture
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
    let mut fixture = Fixture::singly();
    assert_eq!(fixture.post(&["a"]), ["a"]);
    assert_eq!(fixture.post(&["b", "c"]), ["b", "c"]);
    fixture.answer(2, stored(7, 1));
    fixture.answer(1, Answer::Stored { sequence: 3, duplicate: true, count: 1 });
    fixture.answer(3, Answer::Refused(10077));
    assert_eq!(
        fixture.completed(),
        [("b", ok(7, false)), ("a", ok(3, true)), ("c", Err(PublishError::Refused(10077)))]
    );
    assert!(fixture.commits.is_idle());
    fixture.answer(3, stored(9, 1));
    assert_eq!(fixture.completed(), [], "an acknowledgement that is not expected");
}

#[test]
fn a_batch_includes_webhooks_that_arrive_before_the_broker_is_prepared() {
    let mut fixture = Fixture::batching();
    assert_eq!(fixture.post(&["a"]), ["a"], "a webhook that arrives alone");
    assert_eq!(fixture.post(&["b", "c"]), ["<b"]);
    assert!(fixture.post(&["d"]).is_empty());
    assert_eq!(fixture.answer(2, Answer::Staged), ["c", "d>"]);
    assert!(fixture.post(&["e", "f"]).is_empty(), "only one batch is open at a time");
    assert_eq!(fixture.answer(3, stored(9, 3)), ["<e"]);
    assert_eq!(fixture.completed(), [("b", ok(7, false)), ("c", ok(8, false)), ("d", ok(9, false))]);
}

#[test]
fn the_cost_of_single_messages_is_measured_only_while_several_are_in_flight() {
    let texts: [&'static str; 64] = std::array::from_fn(|n| &*n.to_string().leak());
    let mut fixture = Fixture::singly();
    fixture.commits.set_supports_batches(true);
    for n in 1..=1000 {
        fixture.post(&["a"]);
        fixture.after(MILLI);
        fixture.answer(n, Answer::Stored { sequence: 1, duplicate: true, count: 1 });
    }
    assert!(
        !fixture.commits.batching.cost_model.prefers_batch(64),
        "messages that do not overlap do not measure the broker"
    );
    for round in 0..20 {
        assert_eq!(fixture.post(&texts).len(), 64, "{round}");
        fixture.after(MILLI * 10);
        let first = 1001 + round * 64;
        (first..first + 64).for_each(|n| drop(fixture.answer(n, stored(n, 1))));
        if fixture.commits.batching.cost_model.prefers_batch(64) {
            assert!((8..12).contains(&round), "{round}");
            assert!(!fixture.commits.batching.cost_model.prefers_batch(12), "ten milliseconds for all 64");
            return;
        }
    }
    panic!("acknowledgements that come together were not measured");
}

#[test]
fn a_batch_without_a_second_message_is_not_committed() {
    let mut fixture = Fixture::batching();
    assert_eq!(fixture.post(&["a", "b"]), ["<a"]);
    fixture.after(MILLI * 1000);
    fixture.post(&[]);
    assert_eq!(fixture.completed().len(), 2);
    assert_eq!(fixture.post(&["c", "d"]), ["<c"], "no request waits for the first batch any more");
    assert!(fixture.answer(1, Answer::Staged).is_empty());
    let mut fixture = Fixture::batching();
    fixture.post(&["a", "b"]);
    fixture.commits.queue.clear();
    assert_eq!(fixture.answer(1, Answer::Staged), ["a"]);
}

#[test]
fn the_messages_of_a_refused_batch_are_published_one_by_one() {
    for refusal in [Answer::Refused(10201), Answer::Garbled, stored(9, 1)] {
        let mut fixture = Fixture::batching();
        fixture.post(&["a", "b"]);
        assert_eq!(fixture.answer(1, Answer::Staged), ["b>"]);
        assert_eq!(fixture.answer(2, refusal), ["a", "b"], "{refusal:?}");
        assert_eq!((fixture.completed(), fixture.commits.refused_batches()), (vec![], 1));
        fixture.answer(3, Answer::Stored { sequence: 1, duplicate: true, count: 1 });
        fixture.answer(4, stored(2, 1));
        assert_eq!(fixture.completed(), [("a", ok(1, true)), ("b", ok(2, false))]);
    }
}

#[test]
fn no_batch_is_opened_during_the_pause_after_a_refusal() {
    let mut fixture = Fixture::batching();
    fixture.post(&["a", "b"]);
    assert_eq!(fixture.answer(1, Answer::Refused(10199)), ["a", "b"]);
    assert_eq!(fixture.post(&["c", "d"]), ["c", "d"]);
    fixture.after(BATCH_PAUSE);
    assert_eq!(fixture.post(&["e", "f"]), ["<e"]);
}

#[test]
fn the_same_bytes_are_sent_once_and_every_request_is_completed() {
    let mut fixture = Fixture::batching();
    assert_eq!(fixture.post(&["a", "a", "b", "a"]), ["<a"]);
    assert_eq!(fixture.answer(1, Answer::Staged), ["b>"]);
    fixture.post(&["b"]);
    fixture.answer(2, stored(2, 2));
    let again = ("a", ok(1, true));
    assert_eq!(
        fixture.completed(),
        [("a", ok(1, false)), again, again, ("b", ok(2, false)), ("b", ok(2, true))]
    );
    // The broker would refuse a batch that contains a stored id.
    assert_eq!(fixture.post(&["c", "d", "a"]), ["a", "<c"]);
}

#[test]
fn every_request_is_completed_by_its_deadline() {
    let mut fixture = Fixture::batching();
    assert_eq!(fixture.post(&["a"]), ["a"]);
    assert_eq!(fixture.post(&["b", "c"]), ["<b"]);
    fixture.after(MILLI * 999);
    assert_eq!(fixture.completed(), []);
    fixture.post(&["a"]);
    fixture.after(MILLI * 1);
    fixture.post(&[]);
    let mut completed = fixture.completed();
    completed.sort_unstable_by_key(|(waiter, _)| *waiter);
    let late = Err(PublishError::TimedOut);
    assert_eq!(completed, [("a", late), ("b", late), ("c", Err(PublishError::Expired))]);
    fixture.after(MILLI * 999);
    assert_eq!(fixture.completed(), [("a", late)], "a later request has a later deadline");
    assert_eq!(
        fixture.post(&["a"]),
        ["a"],
        "a repetition does not wait for an acknowledgement that may be lost"
    );
    fixture.answer(1, stored(1, 1));
    assert_eq!(fixture.completed(), [], "this acknowledgement belongs to the first attempt");
    fixture.answer(3, Answer::Stored { sequence: 1, duplicate: true, count: 1 });
    assert_eq!(fixture.completed(), [("a", ok(1, true))]);
    fixture.after(ACK_TIMEOUT + MILLI);
    assert!(fixture.commits.is_idle());
}

#[test]
fn a_broken_connection_completes_every_request() {
    let mut fixture = Fixture::batching();
    fixture.post(&["a"]);
    fixture.post(&["b", "c"]);
    fixture.commits.connection_lost();
    let lost = Err(PublishError::ConnectionLost);
    assert_eq!(fixture.completed(), [("c", Err(PublishError::Disconnected)), ("a", lost), ("b", lost)]);
    assert!(fixture.commits.is_idle());
    assert!(fixture.answer(1, stored(1, 1)).is_empty() && fixture.completed().is_empty());
}

#[test]
fn messages_in_flight_are_bounded_while_the_broker_hangs() {
    let mut fixture = Fixture::singly();
    let texts: Vec<&'static str> = (0..3000).map(|n| &*n.to_string().leak()).collect();
    assert_eq!(fixture.post(&texts).len(), MAX_SINGLES);
    for round in 0..5 {
        fixture.after(MILLI * 1000);
        assert!(fixture.post(&texts).is_empty(), "{round}");
        assert_eq!(
            (fixture.commits.in_flight.len(), fixture.commits.waiters.webhooks()),
            (MAX_SINGLES, 1000 + 3000)
        );
    }
    fixture.after(ACK_TIMEOUT);
    assert_eq!(fixture.post(&["x"]), ["x"]);
}

proptest! {
    #[test]
    fn every_request_is_completed_once_whatever_happens(
        steps in prop::collection::vec((0..8u8, 0..60usize), 1..200),
    ) {
        let mut fixture = Fixture::batching();
        let (mut posted, mut completed) = (0, 0);
        let mut sent: Vec<(AckId, Option<BatchPosition>)> = Vec::new();
        for (step, pick) in steps {
            match step {
                0..=2 => {
                    posted += 1;
                    let text: &'static str = (pick % 20).to_string().leak();
                    let deadline = fixture.now + Duration::from_millis(100);
                    fixture.commits.arrive(PublishRequest { webhook: webhook(text), deadline, waiter: text }, fixture.now);
                }
                3 | 4 if !sent.is_empty() => {
                    let (ack, position) = sent.swap_remove(pick % sent.len());
                    let answer = match position {
                        Some(BatchPosition { commits: false, .. }) => Answer::Staged,
                        Some(BatchPosition { sequence, .. }) if pick % 3 > 0 => stored(1000, sequence),
                        None if pick % 3 > 0 => stored(7, 1),
                        _ => Answer::Refused(10201),
                    };
                    fixture.commits.acknowledged(ack, answer, fixture.now);
                }
                5 => fixture.after(MILLI * u32::try_from(pick).unwrap()),
                6 if pick == 0 => fixture.commits.connection_lost(),
                _ => {}
            }
            fixture.commits.advance(fixture.now);
            while let Some(message) = fixture.commits.next_publish() {
                sent.extend(message.ack.map(|ack| (ack, message.position)));
            }
            completed += fixture.completed().len();
        }
        fixture.after(MILLI * 100);
        fixture.after(ACK_TIMEOUT + MILLI);
        completed += fixture.completed().len();
        prop_assert_eq!(completed, posted);
        prop_assert!(fixture.commits.is_idle());
        prop_assert!(fixture.commits.waiters.awaited() == 0);
    }
}
