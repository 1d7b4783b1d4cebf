use std::{convert::Infallible, io};

use aftercall_common::http::MIN_RATE;
use futures_util::{StreamExt as _, stream};
use http_body_util::{Full, StreamBody};
use hyper::body::Frame;
use prometheus_client::metrics::gauge::Gauge;

use super::{budget::UNIT, *};

fn limits(max_bytes: usize) -> Limits {
    Limits { max_bytes, max_joined_bytes: 100, timeout: Duration::from_secs(10) }
}

fn budget(bytes: usize) -> Budget {
    Budget::new(bytes, Gauge::default())
}

fn chunks(chunks: &[&'static str]) -> impl HttpBody<Data = Bytes, Error = Infallible> + Unpin {
    let frames: Vec<_> =
        chunks.iter().map(|chunk| Ok(Frame::data(Bytes::from_static(chunk.as_bytes())))).collect();
    StreamBody::new(stream::iter(frames))
}

#[tokio::test]
async fn body_in_one_piece_is_not_copied_and_several_pieces_are_joined() {
    let text = Bytes::from_static(b"{\"a\":1}");
    let body = read(&mut Full::new(text.clone()), limits(100), &budget(1024)).await.unwrap();
    assert_eq!(body.pieces()[0].as_ptr(), text.as_ptr());
    for pieces in [&["{\"a\"", ":", "1}"][..], &["", "{\"a\":1}"], &["{\"a\":1}", ""]] {
        let body = read(&mut chunks(pieces), limits(100), &budget(1024)).await.unwrap();
        assert_eq!((body.whole(), body.pieces().len()), (text.clone(), 1), "{pieces:?}");
    }
    assert!(read(&mut chunks(&[]), limits(100), &budget(1024)).await.unwrap().is_empty());
}

#[tokio::test]
async fn large_body_stays_in_pieces_and_small_pieces_are_joined() {
    let thousand: Vec<&str> = vec!["0123456789"; 1000];
    let body = read(&mut chunks(&thousand), limits(20_000), &budget(64 * 1024)).await.unwrap();
    assert_eq!((body.len(), body.whole()), (10_000, Bytes::from("0123456789".repeat(1000))));
    assert!((2..200).contains(&body.pieces().len()), "{}", body.pieces().len());
}

#[tokio::test]
async fn size_is_checked_when_announced_and_while_reading() {
    let too_large = BodyError::TooLarge { limit: 9 };
    let ten = || Full::new(Bytes::from_static(b"0123456789"));
    assert!(read(&mut ten(), limits(10), &budget(1024)).await.is_ok());
    assert_eq!(read(&mut ten(), limits(9), &budget(1024)).await.unwrap_err(), too_large);
    let pieces = || chunks(&["01234", "56789"]);
    assert!(read(&mut pieces(), limits(10), &budget(1024)).await.is_ok());
    assert_eq!(read(&mut pieces(), limits(9), &budget(1024)).await.unwrap_err(), too_large);
}

#[tokio::test]
async fn budget_is_shared_and_reservations_are_released() {
    let budget = budget(3 * UNIT);
    let two = Bytes::from(vec![b' '; UNIT + 1]);
    let body = read(&mut Full::new(two.clone()), limits(10 * UNIT), &budget).await.unwrap();
    assert_eq!(budget.held.get(), 2048);
    let refused = read(&mut Full::new(two.clone()), limits(10 * UNIT), &budget).await;
    assert_eq!(refused.unwrap_err(), BodyError::OverBudget);
    assert_eq!(budget.held.get(), 2048, "a refused body holds nothing");
    drop(body);
    assert_eq!((budget.held.get(), budget.units.available_permits()), (0, 3));
    assert!(read(&mut Full::new(two), limits(10 * UNIT), &budget).await.is_ok());
}

#[tokio::test(start_paused = true)]
async fn stalled_body_times_out_and_broken_body_is_reported() {
    let mut stalled = StreamBody::new(stream::pending::<Result<Frame<Bytes>, Infallible>>());
    assert_eq!(read(&mut stalled, limits(10), &budget(1024)).await.unwrap_err(), BodyError::Timeout);
    let mut broken = StreamBody::new(stream::iter([Err::<Frame<Bytes>, _>(io::Error::other("reset"))]));
    assert_eq!(read(&mut broken, limits(10), &budget(1024)).await.unwrap_err(), BodyError::Broken);
}

#[tokio::test(start_paused = true)]
async fn refused_body_is_discarded_up_to_a_limit() {
    let chunk = Bytes::from(vec![b' '; 51]);
    let mut body =
        StreamBody::new(stream::iter((0..5).map(|_| Ok::<_, Infallible>(Frame::data(chunk.clone())))));
    discard(&mut body, Duration::from_secs(1), 100).await;
    assert_eq!(body.count().await, 3);
}

#[tokio::test]
async fn bodies_of_one_trust_never_use_the_budget_of_another() {
    let budgets = Budgets::new(3 * UNIT, &Gauge::default());
    for trust in [Trust::Unverified, Trust::Unlisted, Trust::Api] {
        let mut all = budgets.of(trust).reservation();
        assert!(all.raise_to(1024 * 1024) && !all.raise_to(64 * 1024 * 1024), "{trust:?}");
        let body = Full::new(Bytes::from(vec![b' '; 3 * UNIT]));
        let read = read(&mut { body }, limits(10 * UNIT), budgets.of(Trust::Provider)).await;
        assert!(read.is_ok(), "beside {trust:?}");
    }
}

#[tokio::test(start_paused = true)]
async fn stalled_body_is_displaced_by_a_newer_one() {
    let budget = Budget::displacing(4 * UNIT, 3, Gauge::default());
    let stalled = async || {
        let first = stream::iter([Ok::<_, Infallible>(Frame::data(Bytes::from(vec![b' '; UNIT])))]);
        let mut body = StreamBody::new(first.chain(stream::pending()));
        read(&mut body, limits(10 * UNIT), &budget).await.unwrap_err()
    };
    // Over the number of bodies: the fourth displaces the first.
    let outcomes = tokio::join!(stalled(), stalled(), stalled(), stalled());
    let (displaced, late) = (BodyError::OverBudget, BodyError::Timeout);
    assert_eq!(outcomes, (displaced, late, late, late));
    // Over the bytes: a complete body takes the bytes of two stalled ones.
    let whole = async {
        let body = read(&mut Full::new(Bytes::from(vec![b' '; 4 * UNIT])), limits(10 * UNIT), &budget).await;
        body.map(|body| body.len())
    };
    let outcomes = tokio::join!(stalled(), stalled(), whole);
    assert_eq!(outcomes, (displaced, displaced, Ok(4 * UNIT)));
    assert_eq!(
        (budget.held.get(), budget.units.available_permits()),
        (0, 4),
        "all reservations are released"
    );
}

#[tokio::test(start_paused = true)]
async fn body_displaces_as_few_others_as_needed_and_none_if_that_is_not_enough() {
    let budget = Budget::displacing(10 * UNIT, 100, Gauge::default());
    let stalled = async || {
        let first = stream::iter([Ok::<_, Infallible>(Frame::data(Bytes::from(vec![b' '; 2 * UNIT])))]);
        let mut body = StreamBody::new(first.chain(stream::pending()));
        read(&mut body, limits(20 * UNIT), &budget).await.unwrap_err()
    };
    let whole = async |units: usize| {
        let body = Bytes::from(vec![b' '; units * UNIT]);
        read(&mut Full::new(body), limits(20 * UNIT), &budget).await.map(|body| body.len() / UNIT)
    };
    let (displaced, late) = (BodyError::OverBudget, BodyError::Timeout);
    // Four units are free, and the bodies hold two each.
    let outcomes = tokio::join!(stalled(), stalled(), stalled(), whole(7));
    assert_eq!(outcomes, (displaced, displaced, late, Ok(7)));
    let outcomes = tokio::join!(stalled(), stalled(), stalled(), whole(11));
    assert_eq!(outcomes, (late, late, late, Err(displaced)));
    assert_eq!(budget.held.get(), 0, "all reservations are released");
}

/// A body that sends `bytes` every second, `times` times, and then stalls.
fn slow(bytes: usize, times: usize) -> impl HttpBody<Data = Bytes, Error = Infallible> + Unpin {
    let frames = stream::iter(0..times).then(move |_| async move {
        tokio::time::sleep(Duration::from_secs(1)).await;
        Ok(Frame::data(Bytes::from(vec![b' '; bytes])))
    });
    StreamBody::new(Box::pin(frames))
}

#[tokio::test(start_paused = true)]
async fn body_at_the_minimum_rate_is_read_beyond_the_timeout_and_a_slower_one_is_not() {
    let rate = usize::try_from(MIN_RATE).unwrap();
    let with_overtime = Budget::with_overtime(100 * rate, Gauge::default());
    let (without, all) = (budget(100 * rate), limits(100 * rate));
    let started = Instant::now();
    let body = read(&mut slow(rate, 40), all, &with_overtime).await.unwrap();
    assert_eq!((body.len(), started.elapsed().as_secs()), (40 * rate, 40));
    let refused = async |bytes, budget| {
        let started = Instant::now();
        (read(&mut slow(bytes, 40), all, budget).await.unwrap_err(), started.elapsed().as_secs())
    };
    assert_eq!(refused(rate / 2, &with_overtime).await, (BodyError::Timeout, 19)); // 19.5 s.
    assert_eq!(refused(1, &with_overtime).await, (BodyError::Timeout, 10));
    assert_eq!(refused(rate, &without).await, (BodyError::Timeout, 10), "a budget without overtime");
    let mut stalled = StreamBody::new(
        stream::iter([Ok::<_, Infallible>(Frame::data(Bytes::from(vec![b' '; 90 * rate])))])
            .chain(stream::pending()),
    );
    let started = Instant::now();
    drop(body);
    assert_eq!(read(&mut stalled, all, &with_overtime).await.unwrap_err(), BodyError::Timeout);
    assert_eq!(started.elapsed().as_secs(), 10, "a fast body that stalls has no overtime");
}

#[tokio::test(start_paused = true)]
async fn body_in_overtime_is_displaced_by_one_in_its_regular_time() {
    let rate = usize::try_from(MIN_RATE).unwrap();
    let budget = Budget::with_overtime(20 * rate, Gauge::default());
    let all = limits(100 * rate);
    let whole = async |after, bytes| {
        tokio::time::sleep(Duration::from_secs(after)).await;
        read(&mut Full::new(Bytes::from(vec![b' '; bytes])), all, &budget).await.map(|body| body.len())
    };
    let slow = async || read(&mut slow(rate, 18), all, &budget).await.map(|body| body.len());
    // In its regular time a body keeps its bytes. Beyond it, they go to the others.
    let outcomes = tokio::join!(slow(), whole(8, 15 * rate), whole(12, 2 * rate), whole(14, 15 * rate));
    let over = BodyError::OverBudget;
    assert_eq!(outcomes, (Err(over), Err(over), Ok(2 * rate), Ok(15 * rate)));
    assert_eq!(slow().await, Ok(18 * rate), "with room, a slow body is read to its end");
    assert_eq!(budget.held.get(), 0, "all reservations are released");
}
