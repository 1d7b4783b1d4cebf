use std::collections::{BTreeMap, BTreeSet};

use super::*;

fn campaign(day: &str, until: &str) -> Campaign {
    Campaign { day: day.parse().unwrap(), until: until.parse().unwrap() }
}

fn today() -> Campaign {
    campaign("2026-11-29", "2026-11-29T14:11:00Z")
}

#[test]
fn every_agent_has_calls_of_every_kind_of_conversation() {
    let calls = today().calls();
    let titles = |agent: &str| {
        let of_agent = calls.iter().filter(|call| call.agent == agent);
        let titles = of_agent.filter_map(|call| call.conversation["analysis"]["call_summary_title"].as_str());
        titles.collect::<BTreeSet<_>>()
    };
    for (agent, conversations) in
        [("agent_reminders", 4), ("agent_renewals", 3), ("agent_delivery", 2), ("agent_frontdesk", 3)]
    {
        let titles: Vec<_> =
            titles(agent).into_iter().filter(|title| !["Voicemail", "Broken off"].contains(title)).collect();
        assert_eq!(titles.len(), conversations, "{agent}: {titles:?}");
    }
}

#[test]
fn endings_have_their_shares() {
    let mut counts = BTreeMap::<_, usize>::new();
    let calls = today().calls();
    for call in calls.iter().filter(|call| call.agent == "agent_reminders") {
        *counts.entry(format!("{:?}", call.ending)).or_default() += 1;
    }
    let all: usize = counts.values().sum();
    let near = |ending: &str, percent: usize| (counts[ending] * 100 / all).abs_diff(percent) <= 4;
    assert!(near("Answered", 60) && near("Voicemail", 15) && near("NoAnswer", 12), "{counts:?}");
    let all: BTreeSet<_> = calls.iter().map(|call| format!("{:?}", call.ending)).collect();
    assert_eq!(all.len(), 7, "{all:?}");
}

#[test]
fn the_same_campaign_has_the_same_calls_and_another_day_has_other_ids() {
    assert_eq!(format!("{:?}", today().calls()), format!("{:?}", today().calls()));
    let ids = |campaign: Campaign| -> BTreeSet<String> {
        campaign.calls().iter().map(|call| call.conversation["conversation_id"].to_string()).collect()
    };
    let other = campaign("2026-11-28", "2026-11-29T14:11:00Z");
    assert_eq!(ids(today()).len(), today().calls().len());
    assert!(ids(today()).is_disjoint(&ids(other)));
    let later = campaign("2026-11-29", "2026-11-29T20:00:00Z");
    assert_eq!(ids(today()), ids(later), "the day decides, not the time");
}

#[test]
fn only_a_call_that_was_answered_has_a_transcript() {
    for call in today().calls() {
        let turns = call.conversation["transcript"].as_array().unwrap().len();
        assert_eq!(turns > 0, call.ending.connects(), "{:?}", call.ending);
        let kinds: Vec<_> = call.webhooks.iter().map(|(kind, _)| *kind).collect();
        assert_eq!(kinds.contains(&"transcript"), call.ending.connects(), "{kinds:?}");
        assert_eq!(kinds.contains(&"call_initiation_failure"), !call.ending.connects(), "{kinds:?}");
    }
}

#[test]
fn numbers_are_reserved_for_fiction_and_texts_have_no_placeholder() {
    for call in today().calls() {
        let text = format!("{} {:?} {:?}", call.conversation, call.webhooks, call.callbacks);
        assert!(!text.contains("+1500") && !text.to_lowercase().contains("simulated"), "{text}");
        for number in
            [&call.number, call.conversation["metadata"]["phone_call"]["agent_number"].as_str().unwrap()]
        {
            let digits = number.strip_prefix("+1").unwrap();
            assert!(digits.len() == 10 && digits[3..].starts_with("55501"), "{number}");
        }
        for name in
            ["{first}", "{last}", "{day}", "{time}", "{other_day}", "{other_time}", "{reference}", "{plan}"]
        {
            assert!(!text.contains(name), "{name} in {text}");
        }
    }
}

#[test]
fn every_call_is_over_before_the_end_of_the_campaign_and_the_calls_take_hours() {
    let until = today().until.as_second();
    let begins = today().calls().into_iter().map(|call| {
        let metadata = &call.conversation["metadata"];
        let began = metadata["start_time_unix_secs"].as_i64().unwrap();
        let ended = began + metadata["call_duration_secs"].as_i64().unwrap_or(0);
        assert!(ended + talk::ANALYSIS < until, "{metadata}");
        assert!(metadata["accepted_time_unix_secs"].as_i64().is_none_or(|at| at <= ended), "{metadata}");
        let listed = ["start_time_unix_secs", "call_duration_secs"].map(|field| call.summary[field].as_i64());
        assert_eq!(listed, [Some(began), Some(ended - began)], "{metadata}");
        began
    });
    let earliest = begins.min().unwrap();
    assert!((4..8).contains(&((until - earliest) / 3600)), "{} seconds", until - earliest);
}

#[test]
fn a_batch_lists_every_call_with_its_id() {
    let calls = today().calls();
    let batches = batches(&today(), &calls);
    let ids: Vec<_> = batches.iter().map(|(id, _)| id.as_str()).collect();
    assert_eq!(ids, ["btcal_reminders_20261129", "btcal_renewals_20261129"]);
    for (id, batch) in &batches {
        let members = calls.iter().filter(|call| call.batch.as_ref() == Some(id)).count();
        assert_eq!(batch["recipients"].as_array().unwrap().len(), members);
        assert!(members > 25 && batch["status"] == "completed", "{batch}");
    }
}
