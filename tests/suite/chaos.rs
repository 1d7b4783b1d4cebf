//! Every fault of the matrix once, in an order and for times that a seed decides, under load.
//!
//! `cargo lab chaos --minutes 30` is the long form of this.

use std::time::Duration;

use aftercall_lab::chaos::{self, Fault, Plan, Round};

use crate::harness::launcher;

/// Another one is for `cargo lab chaos --seed`: a test makes the same faults every time.
const SEED: u64 = 1;

#[tokio::test]
async fn every_fault_once_loses_nothing_and_leaves_nothing_wrong() {
    let folder = tempfile::tempdir().unwrap();
    let round = Round {
        seed: SEED,
        rate: 40.0,
        plan: Plan::Once,
        sync_always: true,
        folder: folder.path().to_owned(),
    };
    let verdict = chaos::quietly(launcher(), &round).await.unwrap();
    // Other tests share the machine: the bar of 15 s is for `cargo lab chaos`, alone.
    assert!(verdict.is_good(Duration::from_mins(1)), "seed {SEED}\n{}", verdict.table());
    assert_eq!(verdict.recoveries.len(), Fault::all().count());
    assert!(verdict.accepted > 500, "hardly any load: {}", verdict.accepted);
}
