use async_nats::HeaderMap;
use proptest::prelude::*;

use super::*;
use crate::admission::body::Body;

const MILLI: Duration = Duration::from_millis(1);

/// A core, its clock, and what it has sent and told.
struct Bench {
    commits: Commits<&'static str>,
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

#[expect(clippy::unnecessary_wraps, reason = "told are outcomes")]
fn ok(sequence: u64, duplicate: bool) -> Outcome {
    Ok(Stored { sequence, duplicate })
}

impl Bench {
    /// Before a broker to which two webhooks are a batch already.
    fn batching() -> Self {
        let mut bench = Self { commits: Commits::default(), now: Instant::now() };
        bench.commits.set_takes_batches(true);
        (0..1000).for_each(|_| bench.commits.pace.single(Duration::from_millis(5)));
        bench
    }

    fn singly() -> Self {
        Self { commits: Commits::default(), now: Instant::now() }
    }

    fn after(&mut self, time: Duration) {
        self.now += time;
        self.commits.expire(self.now);
    }

    /// Posts these at once, each to be answered within a second; what is sent then: bodies, with `<` in
    /// front of what opens a batch and `>` behind what commits one.
    fn post(&mut self, texts: &[&'static str]) -> Vec<String> {
        for text in texts {
            let deadline = self.now + Duration::from_secs(1);
            self.commits.arrive(Entry { webhook: webhook(text), deadline, waiter: text }, self.now);
        }
        self.sent()
    }

    fn answer(&mut self, number: u64, answer: Answer) -> Vec<String> {
        self.commits.answered(number, answer, self.now);
        self.sent()
    }

    fn sent(&mut self) -> Vec<String> {
        self.commits.advance(self.now);
        let orders = std::iter::from_fn(|| self.commits.order());
        let texts = orders.map(|order| {
            let text = String::from_utf8(order.webhook.body.whole().to_vec()).unwrap();
            match order.place {
                Some(Place { n: 1, .. }) => format!("<{text}"),
                Some(Place { commits: true, .. }) => format!("{text}>"),
                Some(_) | None => text,
            }
        });
        texts.collect()
    }

    fn told(&mut self) -> Vec<(&'static str, Outcome)> {
        self.commits.told().collect()
    }
}

#[test]
fn single_messages_go_as_they_come() {
    let mut bench = Bench::singly();
    assert_eq!(bench.post(&["a"]), ["a"]);
    assert_eq!(bench.post(&["b", "c"]), ["b", "c"]);
    bench.answer(2, stored(7, 1));
    bench.answer(1, Answer::Stored { sequence: 3, duplicate: true, count: 1 });
    bench.answer(3, Answer::Refused(10077));
    assert_eq!(
        bench.told(),
        [("b", ok(7, false)), ("a", ok(3, true)), ("c", Err(PublishError::Refused(10077)))]
    );
    assert!(bench.commits.is_idle());
    bench.answer(3, stored(9, 1));
    assert_eq!(bench.told(), [], "an answer that nobody waits for");
}

#[test]
fn a_batch_takes_what_comes_until_the_broker_is_prepared() {
    let mut bench = Bench::batching();
    assert_eq!(bench.post(&["a"]), ["a"], "alone");
    assert_eq!(bench.post(&["b", "c"]), ["<b"]);
    assert!(bench.post(&["d"]).is_empty());
    assert_eq!(bench.answer(2, Answer::Staged), ["c", "d>"]);
    assert!(bench.post(&["e", "f"]).is_empty(), "one at a time");
    assert_eq!(bench.answer(3, stored(9, 3)), ["<e"]);
    assert_eq!(bench.told(), [("b", ok(7, false)), ("c", ok(8, false)), ("d", ok(9, false))]);
}

#[test]
fn the_price_of_single_messages_is_the_broker_s_time_while_it_has_several() {
    let texts: [&'static str; 64] = std::array::from_fn(|n| &*n.to_string().leak());
    let mut bench = Bench::singly();
    bench.commits.set_takes_batches(true);
    for n in 1..=1000 {
        bench.post(&["a"]);
        bench.after(MILLI);
        bench.answer(n, Answer::Stored { sequence: 1, duplicate: true, count: 1 });
    }
    assert!(!bench.commits.pace.prefers_batch(64), "one at a time tells nothing");
    for round in 0..20 {
        assert_eq!(bench.post(&texts).len(), 64, "{round}");
        bench.after(MILLI * 10);
        let first = 1001 + round * 64;
        (first..first + 64).for_each(|n| drop(bench.answer(n, stored(n, 1))));
        if bench.commits.pace.prefers_batch(64) {
            assert!((8..12).contains(&round), "{round}");
            assert!(!bench.commits.pace.prefers_batch(12), "ten milliseconds for all 64");
            return;
        }
    }
    panic!("answers that come together have no price");
}

#[test]
fn a_batch_of_one_is_none() {
    let mut bench = Bench::batching();
    assert_eq!(bench.post(&["a", "b"]), ["<a"]);
    bench.after(MILLI * 1000);
    bench.post(&[]);
    assert_eq!(bench.told().len(), 2);
    assert_eq!(bench.post(&["c", "d"]), ["<c"], "nobody waits for the first batch any more");
    assert!(bench.answer(1, Answer::Staged).is_empty());
    let mut bench = Bench::batching();
    bench.post(&["a", "b"]);
    bench.commits.line.clear();
    assert_eq!(bench.answer(1, Answer::Staged), ["a"]);
}

#[test]
fn a_batch_that_is_refused_goes_again_singly() {
    for refusal in [Answer::Refused(10201), Answer::Garbled, stored(9, 1)] {
        let mut bench = Bench::batching();
        bench.post(&["a", "b"]);
        assert_eq!(bench.answer(1, Answer::Staged), ["b>"]);
        assert_eq!(bench.answer(2, refusal), ["a", "b"], "{refusal:?}");
        assert_eq!((bench.told(), bench.commits.refused()), (vec![], 1));
        bench.answer(3, Answer::Stored { sequence: 1, duplicate: true, count: 1 });
        bench.answer(4, stored(2, 1));
        assert_eq!(bench.told(), [("a", ok(1, true)), ("b", ok(2, false))]);
    }
}

#[test]
fn a_broker_that_opens_no_batch_is_not_asked_for_a_while() {
    let mut bench = Bench::batching();
    bench.post(&["a", "b"]);
    assert_eq!(bench.answer(1, Answer::Refused(10199)), ["a", "b"]);
    assert_eq!(bench.post(&["c", "d"]), ["c", "d"]);
    bench.after(REST);
    assert_eq!(bench.post(&["e", "f"]), ["<e"]);
}

#[test]
fn the_same_bytes_are_sent_once_and_everyone_is_told() {
    let mut bench = Bench::batching();
    assert_eq!(bench.post(&["a", "a", "b", "a"]), ["<a"]);
    assert_eq!(bench.answer(1, Answer::Staged), ["b>"]);
    bench.post(&["b"]);
    bench.answer(2, stored(2, 2));
    let again = ("a", ok(1, true));
    assert_eq!(bench.told(), [("a", ok(1, false)), again, again, ("b", ok(2, false)), ("b", ok(2, true))]);
    // What is known to be stored would spoil a batch.
    assert_eq!(bench.post(&["c", "d", "a"]), ["a", "<c"]);
}

#[test]
fn nobody_waits_longer_than_until_the_deadline() {
    let mut bench = Bench::batching();
    assert_eq!(bench.post(&["a"]), ["a"]);
    assert_eq!(bench.post(&["b", "c"]), ["<b"]);
    bench.after(MILLI * 999);
    assert_eq!(bench.told(), []);
    bench.post(&["a"]);
    bench.after(MILLI * 1);
    bench.post(&[]);
    let mut told = bench.told();
    told.sort_unstable_by_key(|(waiter, _)| *waiter);
    let late = Err(PublishError::TimedOut);
    assert_eq!(told, [("a", late), ("b", late), ("c", Err(PublishError::Expired))]);
    bench.after(MILLI * 999);
    assert_eq!(bench.told(), [("a", late)], "who came later has more time");
    assert_eq!(bench.post(&["a"]), ["a"], "a repetition is not to wait for an answer that got lost");
    bench.answer(1, stored(1, 1));
    assert_eq!(bench.told(), [], "its answer is another");
    bench.answer(3, Answer::Stored { sequence: 1, duplicate: true, count: 1 });
    assert_eq!(bench.told(), [("a", ok(1, true))]);
    bench.after(FORGET + MILLI);
    assert!(bench.commits.is_idle());
}

#[test]
fn a_connection_that_breaks_leaves_nobody_waiting() {
    let mut bench = Bench::batching();
    bench.post(&["a"]);
    bench.post(&["b", "c"]);
    bench.commits.lost();
    let lost = Err(PublishError::ConnectionLost);
    assert_eq!(bench.told(), [("c", Err(PublishError::Disconnected)), ("a", lost), ("b", lost)]);
    assert!(bench.commits.is_idle());
    assert!(bench.answer(1, stored(1, 1)).is_empty() && bench.told().is_empty());
}

#[test]
fn a_broker_that_hangs_is_not_buried() {
    let mut bench = Bench::singly();
    let texts: Vec<&'static str> = (0..3000).map(|n| &*n.to_string().leak()).collect();
    assert_eq!(bench.post(&texts).len(), MAX_SINGLES);
    for round in 0..5 {
        bench.after(MILLI * 1000);
        assert!(bench.post(&texts).is_empty(), "{round}");
        assert_eq!(
            (bench.commits.unanswered(), bench.commits.waiters.webhooks()),
            (MAX_SINGLES, 1000 + 3000)
        );
    }
    bench.after(FORGET);
    assert_eq!(bench.post(&["x"]), ["x"]);
}

proptest! {
    #[test]
    fn whatever_happens_everyone_is_told_once_and_ok_only_what_is_stored(
        steps in prop::collection::vec((0..8u8, 0..60usize), 1..200),
    ) {
        let mut bench = Bench::batching();
        let (mut posted, mut told) = (0, 0);
        let mut sent: Vec<(u64, Option<Place>)> = Vec::new();
        for (step, pick) in steps {
            match step {
                0..=2 => {
                    posted += 1;
                    let text: &'static str = (pick % 20).to_string().leak();
                    let deadline = bench.now + Duration::from_millis(100);
                    bench.commits.arrive(Entry { webhook: webhook(text), deadline, waiter: text }, bench.now);
                }
                3 | 4 if !sent.is_empty() => {
                    let (number, place) = sent.swap_remove(pick % sent.len());
                    let answer = match place {
                        Some(Place { commits: false, .. }) => Answer::Staged,
                        Some(Place { n, .. }) if pick % 3 > 0 => stored(1000, n),
                        None if pick % 3 > 0 => stored(7, 1),
                        _ => Answer::Refused(10201),
                    };
                    bench.commits.answered(number, answer, bench.now);
                }
                5 => bench.after(MILLI * u32::try_from(pick).unwrap()),
                6 if pick == 0 => bench.commits.lost(),
                _ => {}
            }
            bench.commits.advance(bench.now);
            while let Some(order) = bench.commits.order() {
                sent.extend(order.number.map(|number| (number, order.place)));
            }
            told += bench.told().len();
        }
        bench.after(MILLI * 100);
        bench.after(FORGET + MILLI);
        told += bench.told().len();
        prop_assert_eq!(told, posted);
        prop_assert!(bench.commits.is_idle());
        prop_assert!(bench.commits.waiters.waited_for() == 0);
    }
}
