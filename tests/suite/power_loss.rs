//! Power loss: broker, database and spool lose everything that was not synced to the disk, and start again.
//! `cargo lab chaos --power-cuts 50` runs longer.
//!
//! Without FUSE the tests print that they are skipped, and pass.

use aftercall_lab::{
    chaos::{self, Plan, Report, Round},
    disk::{Disk, Durability},
};

use crate::harness::{launcher, test_timeout};

/// Webhooks a second: enough for the gateway to measure the cost of a sync between two cuts, and to use
/// batches.
const RATE: f64 = 800.0;

/// Runs a test with `cuts` power cuts. `None` if FUSE is missing.
async fn cut(seed: u64, cuts: usize, sync_always: bool, spool_first: bool) -> Option<Report> {
    if let Err(why) = Disk::mount(Durability::Journaled) {
        eprintln!("SKIPPED: no disk can be mounted: {why:#}");
        return None;
    }
    let folder = tempfile::tempdir().unwrap();
    let plan = Plan::PowerCuts(cuts);
    let round = Round { seed, rate: RATE, plan, sync_always, spool_first, folder: folder.path().to_owned() };
    Some(chaos::quietly(launcher(), &round).await.unwrap())
}

#[tokio::test]
async fn power_cut_keeps_every_accepted_webhook() {
    let Some(verdict) = cut(5, 2, true, false).await else { return };
    assert!(verdict.is_good(test_timeout()), "{}", verdict.table());
    assert!(verdict.power_cut_loss.pages > 0, "no unsynced data was lost: {}", verdict.table());
    assert!(verdict.spooled > 0, "no webhook was spooled: {}", verdict.table());
    assert!(
        verdict.batched.0 > 0 && verdict.batched.1 > 0,
        "the gateway used only one way of publishing: {}",
        verdict.table()
    );
}

#[tokio::test]
async fn power_cut_keeps_every_webhook_that_the_spool_took_first() {
    let Some(verdict) = cut(7, 2, true, true).await else { return };
    assert!(verdict.is_good(test_timeout()), "{}", verdict.table());
    assert!(verdict.power_cut_loss.pages > 0, "no unsynced data was lost: {}", verdict.table());
    assert!(verdict.spooled * 3 > verdict.accepted, "the spool did not come first: {}", verdict.table());
}

#[tokio::test]
async fn lab_detects_webhooks_lost_by_a_broker_that_syncs_rarely() {
    let Some(verdict) = cut(1, 1, false, false).await else { return };
    assert!(!verdict.lost.is_empty(), "{}", verdict.table());
}
