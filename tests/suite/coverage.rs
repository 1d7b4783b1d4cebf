//! Which tests stand for which fault and which promise.
//!
//! The rows are those of the fault matrix, the invariants those the project has set itself. A test is named by its
//! file (from the root of the workspace, without `.rs`) and its function; a fault of `cargo local chaos`, every one of
//! which `chaos::every_fault_once…` begins in each `cargo test`, by its name. The test below holds all of it
//! against the sources: a name that is gone, a row without a test, a fault without its row fail.

use std::collections::BTreeSet;

use aftercall_local::chaos::Fault;

/// Where the sources are.
const WORKSPACE: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/..");

/// One thing to be covered: its number, what it is, and what covers it. Names in brackets are faults.
type Row = (usize, &'static str, &'static [&'static str]);

#[rustfmt::skip]
const FAULTS: [Row; 28] = [
    (1, "broker killed", &["[broker killed]", "tests/suite/durability a_broker_killed_under_load_loses_no_200", "tests/suite/durability a_broker_that_is_away_is_answered_503_at_once", "tests/suite/durability a_broker_that_is_back_is_asked_again_at_once", "tests/suite/spool webhooks_are_accepted_while_the_broker_is_away_and_arrive_once_each"]),
    (2, "broker frozen", &["[broker frozen]", "[disk slow]", "tests/suite/durability a_broker_that_hangs_is_answered_503_and_its_ghosts_collapse", "tests/suite/spool a_broker_that_hangs_or_is_full_is_as_good_as_away"]),
    (3, "power lost", &["[power cut]", "tests/suite/power a_power_cut_takes_nothing_that_was_answered_200", "tests/suite/power a_broker_that_syncs_now_and_then_loses_what_was_answered_200_and_the_lab_sees_it", "deploy/local/src/disk/tests only_what_a_program_synced_outlives_a_power_cut", "deploy/local/src/disk/model/tests what_is_not_synced_is_lost_and_what_is_synced_stays"]),
    (4, "broker at its store limit", &["tests/suite/disks a_broker_at_its_store_limit_is_answered_503_and_what_it_has_is_processed"]),
    (5, "broker's disk full", &["[disk full]", "tests/suite/disks a_broker_whose_disk_is_full_is_answered_503_until_there_is_room_and_it_was_started_again"]),
    (6, "stream full", &["[stream full]", "tests/suite/durability a_full_stream_refuses_and_evicts_nothing", "tests/suite/spool a_broker_that_hangs_or_is_full_is_as_good_as_away"]),
    (7, "stream or consumer deleted or changed", &["[consumer deleted]", "tests/suite/durability a_stream_and_a_consumer_that_were_deleted_are_made_again", "tests/suite/disks a_consumer_that_lost_its_files_is_made_anew", "tests/suite/gateway a_stream_that_loses_messages_is_refused", "common/src/stream settings_that_lose_messages_are_refused"]),
    (8, "broker's bits rot", &["tests/suite/disks stored_webhooks_that_rot_are_missed_told_of_and_made_up_for", "worker/src/reconcile/losses a_loss_is_what_the_broker_says_or_a_sequence_that_went_back"]),
    (9, "gateway killed", &["[gateway killed]", "tests/suite/durability a_gateway_killed_under_load_loses_no_200", "tests/suite/bodies a_gateway_that_dies_meanwhile_leaves_no_message_without_its_body"]),
    (10, "gateway stopped under load", &["[gateway stopped]", "tests/suite/gateway sigterm_answers_what_was_accepted"]),
    (11, "worker killed at each step", &["[worker killed]", "tests/suite/steps a_worker_killed_at_any_step_of_an_event_leaves_it_to_the_next", "tests/suite/steps a_worker_killed_at_any_step_of_a_burial_buries_once", "tests/suite/durability workers_killed_in_the_middle_of_batches_lose_nothing"]),
    (12, "worker frozen for longer than ack_wait", &["[worker frozen]"]),
    (13, "database killed, frozen, slow", &["[database killed]", "[database frozen]", "[database slow]", "[disk slow]", "tests/suite/durability a_database_killed_under_load_loses_nothing", "tests/suite/durability a_database_that_hangs_loses_nothing"]),
    (14, "database steps down, fails, writes without a word", &["[database mute]", "tests/suite/database_errors no_error_of_the_database_loses_buries_or_repeats_anything", "tests/suite/database_errors a_primary_that_steps_down_again_and_again_loses_nothing"]),
    (15, "network cut, one way, reset, slow", &["[broker cut off]", "[broker mute]", "[broker reset]", "[broker trickles]", "[database mute]"]),
    (16, "clocks wrong and set", &["tests/suite/clocks a_signature_is_judged_with_room_for_wrong_clocks_and_a_clock_may_be_set", "tests/suite/clocks workers_an_hour_ahead_and_behind_make_the_same_of_a_call_and_wait_as_long", "tests/suite/clocks a_clock_that_jumps_back_and_forth_loses_nothing", "tests/suite/times a_time_that_cannot_be_right_neither_dates_a_call_nor_pins_its_status"]),
    (17, "API slow, hanging, garbled, huge", &["[API storm]", "tests/suite/transcripts a_network_that_hiccups_is_asked_again_at_once", "tests/suite/transcripts what_will_not_come_is_given_up_with_a_reason", "tests/suite/lookups elevenlabs_down_answers_what_is_stored_as_stale", "tests/suite/field_input a_conversation_that_cannot_be_used_is_named_and_reconciliation_goes_on"]),
    (18, "API refuses: 429, 5xx, 401, not ready", &["[API storm]", "tests/suite/transcripts asked_too_early_and_too_often_it_still_comes", "tests/suite/transcripts a_refused_key_parks_everything_and_alarms", "worker/src/elevenlabs/answer every_status_has_its_class", "tests/suite/transcripts one_refused_conversation_stops_no_other"]),
    (19, "poison", &["[garbage]", "tests/suite/statuses poison_is_buried_with_its_reason_while_neighbours_go_on", "tests/suite/statuses a_whole_batch_of_unknown_events_is_buried", "tests/suite/statuses hostile_texts_are_stored_as_texts", "tests/suite/poison a_webhook_that_ends_the_worker_again_and_again_becomes_a_dead_letter", "tests/suite/poison outages_with_many_deliveries_make_no_dead_letter", "tests/suite/poison a_webhook_with_too_many_values_is_a_dead_letter_without_being_parsed", "tests/suite/poison bodies_of_32_mebibytes_leave_memory_and_time_to_the_others", "tests/suite/field_input whatever_the_gateway_accepts_is_applied"]),
    (20, "bodies too large, chunked, ambiguous", &["[garbage]", "tests/suite/gateway a_chunked_body_is_cut_off_at_the_limit", "tests/suite/gateway what_is_refused_says_why_and_leaves_no_trace", "tests/suite/crowds a_request_that_can_be_read_in_two_ways_smuggles_nothing_in"]),
    (21, "slow clients", &["[slow clients]", "tests/suite/crowds a_head_that_does_not_end_is_not_waited_for", "tests/suite/crowds one_source_cannot_hold_every_connection", "tests/suite/gateway a_body_that_does_not_come_is_not_waited_for"]),
    (22, "duplicates", &["tests/suite/gateway a_crowd_is_stored_completely_each_once", "tests/suite/statuses duplicates_and_a_replay_of_everything_change_nothing"]),
    (23, "any order", &["tests/suite/statuses all_orders_of_a_calls_events_end_in_the_same_document", "tests/suite/providers a_call_known_by_halves_and_reported_in_any_order_ends_the_same", "worker/src/domain/call/tests order_repetition_and_batching_do_not_matter"]),
    (24, "forged senders", &["tests/suite/sources only_what_trusted_proxies_say_is_believed", "tests/suite/gateway signatures_are_required_once_there_is_a_secret", "tests/suite/origins a_secret_is_replaced_by_a_signal_and_no_request_is_lost", "ingest/src/source_ip/tests headers_from_an_untrusted_peer_change_nothing"]),
    (25, "webhooks that never come", &["tests/suite/reconciliation half_of_the_webhooks_lost_and_yet_every_call_is_right", "tests/suite/reconciliation after_an_outage_of_the_broker_it_runs_by_itself"]),
    (26, "no descriptors, no memory", &["tests/suite/exhaustion a_gateway_without_file_descriptors_waits_idly_and_serves_when_it_has_some", "tests/suite/exhaustion bodies_beyond_what_may_be_held_are_refused_and_memory_suffices"]),
    (27, "rolling upgrade, reload", &["[worker replaced]", "tests/suite/origins a_secret_is_replaced_by_a_signal_and_no_request_is_lost", "tests/suite/tls the_listener_speaks_tls_and_takes_up_a_new_certificate"]),
    (28, "three brokers, three databases", &["tests/suite/cluster leaders_of_the_broker_killed_frozen_and_cut_off_lose_no_200", "tests/suite/cluster without_a_majority_of_brokers_there_is_no_200", "tests/suite/cluster primaries_of_the_database_killed_and_frozen_lose_nothing"]),
];

/// The chaos round and the power cuts check these of every webhook they post.
const CHAOS: &str = "tests/suite/chaos every_fault_once_loses_nothing_and_leaves_nothing_wrong";
const POWER: &str = "tests/suite/power a_power_cut_takes_nothing_that_was_answered_200";

#[rustfmt::skip]
const INVARIANTS: [Row; 19] = [
    (1, "no 2xx is lost", &[CHAOS, POWER, "tests/suite/durability a_broker_killed_under_load_loses_no_200", "tests/suite/cluster leaders_of_the_broker_killed_frozen_and_cut_off_lose_no_200"]),
    (2, "every stored message is applied or buried", &[CHAOS, "tests/suite/steps a_worker_killed_at_any_step_of_a_burial_buries_once", "tests/suite/statuses poison_is_buried_with_its_reason_while_neighbours_go_on"]),
    (3, "2xx only after the durable accept", &[POWER, "tests/suite/cluster without_a_majority_of_brokers_there_is_no_200", "tests/suite/durability a_broker_that_hangs_is_answered_503_and_its_ghosts_collapse"]),
    (4, "order and repetition do not matter", &["worker/src/domain/call/tests order_repetition_and_batching_do_not_matter", "tests/suite/statuses all_orders_of_a_calls_events_end_in_the_same_document"]),
    (5, "a status never moves back", &["worker/src/domain/call/tests status_only_moves_forward_and_the_later_failure_wins", "tests/suite/statuses all_orders_of_a_calls_events_end_in_the_same_document"]),
    (6, "k times is once", &["tests/suite/statuses duplicates_and_a_replay_of_everything_change_nothing", "tests/suite/steps a_worker_killed_at_any_step_of_an_event_leaves_it_to_the_next", "tests/suite/database_errors no_error_of_the_database_loses_buries_or_repeats_anything"]),
    (7, "one document a call", &["tests/suite/statuses halves_of_a_call_become_one_document_and_nothing_is_lost", "tests/suite/statuses a_conversation_of_another_call_is_not_taken_from_it", CHAOS]),
    (8, "bytes are kept as received", &["tests/suite/gateway the_bytes_are_stored_as_they_came_with_what_is_known_of_them", "tests/suite/bodies a_large_body_is_stored_once_and_named_by_its_message"]),
    (9, "acknowledged last", &["tests/suite/steps a_worker_killed_at_any_step_of_an_event_leaves_it_to_the_next", "tests/suite/database_errors no_error_of_the_database_loses_buries_or_repeats_anything"]),
    (10, "the refused leave no trace", &["tests/suite/gateway what_is_refused_says_why_and_leaves_no_trace", "tests/suite/gateway signatures_are_required_once_there_is_a_secret"]),
    (11, "strangers' headers change nothing", &["ingest/src/source_ip/tests headers_from_an_untrusted_peer_change_nothing", "tests/suite/sources only_what_trusted_proxies_say_is_believed"]),
    (12, "memory is bounded", &["tests/suite/exhaustion bodies_beyond_what_may_be_held_are_refused_and_memory_suffices", "tests/suite/gateway bodies_beyond_the_budget_are_turned_away", "tests/suite/gateway an_idle_gateway_and_worker_are_small", "tests/suite/spool the_spool_is_bounded"]),
    (13, "secrets are not told", &["tests/suite/secrecy neither_logs_nor_metrics_nor_refusals_repeat_what_a_sender_wrote", "tests/suite/secured a_broker_that_does_not_take_us_or_is_not_the_right_one_is_told_of_without_a_secret", "tests/suite/secured a_database_that_does_not_take_us_or_is_not_the_right_one_is_told_of_without_a_secret"]),
    (14, "a replay changes nothing", &["tests/suite/replay a_replay_changes_nothing_that_is_right_and_brings_back_what_is_missing", "tests/suite/statuses duplicates_and_a_replay_of_everything_change_nothing"]),
    (15, "the backlog drains, transcripts come", &[CHAOS, "tests/suite/transcripts jobs_outlive_the_worker_and_the_broker", "tests/suite/transcripts a_transcript_without_a_conversation_is_not_waited_for_forever"]),
    (16, "one does not stop the others", &["tests/suite/statuses poison_is_buried_with_its_reason_while_neighbours_go_on", "tests/suite/database_errors no_error_of_the_database_loses_buries_or_repeats_anything"]),
    (17, "SIGTERM finishes what was begun", &["tests/suite/gateway sigterm_answers_what_was_accepted", "tests/suite/durability a_worker_that_is_told_to_stop_hands_back_what_it_cannot_finish"]),
    (18, "the API is not stormed", &["tests/suite/transcripts asked_too_early_and_too_often_it_still_comes", "worker/src/transcripts/decide a_closed_gate_is_waited_for", "tests/suite/clocks workers_an_hour_ahead_and_behind_make_the_same_of_a_call_and_wait_as_long"]),
    (19, "what never came is made up for", &["tests/suite/reconciliation half_of_the_webhooks_lost_and_yet_every_call_is_right", "tests/suite/disks stored_webhooks_that_rot_are_missed_told_of_and_made_up_for"]),
];

/// Whether `file` has the test `name`.
fn is_test(file: &str, name: &str) -> bool {
    let Ok(text) = std::fs::read_to_string(format!("{WORKSPACE}/{file}.rs")) else { return false };
    let lines: Vec<_> = text.lines().map(str::trim).collect();
    let begins = |line: &str| {
        let line = line.strip_prefix("async ").unwrap_or(line);
        line.strip_prefix("fn ").is_some_and(|rest| rest.split('(').next() == Some(name))
    };
    let place = lines.iter().position(|line| begins(line));
    place.is_some_and(|place| {
        let attributes =
            lines[..place].iter().rev().take_while(|line| line.starts_with("#[") || line.starts_with("//"));
        attributes.into_iter().any(|line| matches!(*line, "#[test]" | "#[tokio::test]"))
    })
}

#[test]
fn every_fault_and_every_invariant_has_tests_that_exist() {
    for (what, rows) in [("row", &FAULTS[..]), ("I", &INVARIANTS[..])] {
        for (place, (number, name, covered)) in (1..).zip(rows) {
            assert_eq!(*number, place, "{what} {number} is out of place");
            assert!(!covered.is_empty(), "{what} {number} ({name}) has no test");
            for covers in *covered {
                if let Some(fault) = covers.strip_prefix('[').and_then(|fault| fault.strip_suffix(']')) {
                    let fault = Fault::all().find(|known| known.name() == fault);
                    assert!(
                        fault.is_some_and(|fault| fault
                            .rows()
                            .split(", ")
                            .any(|row| row == number.to_string())),
                        "{what} {number}: {covers} is no fault of this row"
                    );
                } else {
                    let (file, test) = covers.split_once(' ').expect("file and test");
                    assert!(is_test(file, test), "{what} {number}: there is no test {test} in {file}.rs");
                }
            }
        }
    }
}

#[test]
fn every_fault_of_the_lab_stands_in_its_rows() {
    let listed: BTreeSet<_> = FAULTS
        .iter()
        .flat_map(|(number, _, covered)| covered.iter().map(move |name| (*number, *name)))
        .collect();
    for fault in Fault::all() {
        for row in fault.rows().split(", ") {
            let entry = format!("[{}]", fault.name());
            assert!(listed.contains(&(row.parse().unwrap(), entry.as_str())), "{entry} is not in row {row}");
        }
    }
}
