//! The tests that cover each fault of the fault matrix and each invariant of the project.
//!
//! An entry names a test by its file (from the root of the workspace, without `.rs`) and its function. An
//! entry in brackets names a fault of `cargo lab chaos`; the test in `chaos.rs` causes each of them. The
//! tests below compare the entries with the sources. They fail if a test does not exist, if a row has no
//! test, or if a fault is missing in its row.

use std::collections::BTreeSet;

use aftercall_lab::chaos::Fault;

/// The root of the workspace.
const WORKSPACE: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/..");

/// A fault or an invariant: its number, its description, and the tests that cover it.
type Row = (usize, &'static str, &'static [&'static str]);

#[rustfmt::skip]
const FAULTS: [Row; 28] = [
    (1, "broker killed", &["[broker killed]", "tests/suite/durability broker_killed_under_load_loses_no_accepted_webhook", "tests/suite/durability unavailable_broker_leads_to_503_at_once", "tests/suite/durability worker_pulls_again_as_soon_as_the_broker_is_back", "tests/suite/spool webhooks_accepted_during_an_outage_of_the_broker_arrive_once", "tests/suite/spool_first large_bodies_and_a_broker_that_is_away_are_no_obstacle"]),
    (2, "broker frozen", &["[broker frozen]", "[disk slow]", "tests/suite/durability broker_that_hangs_leads_to_503_and_late_publishes_are_duplicates", "tests/suite/spool webhooks_are_spooled_while_the_broker_hangs_or_is_full"]),
    (3, "power lost", &["[power cut]", "tests/suite/power_loss power_cut_keeps_every_accepted_webhook", "tests/suite/power_loss power_cut_keeps_every_webhook_that_the_spool_took_first", "tests/suite/power_loss lab_detects_webhooks_lost_by_a_broker_that_syncs_rarely", "tests/lab/src/disk/tests power_cut_keeps_only_synced_data", "tests/lab/src/disk/model/tests power_cut_removes_unsynced_bytes_and_keeps_synced_ones"]),
    (4, "broker at its store limit", &["tests/suite/disk_failures broker_at_its_store_limit_leads_to_503_and_stored_webhooks_are_applied"]),
    (5, "broker's disk full", &["[disk full]", "tests/suite/disk_failures broker_with_a_full_disk_leads_to_503_until_it_restarts_with_free_space"]),
    (6, "stream full", &["[stream full]", "tests/suite/durability full_stream_refuses_webhooks_and_evicts_none", "tests/suite/spool webhooks_are_spooled_while_the_broker_hangs_or_is_full"]),
    (7, "stream or consumer deleted or changed", &["[consumer deleted]", "tests/suite/durability deleted_stream_and_consumer_are_created_again", "tests/suite/disk_failures consumer_without_its_files_is_created_again", "tests/suite/gateway stream_that_evicts_messages_stops_the_start", "common/src/contract/ensure settings_that_lose_messages_are_refused"]),
    (8, "broker's stored data is corrupted", &["tests/suite/disk_failures corrupted_webhooks_are_detected_reported_and_reconciled", "worker/src/roles/reconcile/losses a_loss_is_what_the_broker_says_or_a_sequence_that_went_back"]),
    (9, "gateway killed", &["[gateway killed]", "tests/suite/durability gateway_killed_under_load_loses_no_accepted_webhook", "tests/suite/spool_first webhooks_of_a_killed_gateway_are_published_by_the_next_one", "tests/suite/large_bodies gateway_killed_during_an_upload_leaves_no_message_without_its_body"]),
    (10, "gateway stopped under load", &["[gateway stopped]", "tests/suite/gateway sigterm_finishes_open_requests", "tests/suite/spool_first a_stopping_gateway_publishes_what_its_spool_holds"]),
    (11, "worker killed at each step", &["[worker killed]", "tests/suite/crash_steps worker_killed_at_any_step_of_an_event_applies_it_once", "tests/suite/crash_steps worker_killed_at_any_step_of_a_dead_letter_stores_it_once", "tests/suite/durability workers_killed_during_batches_lose_nothing"]),
    (12, "worker frozen for longer than ack_wait", &["[worker frozen]"]),
    (13, "database killed, frozen, slow", &["[database killed]", "[database frozen]", "[database slow]", "[disk slow]", "tests/suite/durability database_killed_under_load_loses_nothing", "tests/suite/durability database_that_hangs_loses_nothing"]),
    (14, "database steps down, fails, writes without an answer", &["[database mute]", "tests/suite/database_errors database_errors_neither_lose_nor_repeat_events_nor_make_dead_letters", "tests/suite/database_errors primary_that_steps_down_repeatedly_loses_nothing"]),
    (15, "network cut, one way, reset, slow", &["[broker cut off]", "[broker mute]", "[broker reset]", "[broker trickles]", "[database mute]"]),
    (16, "clocks wrong and changed", &["tests/suite/clocks signature_check_tolerates_wrong_clocks_within_its_limits", "tests/suite/clocks workers_with_clocks_an_hour_off_give_the_same_result_and_wait_as_long", "tests/suite/clocks clock_that_jumps_back_and_forth_loses_nothing", "tests/suite/timestamps implausible_time_of_an_event_is_ignored"]),
    (17, "API slow, hanging, garbled, huge", &["[API storm]", "tests/suite/transcripts broken_connection_is_retried_at_once", "tests/suite/transcripts unavailable_transcript_is_given_up_with_a_reason", "tests/suite/lookups stored_call_is_answered_as_stale_if_elevenlabs_is_down", "tests/suite/field_input unusable_conversation_is_reported_and_reconciliation_continues"]),
    (18, "API refuses: 429, 5xx, 401, not ready", &["[API storm]", "tests/suite/transcripts transcript_is_fetched_after_not_found_and_rate_limits", "tests/suite/transcripts refused_key_pauses_all_requests_and_is_logged", "worker/src/elevenlabs/error each_status_has_its_error", "tests/suite/transcripts one_refused_conversation_stops_no_other"]),
    (19, "poison", &["[garbage]", "tests/suite/call_status invalid_webhooks_become_dead_letters_and_others_are_applied", "tests/suite/call_status batch_of_unknown_events_becomes_dead_letters", "tests/suite/call_status database_operators_in_payloads_are_stored_as_text", "tests/suite/poison webhook_that_repeatedly_kills_the_worker_becomes_a_dead_letter", "tests/suite/poison outages_with_many_deliveries_make_no_dead_letter", "tests/suite/poison webhook_with_too_many_values_becomes_a_dead_letter_unparsed", "tests/suite/poison bodies_of_32_mebibytes_neither_exhaust_memory_nor_delay_others", "tests/suite/field_input every_accepted_conversation_is_applied"]),
    (20, "bodies too large, chunked, ambiguous", &["[garbage]", "tests/suite/gateway chunked_body_above_the_limit_is_answered_413", "tests/suite/gateway refused_requests_name_the_reason_and_store_nothing", "tests/suite/connection_limits ambiguous_requests_are_refused_and_hide_no_second_request"]),
    (21, "slow clients", &["[slow clients]", "tests/suite/connection_limits unfinished_request_heads_are_closed_after_the_timeout", "tests/suite/connection_limits one_source_cannot_hold_every_connection", "tests/suite/gateway body_that_does_not_arrive_is_answered_408"]),
    (22, "duplicates", &["tests/suite/gateway concurrent_duplicates_are_stored_once_each", "tests/suite/call_status duplicates_and_redelivery_change_nothing"]),
    (23, "any order", &["tests/suite/call_status all_orders_of_events_give_the_same_document", "tests/suite/providers failure_report_joins_the_documents_of_call_and_conversation", "worker/src/domain/call/tests order_repetition_and_batching_do_not_matter"]),
    (24, "forged senders", &["tests/suite/source_addresses forwarded_addresses_count_only_from_trusted_proxies", "tests/suite/gateway signatures_are_required_if_a_secret_is_set", "tests/suite/authenticity secret_is_replaced_by_a_signal_without_a_lost_request", "ingest/src/admission/source_ip/tests headers_from_an_untrusted_peer_change_nothing"]),
    (25, "webhooks that never arrive", &["tests/suite/reconciliation reconciliation_completes_calls_whose_webhooks_were_lost", "tests/suite/reconciliation reconciliation_runs_after_an_outage_of_the_broker"]),
    (26, "no descriptors, no memory", &["tests/suite/resource_exhaustion gateway_without_file_descriptors_idles_and_recovers", "tests/suite/resource_exhaustion bodies_beyond_the_memory_budget_are_refused"]),
    (27, "rolling upgrade, reload", &["[worker replaced]", "tests/suite/authenticity secret_is_replaced_by_a_signal_without_a_lost_request", "tests/suite/tls listener_speaks_tls_and_reloads_its_certificate"]),
    (28, "three brokers, three databases", &["tests/suite/cluster no_accepted_webhook_is_lost_when_broker_leaders_are_killed_frozen_or_cut_off", "tests/suite/cluster without_a_majority_of_brokers_no_webhook_is_accepted", "tests/suite/cluster nothing_is_lost_when_database_primaries_are_killed_or_frozen"]),
];

/// These two tests check several invariants for every webhook that they post.
const CHAOS: &str = "tests/suite/chaos every_fault_once_loses_nothing_and_leaves_every_call_right";
const POWER: &str = "tests/suite/power_loss power_cut_keeps_every_accepted_webhook";

#[rustfmt::skip]
const INVARIANTS: [Row; 19] = [
    (1, "no 2xx is lost", &[CHAOS, POWER, "tests/suite/durability broker_killed_under_load_loses_no_accepted_webhook", "tests/suite/cluster no_accepted_webhook_is_lost_when_broker_leaders_are_killed_frozen_or_cut_off"]),
    (2, "every stored message is applied or becomes a dead letter", &[CHAOS, "tests/suite/crash_steps worker_killed_at_any_step_of_a_dead_letter_stores_it_once", "tests/suite/call_status invalid_webhooks_become_dead_letters_and_others_are_applied"]),
    (3, "2xx only after the webhook is stored durably", &[POWER, "tests/suite/cluster without_a_majority_of_brokers_no_webhook_is_accepted", "tests/suite/durability broker_that_hangs_leads_to_503_and_late_publishes_are_duplicates"]),
    (4, "order and repetition do not matter", &["worker/src/domain/call/tests order_repetition_and_batching_do_not_matter", "tests/suite/call_status all_orders_of_events_give_the_same_document"]),
    (5, "a status never moves back", &["worker/src/domain/call/tests status_only_moves_forward_and_the_later_failure_wins", "tests/suite/call_status all_orders_of_events_give_the_same_document"]),
    (6, "an event that is delivered several times counts once", &["tests/suite/call_status duplicates_and_redelivery_change_nothing", "tests/suite/crash_steps worker_killed_at_any_step_of_an_event_applies_it_once", "tests/suite/database_errors database_errors_neither_lose_nor_repeat_events_nor_make_dead_letters"]),
    (7, "one document for a call", &["tests/suite/call_status documents_of_call_and_conversation_are_merged_without_loss", "tests/suite/call_status conversation_stays_with_its_first_call", CHAOS]),
    (8, "bytes are kept as received", &["tests/suite/gateway body_is_stored_unchanged_with_its_metadata", "tests/suite/large_bodies large_body_is_stored_once_and_its_message_names_the_object"]),
    (9, "acknowledged last", &["tests/suite/crash_steps worker_killed_at_any_step_of_an_event_applies_it_once", "tests/suite/database_errors database_errors_neither_lose_nor_repeat_events_nor_make_dead_letters"]),
    (10, "refused requests store nothing", &["tests/suite/gateway refused_requests_name_the_reason_and_store_nothing", "tests/suite/gateway signatures_are_required_if_a_secret_is_set"]),
    (11, "headers of untrusted peers change nothing", &["ingest/src/admission/source_ip/tests headers_from_an_untrusted_peer_change_nothing", "tests/suite/source_addresses forwarded_addresses_count_only_from_trusted_proxies"]),
    (12, "memory is bounded", &["tests/suite/resource_exhaustion bodies_beyond_the_memory_budget_are_refused", "tests/suite/gateway bodies_beyond_the_budget_are_answered_503", "tests/suite/gateway idle_gateway_and_worker_need_little_memory", "tests/suite/spool full_spool_refuses_webhooks"]),
    (13, "secrets are not shown", &["tests/suite/confidentiality logs_metrics_and_refusals_repeat_nothing_of_a_request", "tests/suite/secured_servers failed_broker_connections_are_reported_without_secrets", "tests/suite/secured_servers failed_database_connections_are_reported_without_secrets"]),
    (14, "a replay changes nothing", &["tests/suite/replay replay_restores_missing_calls_and_changes_no_others", "tests/suite/call_status duplicates_and_redelivery_change_nothing"]),
    (15, "the backlog drains, transcripts are fetched", &[CHAOS, "tests/suite/transcripts jobs_survive_a_restart_of_worker_and_broker", "tests/suite/transcripts transcript_without_a_conversation_is_given_up"]),
    (16, "a failing message does not stop others", &["tests/suite/call_status invalid_webhooks_become_dead_letters_and_others_are_applied", "tests/suite/database_errors database_errors_neither_lose_nor_repeat_events_nor_make_dead_letters"]),
    (17, "SIGTERM finishes open work", &["tests/suite/gateway sigterm_finishes_open_requests", "tests/suite/durability stopping_worker_returns_unfinished_messages_to_the_broker"]),
    (18, "requests to the API are limited", &["tests/suite/transcripts transcript_is_fetched_after_not_found_and_rate_limits", "worker/src/roles/transcripts/policy a_closed_gate_is_waited_for", "tests/suite/clocks workers_with_clocks_an_hour_off_give_the_same_result_and_wait_as_long"]),
    (19, "lost webhooks are reconciled", &["tests/suite/reconciliation reconciliation_completes_calls_whose_webhooks_were_lost", "tests/suite/disk_failures corrupted_webhooks_are_detected_reported_and_reconciled"]),
];

/// Whether `file` contains the test `name`.
fn is_test(file: &str, name: &str) -> bool {
    let Ok(text) = std::fs::read_to_string(format!("{WORKSPACE}/{file}.rs")) else { return false };
    let lines: Vec<_> = text.lines().map(str::trim).collect();
    let is_function = |line: &str| {
        let line = line.strip_prefix("async ").unwrap_or(line);
        line.strip_prefix("fn ").is_some_and(|rest| rest.split('(').next() == Some(name))
    };
    let function = lines.iter().position(|line| is_function(line));
    function.is_some_and(|function| {
        let attributes = lines[..function]
            .iter()
            .rev()
            .take_while(|line| line.starts_with("#[") || line.starts_with("//"));
        attributes.into_iter().any(|line| matches!(*line, "#[test]" | "#[tokio::test]"))
    })
}

#[test]
fn every_fault_and_every_invariant_names_tests_that_exist() {
    for (what, rows) in [("fault", &FAULTS[..]), ("invariant", &INVARIANTS[..])] {
        for (position, (number, name, covered)) in (1..).zip(rows) {
            assert_eq!(*number, position, "{what} {number} is not in order");
            assert!(!covered.is_empty(), "{what} {number} ({name}) has no test");
            for covers in *covered {
                if let Some(fault) = covers.strip_prefix('[').and_then(|fault| fault.strip_suffix(']')) {
                    let fault = Fault::all().find(|known| known.name() == fault);
                    assert!(
                        fault.is_some_and(|fault| fault
                            .rows()
                            .split(", ")
                            .any(|row| row == number.to_string())),
                        "{what} {number}: {covers} is not a fault of this row"
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
fn every_fault_of_the_lab_is_listed_in_its_rows() {
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
