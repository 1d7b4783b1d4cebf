//! Aftercall seen from outside: real gateway and worker processes, a real nats-server, a real mongod,
//! a scripted ElevenLabs API.
//!
//! Every test has a broker, a database name and processes of its own; the mongod is shared, save by
//! tests that kill it. Nothing waits for a fixed time: tests ask until it is so, within a bound.

#![expect(clippy::unwrap_used, reason = "a test that cannot go on fails where it stands")]

mod harness;

mod access;
mod alerts;
mod backlog;
mod backup;
mod bodies;
mod chaos;
mod clocks;
mod cluster;
mod connections;
mod console;
mod conversations;
mod costs;
mod coverage;
mod crowds;
mod dashboard;
mod database_errors;
mod dead_letters;
mod deployment;
mod disks;
mod durability;
mod encodings;
mod exhaustion;
mod field_input;
mod gateway;
mod inserts;
mod instructions;
mod local;
mod lookups;
mod markdown;
mod metrics;
mod origins;
mod permissions;
mod placing;
mod poison;
mod power;
mod privacy;
mod providers;
mod reconciliation;
mod registration;
mod replay;
mod report;
mod rolling;
mod secrecy;
mod secured;
mod simulator;
mod sources;
mod spool;
mod statuses;
mod steps;
mod times;
mod tls;
mod traces;
mod transcripts;
