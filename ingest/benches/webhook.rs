//! Benchmarks of the pure functions that each webhook passes: `cargo bench --package aftercall-ingest`.

#![expect(clippy::unwrap_used, reason = "a benchmark that cannot continue fails there")]

use std::{hint::black_box, net::IpAddr};

use aftercall_ingest::{
    admission::{
        json,
        provider::{Provider, elevenlabs},
        signature::Signature,
        source_ip,
    },
    config::Policy,
    storage::message,
};
use bytes::Bytes;
use criterion::{Criterion, Throughput, criterion_group, criterion_main};
use hmac::{Hmac, KeyInit as _, Mac as _};
use hyper::{HeaderMap, header::HeaderValue};
use jiff::Timestamp;
use sha2::Sha256;

const PATH: &str = "/api/webhooks/elevenlabs/call-status";
const SECRET: &str = "wsec_bench";

fn body(bytes: usize) -> Bytes {
    let head = r#"{"event_type":"call.ringing","call_id":"bench","status":"ringing","note":""#;
    format!("{head}{}\"}}", "x".repeat(bytes.saturating_sub(head.len() + 2))).into()
}

fn policy() -> Policy {
    let vars = [
        ("TRUSTED_PROXIES", "10.0.0.0/8"),
        ("ALLOWED_SOURCES", "elevenlabs,198.51.100.0/24"),
        ("ELEVENLABS_WEBHOOK_SECRET", SECRET),
    ];
    Policy::from_vars(vars.map(|(name, value)| (name.to_owned(), value.to_owned()))).unwrap()
}

/// Functions whose cost grows with the size of the body.
fn per_byte(bench: &mut Criterion) {
    let policy = policy();
    for (name, bytes) in [("300 B", 300), ("20 kB", 20_000)] {
        let mut group = bench.benchmark_group(name);
        let pieces = [body(bytes)];
        group.throughput(Throughput::Bytes(bytes as u64));
        group.bench_function("JSON check", |bench| bench.iter(|| json::check_pieces(black_box(&pieces))));
        group.bench_function("id", |bench| bench.iter(|| message::webhook_id(PATH, black_box(&pieces))));
        let now = 1_790_000_000;
        let mut mac = Hmac::<Sha256>::new_from_slice(SECRET.as_bytes()).unwrap();
        mac.update(format!("{now}.").as_bytes());
        mac.update(&pieces[0]);
        let header = format!("t={now},v0={}", hex::encode(mac.finalize().into_bytes()));
        let verify = || {
            let secrets = policy.secrets_of(Provider::ElevenLabs);
            elevenlabs::verify(std::iter::once(header.as_bytes()), &pieces, secrets, policy.tolerance(), now)
        };
        assert_eq!(verify(), Ok(Signature::Verified));
        group.bench_function("signature", |bench| bench.iter(|| black_box(verify())));
        group.finish();
    }
}

/// Functions that cost the same for every webhook.
fn per_webhook(bench: &mut Criterion) {
    let policy = policy();
    let proxy: IpAddr = "10.0.0.7".parse().unwrap();
    let mut forwarded = HeaderMap::new();
    forwarded.insert("x-forwarded-for", HeaderValue::from_static("203.0.113.9, 198.51.100.7"));
    let source = || {
        let sender = source_ip::sender(proxy, &forwarded, &policy.trusted_proxies);
        sender.is_ok_and(|sender| sender.is_in(&policy.allowed_sources))
    };
    assert!(source());
    bench.bench_function("source policy behind a proxy", |bench| bench.iter(|| black_box(source())));

    let (id, request) = (message::webhook_id(PATH, &[body(300)]), HeaderMap::new());
    let headers = || message::headers(id, &request, proxy, Signature::Verified, Timestamp::UNIX_EPOCH);
    bench.bench_function("headers of a message", |bench| bench.iter(|| black_box(headers())));
}

criterion_group!(benches, per_byte, per_webhook);
criterion_main!(benches);
