//! Power loss: what was not synced is gone, on the disk of broker, database and spool, and everything starts
//! anew. The long form is `cargo lab chaos --power-cuts 50`.
//!
//! Needs FUSE; says so and passes where there is none.

use std::time::Duration;

use aftercall_lab::{
    chaos::{self, Plan, Report, Round},
    disk::{Disk, Durability},
};

use crate::harness::launcher;

/// Webhooks a second: so many that each gateway learns between two cuts what a sync costs, and makes batches.
const RATE: f64 = 800.0;

/// The verdict on so many power cuts; None where a disk cannot lose anything.
async fn cut(seed: u64, cuts: usize, sync_always: bool) -> Option<Report> {
    if let Err(why) = Disk::mount(Durability::Journaled) {
        eprintln!("skipped: no power can be cut: {why:#}");
        return None;
    }
    let folder = tempfile::tempdir().unwrap();
    let plan = Plan::PowerCuts(cuts);
    let round = Round { seed, rate: RATE, plan, sync_always, folder: folder.path().to_owned() };
    Some(chaos::quietly(launcher(), &round).await.unwrap())
}

#[tokio::test]
async fn a_power_cut_takes_nothing_that_was_answered_200() {
    let Some(verdict) = cut(5, 2, true).await else { return };
    assert!(verdict.is_good(Duration::from_mins(1)), "{}", verdict.table());
    assert!(verdict.power_cut_loss.pages > 0, "nothing was lost that could have been: {}", verdict.table());
    assert!(verdict.spooled > 0, "the spool held nothing: {}", verdict.table());
    assert!(verdict.batched.0 > 0 && verdict.batched.1 > 0, "one way of storing only: {}", verdict.table());
}

#[tokio::test]
async fn a_broker_that_syncs_now_and_then_loses_what_was_answered_200_and_the_lab_sees_it() {
    let Some(verdict) = cut(1, 1, false).await else { return };
    assert!(!verdict.lost.is_empty(), "{}", verdict.table());
}
