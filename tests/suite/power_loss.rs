//! Power loss: what was not synced is gone, on the disk of broker, database and spool, and everything starts
//! anew. The long form is `cargo local chaos --power-cuts 50`.
//!
//! Needs FUSE; says so and passes where there is none.

use aftercall_local::{
    chaos::{self, Plan, Round, Verdict},
    disk::{Disk, Durability},
};

use crate::harness::{launcher, test_timeout};

/// Webhooks a second: so many that each gateway learns between two cuts what a sync costs, and makes batches.
const RATE: f64 = 800.0;

/// The verdict on so many power cuts; None where a disk cannot lose anything.
async fn cut(seed: u64, cuts: usize, sync_always: bool) -> Option<Verdict> {
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
async fn power_cut_keeps_every_accepted_webhook() {
    let Some(verdict) = cut(5, 2, true).await else { return };
    assert!(verdict.is_good(test_timeout()), "{}", verdict.table());
    assert!(verdict.toll.pages > 0, "nothing was lost that could have been: {}", verdict.table());
    assert!(verdict.spooled > 0, "the spool held nothing: {}", verdict.table());
    assert!(verdict.batched.0 > 0 && verdict.batched.1 > 0, "one way of storing only: {}", verdict.table());
}

#[tokio::test]
async fn lab_detects_webhooks_lost_by_a_broker_that_syncs_rarely() {
    let Some(verdict) = cut(1, 1, false).await else { return };
    assert!(!verdict.lost.is_empty(), "{}", verdict.table());
}
