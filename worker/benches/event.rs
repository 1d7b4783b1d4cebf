//! Benchmarks of the worker without I/O: parsing a webhook, building the document of a call, and joining the patches of a
//! call. Run them with `cargo bench --package aftercall-worker`.

#![expect(clippy::unwrap_used, reason = "a benchmark that cannot go on should fail at once")]

use std::hint::black_box;

use aftercall_worker::{
    domain::{
        call::CallPatch,
        event::{self, Envelope, Origin, Provider},
    },
    store,
};
use criterion::{BatchSize, Criterion, Throughput, criterion_group, criterion_main};
use jiff::Timestamp;
use serde_json::json;

fn envelope(id: &str) -> Envelope {
    let (stored_at, signature) = (Timestamp::UNIX_EPOCH, Some("verified".to_owned()));
    Envelope { signature, ..Envelope::new(id, stored_at, Origin::Webhook(Provider::ElevenLabs)) }
}

fn status_event(status: &str) -> String {
    json!({
        "event_type": format!("call.{status}"), "call_id": "bench", "conversation_id": "conv_bench",
        "status": status, "to_number": "+12025550123", "note": "x".repeat(100),
    })
    .to_string()
}

/// A webhook with a transcript of this number of turns.
fn transcription(turns: usize) -> String {
    let turn = |n: usize| json!({ "role": "agent", "message": "x".repeat(150), "time_in_call_secs": n });
    json!({ "type": "post_call_transcription", "event_timestamp": 1_790_000_009, "data": {
        "conversation_id": "conv_bench", "status": "done",
        "transcript": (0..turns).map(turn).collect::<Vec<_>>(),
        "metadata": { "phone_call": { "call_sid": "bench" } },
    } })
    .to_string()
}

fn patch(id: &str, body: &str) -> CallPatch {
    event::parse(&envelope(id), body.as_bytes()).unwrap().into()
}

fn benches(bench: &mut Criterion) {
    for (name, body) in [("status event", status_event("ringing")), ("transcription", transcription(100))] {
        let mut group = bench.benchmark_group(name);
        group.throughput(Throughput::Bytes(body.len() as u64));
        let envelope = envelope("e");
        group.bench_function("parse", |bench| {
            bench.iter(|| event::parse(&envelope, black_box(body.as_bytes())));
        });
        let patch = patch("e", &body);
        group.bench_function("document", |bench| {
            bench.iter(|| store::new_document(black_box(&patch), Timestamp::UNIX_EPOCH).unwrap());
        });
        group.finish();
    }
    let statuses = ["initiated", "ringing", "answered", "completed", "ended"];
    let patches: Vec<_> = statuses.iter().map(|status| patch(status, &status_event(status))).collect();
    bench.bench_function("join of five status events of a call", |bench| {
        let join = |patches: Vec<CallPatch>| patches.into_iter().reduce(CallPatch::join);
        bench.iter_batched(|| patches.clone(), join, BatchSize::SmallInput);
    });
}

criterion_group!(pure, benches);
criterion_main!(pure);
