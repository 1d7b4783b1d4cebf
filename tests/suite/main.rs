//! Tests of whole processes: gateway, workers, nats-server and mongod are real, the ElevenLabs API is
//! simulated.
//!
//! Each test has its own broker, database and processes. Tests share one mongod, except those that kill or
//! freeze it. A test waits for a condition with a time limit (`harness::timeouts`), not for a fixed time.

#![expect(clippy::unwrap_used, reason = "a test that cannot go on fails where it stands")]

mod harness;

mod access;
mod alert_receivers;
mod alerts;
mod authenticity;
mod backlog;
mod backup;
mod batches;
mod call_status;
mod chaos;
mod chart;
mod clocks;
mod cluster;
mod confidentiality;
mod connection_limits;
mod connections;
mod console;
mod conversations;
mod coverage;
mod crash_steps;
mod dashboard;
mod database_errors;
mod dead_letters;
mod deployment;
mod disk_failures;
mod durability;
mod encodings;
mod endpoints;
mod env_file;
mod export;
mod field_input;
mod gateway;
mod inserts;
mod instruction_count;
mod large_bodies;
mod local;
mod lookups;
mod markdown;
mod metrics;
mod openapi;
mod outgoing_events;
mod permissions;
mod placement;
mod poison;
mod power_loss;
mod privacy;
mod providers;
mod reading;
mod recipes;
mod reconciliation;
mod recordings;
mod registration;
mod replay;
mod report;
mod report_by;
mod resource_exhaustion;
mod rolling_restart;
mod secured_servers;
mod simulator;
mod slow_bodies;
mod source_addresses;
mod spool;
mod spool_first;
mod success_lines;
mod timestamps;
mod tls;
mod traces;
mod transcripts;
mod unverified_senders;
mod ways;
mod workspaces;
