use std::collections::BTreeSet;

use jiff::Timestamp;
use proptest::prelude::*;
use serde_json::json;

use super::*;
use crate::domain::{
    call::{Field, Placement, Status},
    event::{CallId, Envelope, Origin, PlacementId, Provider, parse},
};

const CONVERSATIONS: [&str; 3] = ["conv_a", "conv_b", "conv_c"];

/// An event of a call with up to three conversations. The event depends only on the number.
fn patch(n: u32) -> CallPatch {
    let conversation = CONVERSATIONS.get(n as usize % 4);
    let stored_at = Timestamp::from_second(1_790_000_000 + i64::from(n * 7 % 60)).unwrap();
    let at = |origin| Envelope::new(format!("{n:04}"), stored_at, origin);
    let words = ["initiated", "ringing", "answered", "completed", "ended", "busy", "no_answer"];
    let patch = match (conversation, n % 5) {
        (Some(conversation), 0) => {
            let body = json!({ "type": "post_call_transcription", "event_timestamp": 1_790_000_000 + n % 40, "data": {
                "conversation_id": conversation, "status": "done", "transcript": [{ "message": conversation }],
                "agent_id": format!("agent of {conversation}"), "analysis": { "n": n },
                "metadata": { "phone_call": { "call_sid": "CA1" }, "start_time_unix_secs": 1_789_990_000 + n },
            } });
            parse(&at(Origin::Webhook(Provider::ElevenLabs)), body.to_string().as_bytes()).unwrap().into()
        }
        (None, 0..3) => {
            let word = ["queued", "ringing", "in-progress", "completed"][n as usize / 5 % 4];
            let body =
                format!("CallSid=CA1&CallStatus={word}&To=%2B6580000001&SequenceNumber={n}&AnsweredBy=human");
            parse(&at(Origin::Webhook(Provider::Twilio)), body.as_bytes()).unwrap().into()
        }
        _ => {
            let mut body = json!({ "event_type": format!("call.{}", words[n as usize % 7]), "n": n });
            if conversation.is_none() || n % 5 == 1 {
                body["call_id"] = "CA1".into();
            }
            if let Some(conversation) = conversation {
                body["conversation_id"] = (*conversation).into();
            }
            if !n.is_multiple_of(3) {
                body["timestamp"] = (1_790_000_000 + n % 40).into();
            }
            parse(&at(Origin::Webhook(Provider::ElevenLabs)), body.to_string().as_bytes()).unwrap().into()
        }
    };
    // One of the conversations was placed through the API, and some of its events name the placement.
    let knows_placement = conversation == Some(&CONVERSATIONS[1]) && n.is_multiple_of(3);
    let placement = Placement { id: PlacementId::new("p1").unwrap(), request: None };
    let mut patch = CallPatch { placement: knows_placement.then_some(placement), ..patch };
    if knows_placement && n.is_multiple_of(2) {
        (patch.call_id, patch.conversation_id) = (None, None);
    }
    patch
}

/// The contents of the documents after all patches.
fn documents(patches: impl IntoIterator<Item = CallPatch>) -> Vec<CallPatch> {
    let mut stored: Vec<CallPatch> = Vec::new();
    for patch in patches {
        let joined = join(stored.clone(), patch);
        assert_eq!(joined.ignored_links, 0);
        let gone: BTreeSet<_> = joined.documents.iter().flat_map(|one| &one.from).copied().collect();
        let mut n = 0;
        stored.retain(|_| (!gone.contains(&n), n += 1).0);
        stored.extend(joined.documents.into_iter().map(|one| one.call));
    }
    stored.sort_by_key(|call| (call.conversation_id.clone(), call.call_id.clone()));
    stored
}

/// The contents of the documents by their definition: see the documentation of the module.
fn expected(patches: &[CallPatch]) -> Vec<CallPatch> {
    let all = |wanted: &dyn Fn(&CallPatch) -> bool| {
        patches.iter().filter(|patch| wanted(patch)).cloned().reduce(CallPatch::join)
    };
    let call_events = all(&|patch| !patch.is_linked());
    let mut documents = Vec::new();
    let placed = |patch: &CallPatch| patch.placement.is_some();
    let place_is_known = patches.iter().any(|patch| placed(patch) && patch.conversation_id.is_some());
    for id in CONVERSATIONS {
        let id = ConversationId::new(id).unwrap();
        let is_own = |patch: &CallPatch| {
            patch.conversation_id.as_ref() == Some(&id)
                || (placed(patch) && place_is_known && id.as_str() == CONVERSATIONS[1])
        };
        let Some(own) = all(&is_own) else { continue };
        if own.conversation_id.is_none() {
            continue;
        }
        let is_of_call = own.call_id.is_some();
        documents.push(
            [Some(own), call_events.clone().filter(|_| is_of_call)]
                .into_iter()
                .flatten()
                .reduce(CallPatch::join),
        );
    }
    let placed_alone = all(&|patch| placed(patch) && patch.conversation_id.is_none());
    documents.push(placed_alone.filter(|_| !place_is_known));
    let is_alone = documents.iter().flatten().all(|document| document.call_id.is_none());
    documents.push(call_events.filter(|_| is_alone));
    let mut documents: Vec<_> = documents.into_iter().flatten().collect();
    documents.sort_by_key(|call| (call.conversation_id.clone(), call.call_id.clone()));
    documents
}

proptest! {
    #[test]
    fn each_conversation_of_a_call_has_its_events_and_those_of_the_call_in_any_order(
        numbers in proptest::collection::vec(0..120_u32, 1..25),
        order in any::<prop::sample::Index>(),
        cut in any::<prop::sample::Index>(),
    ) {
        let patches: Vec<_> = numbers.iter().map(|&n| patch(n)).collect();
        let expected = expected(&patches);
        prop_assert_eq!(&documents(patches.clone()), &expected);

        let mut turned = patches.clone();
        turned.rotate_left(order.index(patches.len()));
        turned.reverse();
        prop_assert_eq!(&documents(turned.iter().chain(&patches).cloned()), &expected, "backwards, then again");

        // Patches that may be joined are joined before they arrive.
        let mut batches: Vec<CallPatch> = Vec::new();
        for patch in turned.into_iter().skip(cut.index(patches.len())) {
            let same = |batch: &&mut CallPatch| {
                batch.call_id == patch.call_id && patch.call_id.is_some() && batch.is_joinable(&patch)
            };
            match batches.iter_mut().find(same) {
                Some(batch) => batch.merge(patch),
                None => batches.push(patch),
            }
        }
        prop_assert_eq!(&documents(batches.into_iter().chain(patches)), &expected, "in batches");
    }
}

#[test]
fn the_smallest_conversation_has_the_call_id_and_each_keeps_its_transcript() {
    for order in [[20, 25, 30, 7], [30, 7, 20, 25], [7, 25, 20, 30]] {
        let mut stored = Vec::new();
        let mut last = None;
        for n in order {
            let joined = join(stored, patch(n));
            stored = joined.documents.iter().map(|one| one.call.clone()).collect();
            last = Some(joined);
        }
        let joined = last.unwrap();
        assert_eq!(joined.documents.len(), 3, "{order:?}");
        for one in joined.documents {
            let id = one.call.conversation_id.clone().unwrap();
            assert_eq!(one.call.fields[&Field::Transcript].value, json!([{ "message": id.as_str() }]));
            assert_eq!((one.is_first, one.is_shared), (id.as_str() == CONVERSATIONS[0], true));
            assert_eq!(one.call.call_id, Some(CallId::new("CA1").unwrap()));
            assert_eq!(one.call.parties.to_number.as_deref(), Some("+6580000001"));
            assert!(one.call.history.iter().any(|entry| entry.names_call_alone && entry.event_id == "0007"));
            assert_eq!(one.call.status.unwrap().status, Status::Completed);
        }
    }
}

#[test]
fn a_further_conversation_is_reported_once() {
    let joined = join(vec![patch(20)], patch(25));
    assert_eq!(joined.added_conversation.as_ref().map(ConversationId::as_str), Some("conv_b"));
    let stored: Vec<_> = joined.documents.into_iter().map(|one| one.call).collect();
    assert_eq!(join(stored, patch(25)).added_conversation, None);
    assert_eq!(join(Vec::new(), patch(25)).added_conversation, None);
}

#[test]
fn what_elevenlabs_says_about_a_conversation_stays_with_it_although_the_call_id_differs() {
    // The answer to a placed call names one id of the call, and the webhook another one.
    let sip = |id: &str| Some(CallId::new(id).unwrap());
    let answer = CallPatch { call_id: sip("sip-1"), fields: std::collections::BTreeMap::new(), ..patch(45) };
    let webhook = CallPatch { call_id: sip("other"), ..patch(45) };
    assert!(answer.placement.is_some() && webhook.fields.contains_key(&Field::Metadata), "{webhook:?}");
    for (first, second) in [(&answer, &webhook), (&webhook, &answer)] {
        let stored = join(Vec::new(), first.clone()).documents.remove(0).call;
        let joined = join(vec![stored], second.clone());
        assert_eq!((joined.ignored_links, joined.documents.len()), (1, 1));
        let call = &joined.documents[0].call;
        assert_eq!((&call.call_id, &call.conversation_id), (&first.call_id, &webhook.conversation_id));
        assert_eq!(call.status.as_ref().map(|claim| claim.status), Some(Status::Completed));
        assert!(call.placement.is_some() && call.fields.contains_key(&Field::Transcript));
    }
}

#[test]
fn an_event_that_links_a_conversation_of_another_call_counts_for_its_own_call_only() {
    let body = json!({ "event_type": "call.busy", "call_id": "CA2", "conversation_id": CONVERSATIONS[0] });
    let at = Envelope::new("other", Timestamp::UNIX_EPOCH, Origin::Webhook(Provider::ElevenLabs));
    let other = parse(&at, body.to_string().as_bytes()).unwrap().into();
    let joined = join(vec![patch(20)], other);
    assert_eq!((joined.ignored_links, joined.documents.len()), (1, 1));
    let call = &joined.documents[0].call;
    assert!(joined.documents[0].from.is_empty() && call.conversation_id.is_none());
    assert!(call.history.iter().all(|entry| entry.names_call_alone));
}

#[test]
fn a_placement_without_a_known_conversation_belongs_to_the_call() {
    let mut placed = patch(7);
    placed.placement = Some(Placement { id: PlacementId::new("p1").unwrap(), request: None });
    placed.call_id = Some(CallId::new("CA1").unwrap());
    for order in [[placed.clone(), patch(20)], [patch(20), placed]] {
        let [first, second] = order;
        let joined = join(vec![first], second);
        assert_eq!(joined.documents.len(), 1);
        assert!(joined.documents[0].call.placement.is_some());
    }
}

/// A sender may give one call id to all its calls. They must not be merged.
#[test]
fn a_call_has_a_bounded_number_of_conversations() {
    let stored_at = Timestamp::from_second(1_790_000_000).unwrap();
    let event = |n: usize| {
        let body = json!({ "event_type": "call.ended", "call_id": "unknown", "conversation_id": format!("conv_{n:02}") });
        let envelope = Envelope::new(format!("e{n}"), stored_at, Origin::Webhook(Provider::ElevenLabs));
        CallPatch::from(parse(&envelope, body.to_string().as_bytes()).unwrap())
    };
    let mut stored = Vec::new();
    for n in 0..MAX_CONVERSATIONS + 4 {
        let joined = join(stored.clone(), event(n));
        assert_eq!(joined.ignored_links, u32::from(n >= MAX_CONVERSATIONS), "conversation {n}");
        let changed = |at: &usize| joined.documents.iter().any(|document| document.from.contains(at));
        let kept = (0..stored.len()).filter(|at| !changed(at)).map(|at| stored[at].clone());
        stored = kept
            .collect::<Vec<_>>()
            .into_iter()
            .chain(joined.documents.iter().map(|d| d.call.clone()))
            .collect();
    }
    assert_eq!(stored.len(), MAX_CONVERSATIONS + 4, "each conversation has its document");
    let linked = stored.iter().filter(|call| call.call_id.is_some()).count();
    assert_eq!(linked, MAX_CONVERSATIONS);
    // A link stays, whatever events come later.
    assert_eq!(join(stored.clone(), event(0)).ignored_links, 0);
}
