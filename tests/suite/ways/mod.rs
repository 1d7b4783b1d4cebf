//! The same conversation gives the same document, whichever way it comes.
//!
//! Each generated conversation is stored several times, under different ids: once for each way alone, and a few
//! times by random mixtures of ways in random orders, with repetitions. A webhook that says less than the
//! conversation (a callback of Twilio, a call that was not connected, an answering machine detection) is
//! evidence: it is the same for all mixtures of one conversation.

mod case;
mod compare;
mod lost;

use std::{collections::BTreeMap, time::Duration};

use aftercall_local::simulator::{Answer, Options};
use futures_util::{StreamExt as _, stream};
use mongodb::bson::doc;
use serde_json::json;

use self::{
    case::{Action, Case, Way},
    compare::{differences, documents},
};
use crate::harness::{TestStack, until_equal};

/// Number of conversations. `AFTERCALL_TEST_CONVERSATIONS` sets another number.
const CONVERSATIONS: u32 = 150;
/// Requests at a time.
const PARALLEL: usize = 16;
/// Differences that a failure shows.
const SHOWN: usize = 12;

/// The number of conversations, or another number that the environment sets.
pub fn conversations(default: u32) -> u32 {
    let set = std::env::var_os("AFTERCALL_TEST_CONVERSATIONS");
    let number = |set: std::ffi::OsString| set.to_str().and_then(|number| number.parse().ok());
    set.map_or(default, |set| number(set).expect("AFTERCALL_TEST_CONVERSATIONS is a number"))
}

/// Runs the command `reconcile` for so many `conversations`. It requests at most a hundred of them a second.
async fn reconcile(stack: &TestStack, conversations: usize) -> (Option<i32>, String, String) {
    let requests = Duration::from_secs(conversations as u64 / 50);
    stack.long_command(&["reconcile", "--json", "--since", "6h"], &[], requests).await
}

/// Performs `actions`, several at a time.
async fn perform(stack: &TestStack, actions: &[Action]) {
    let performed = stream::iter(actions).map(async |action| match action {
        Action::Webhook(body) => drop(stack.webhook(body).await),
        Action::Callback(form) => drop(stack.twilio(form).await),
        Action::Lookup(conversation) => {
            let answer = stack.lookup(json!({ "conversation_id": conversation })).await;
            assert_eq!(answer.status, 200, "{}", answer.body);
        }
    });
    performed.buffer_unordered(PARALLEL).collect::<Vec<()>>().await;
}

#[tokio::test]
async fn the_same_conversation_gives_the_same_document_whichever_way_it_comes() {
    let stack = TestStack::builder()
        .simulator(Options::default())
        .worker_env("ROLES", "status,transcripts,api")
        .worker_env("STATUS_STALE_AFTER", "0s")
        .worker_env("RECONCILE_RATE", "100")
        .start()
        .await;
    stack.simulator.script_default([Answer::NotFound]);
    let now = jiff::Timestamp::now();
    let mut cases: Vec<_> = (0..conversations(CONVERSATIONS)).flat_map(|n| Case::draw_all(n, now)).collect();

    // Some conversations are looked up while ElevenLabs makes their transcripts.
    let mut early = Vec::new();
    for case in &cases {
        for (generated, body) in case.in_processing() {
            stack.simulator.serve(body, None);
            early.push(Action::Lookup(generated.ids.conversation.clone()));
        }
    }
    perform(&stack, &early).await;
    let (mut before, mut after) = (Vec::new(), Vec::new());
    for case in &mut cases {
        case.serve(&stack.simulator);
        case.split(&mut before, &mut after);
    }
    perform(&stack, &before).await;
    stack.all_acknowledged().await;
    let listed = cases.iter().map(|case| case.generated.len()).sum();
    let (code, _, stderr) = reconcile(&stack, listed).await;
    assert_eq!(code, Some(0), "{stderr}");
    perform(&stack, &after).await;
    stack.all_acknowledged().await;
    let lacking = format!("^conv_gen{:x}n", case::EVIDENCE_ALONE);
    let is_known = doc! { "$exists": true, "$not": { "$regex": lacking } };
    let pending = doc! { "transcriptState": "owed", "conversationId": is_known };
    until_equal("pending transcripts", 0, async || stack.count(pending.clone()).await).await;

    let documents = documents(&stack.calls).await;
    let mut kinds: BTreeMap<String, (usize, String)> = BTreeMap::new();
    for (kind, example) in differences(&cases, &documents) {
        kinds.entry(kind).or_insert((0, example)).0 += 1;
    }
    let shown: Vec<_> = kinds.iter().take(SHOWN).map(|(kind, found)| format!("{kind}: {found:?}")).collect();
    assert!(kinds.is_empty(), "{} kinds of differences:\n{}", kinds.len(), shown.join("\n"));
    let stored = stack.count(doc! {}).await;
    let wanted =
        cases.iter().filter(|case| case.is_complete()).map(|case| case.generated.len()).sum::<usize>();
    assert!(stored >= wanted as u64, "{stored} of {wanted}");
    assert_eq!(stack.stored(aftercall_common::contract::streams::DEAD_LETTERS).await, 0);
    for way in Way::ALL {
        assert!(cases.iter().any(|case| case.ways.contains(&way)), "{way:?}");
    }
}
