use std::{convert::Infallible, io};

use futures_util::stream;
use http_body_util::{Full, StreamBody};
use hyper::body::Frame;

use super::*;

const TIME: Duration = Duration::from_secs(10);

fn budget(bytes: usize) -> Budget {
    Budget::new(bytes, Gauge::default())
}

fn chunks(chunks: &[&'static str]) -> impl HttpBody<Data = Bytes, Error = Infallible> + Unpin {
    let frames: Vec<_> =
        chunks.iter().map(|chunk| Ok(Frame::data(Bytes::from_static(chunk.as_bytes())))).collect();
    StreamBody::new(stream::iter(frames))
}

#[tokio::test]
async fn one_piece_is_not_copied_and_several_are_joined() {
    let text = Bytes::from_static(b"{\"a\":1}");
    let body = read(&mut Full::new(text.clone()), 100, TIME, &budget(1024)).await.unwrap();
    assert_eq!(body.bytes.as_ptr(), text.as_ptr());
    for pieces in [&["{\"a\"", ":", "1}"][..], &["", "{\"a\":1}"], &["{\"a\":1}", ""]] {
        let body = read(&mut chunks(pieces), 100, TIME, &budget(1024)).await.unwrap();
        assert_eq!(body.bytes, text, "{pieces:?}");
    }
    assert!(read(&mut chunks(&[]), 100, TIME, &budget(1024)).await.unwrap().bytes.is_empty());
}

#[tokio::test]
async fn the_size_is_checked_when_announced_and_while_reading() {
    let ten = || Full::new(Bytes::from_static(b"0123456789"));
    assert!(read(&mut ten(), 10, TIME, &budget(1024)).await.is_ok());
    assert_eq!(read(&mut ten(), 9, TIME, &budget(1024)).await.unwrap_err(), BodyError::TooLarge);
    let pieces = || chunks(&["01234", "56789"]);
    assert!(read(&mut pieces(), 10, TIME, &budget(1024)).await.is_ok());
    assert_eq!(read(&mut pieces(), 9, TIME, &budget(1024)).await.unwrap_err(), BodyError::TooLarge);
}

#[tokio::test]
async fn the_budget_is_shared_and_given_back() {
    let budget = budget(3 * UNIT);
    let two = Bytes::from(vec![b' '; UNIT + 1]);
    let body = read(&mut Full::new(two.clone()), 10 * UNIT, TIME, &budget).await.unwrap();
    assert_eq!(budget.held.get(), 2048);
    let refused = read(&mut Full::new(two.clone()), 10 * UNIT, TIME, &budget).await;
    assert_eq!(refused.unwrap_err(), BodyError::OverBudget);
    assert_eq!(budget.held.get(), 2048, "a refused body holds nothing");
    drop(body);
    assert_eq!((budget.held.get(), budget.units.available_permits()), (0, 3));
    assert!(read(&mut Full::new(two), 10 * UNIT, TIME, &budget).await.is_ok());
}

#[tokio::test(start_paused = true)]
async fn a_stalled_body_times_out_and_a_broken_one_says_so() {
    let mut stalled = StreamBody::new(stream::pending::<Result<Frame<Bytes>, Infallible>>());
    assert_eq!(read(&mut stalled, 10, TIME, &budget(1024)).await.unwrap_err(), BodyError::Timeout);
    let mut broken = StreamBody::new(stream::iter([Err::<Frame<Bytes>, _>(io::Error::other("reset"))]));
    assert_eq!(read(&mut broken, 10, TIME, &budget(1024)).await.unwrap_err(), BodyError::Broken);
}
