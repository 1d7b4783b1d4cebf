//! Which calls an export contains, and how the database finds them.

use futures_util::TryStreamExt as _;
use mongodb::bson::{Document, doc};

use super::{Stored, call, created, errors, read_ndjson};

#[tokio::test]
async fn filters_select_what_their_fields_hold_by_an_index() {
    let stored = Stored::empty("export_filters").await;
    let mut failed: Vec<_> = (0..500).map(call).collect();
    for call in failed.iter_mut().filter(|call| call.get_str("status").unwrap() == "busy") {
        call.insert("failureReason", "Recipient was busy");
    }
    stored.insert(failed).await;
    let database = stored.calls.client().database(stored.database);
    database.run_command(doc! { "profile": 2 }).await.unwrap();
    #[rustfmt::skip]
    let table: [(&[&str], Document); 11] = [
        (&["--status", "busy,no_answer"],            doc! { "status": { "$in": ["busy", "no_answer"] } }),
        (&["--outcome", "voicemail"],                doc! { "outcome": "voicemail" }),
        (&["--agent-id", "agent_1"],                 doc! { "agentId": "agent_1" }),
        (&["--batch-call-id", "btcal_3"],            doc! { "batchCallId": "btcal_3" }),
        (&["--campaign-id", "camp_1"],               doc! { "campaignId": "camp_1" }),
        (&["--to-number", "+12025550042"],           doc! { "toNumber": "+12025550042" }),
        (&["--from-number", "+15005550006"],         doc! { "fromNumber": "+15005550006" }),
        (&["--direction", "inbound"],                doc! { "direction": "inbound" }),
        (&["--failure-reason", "Recipient was busy"], doc! { "failureReason": "Recipient was busy" }),
        (&["--outcome", "busy", "--agent-id", "agent_2"], doc! { "outcome": "busy", "agentId": "agent_2" }),
        (&["--since", "2026-09-21T14:13:20.010Z", "--until", "2026-09-21T14:13:20.030Z"],
         doc! { "createdAt": { "$gte": created(100), "$lt": created(300) } }),
    ];
    for (args, filter) in table {
        let expected = stored.expected(filter).await;
        assert!(!expected.is_empty() && expected.len() < 500 || args[0] == "--from-number", "{args:?}");
        let args = [&["--format", "ndjson", "--show-numbers"], args].concat();
        assert_eq!(read_ndjson(&stored.export(&args).await), expected, "{args:?}");
    }
    let profile = database.collection::<Document>("system.profile");
    let queries = doc! { "op": "query", "command.find": "agent_calls", "command.limit": 2000 };
    let queries: Vec<_> = profile.find(queries).await.unwrap().try_collect().await.unwrap();
    assert!(queries.len() >= 11, "{}", queries.len());
    for query in queries {
        let plan = query.get_str("planSummary").unwrap();
        assert!(plan.starts_with("IXSCAN"), "{plan}");
        let by_batch = plan.contains("batchCallId"); // The calls of one batch are sorted.
        assert!(by_batch || !query.contains_key("hasSortStage"), "{query}");
    }
}

#[tokio::test]
async fn wrong_options_are_refused_with_a_reason() {
    let stored = Stored::empty("export_options").await;
    for (args, status, reason) in [
        (&["--since", "1h", "--until", "2h"][..], 1, "--since must be before --until"),
        (&["--since", "yesterday"], 2, "must be like 2026-11-24T08:00:00Z"),
        (&["--status", "bussy"], 2, "must be one of initiated, ringing"),
        (&["--outcome", "busy,never"], 2, "must be one of answered, voicemail"),
        (&["--direction", "up"], 2, "outbound, inbound"),
        (&["--format", "parquet"], 2, "csv, ndjson"),
        (&["--resume"], 2, "--output"),
        (&["--output", "/nowhere/calls.csv"], 1, "cannot write /nowhere/calls.csv.partial"),
    ] {
        let output = stored.run(args).await;
        let errors = errors(&output);
        assert!(output.status.code() == Some(status) && errors.contains(reason), "{args:?}: {errors}");
    }
    assert_eq!(stored.export(&["--format", "ndjson"]).await, "", "no calls are no lines");
    assert_eq!(stored.export(&[]).await.lines().count(), 1, "no calls are a table with a header");
}
