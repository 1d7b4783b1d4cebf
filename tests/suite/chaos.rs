//! Every fault of the fault matrix once, under load. A seed decides order and duration.
//!
//! `cargo lab chaos --minutes 30` runs longer.

use aftercall_lab::chaos::{self, Fault, Plan, Round};

use crate::harness::{launcher, test_timeout};

/// The seed of the test. `cargo lab chaos --seed` takes other seeds.
const SEED: u64 = 1;

#[tokio::test]
async fn every_fault_once_loses_nothing_and_leaves_every_call_right() {
    let folder = tempfile::tempdir().unwrap();
    let round = Round {
        seed: SEED,
        rate: 40.0,
        plan: Plan::Once,
        sync_always: true,
        spool_first: false,
        folder: folder.path().to_owned(),
    };
    let verdict = chaos::quietly(launcher(), &round).await.unwrap();
    // Other tests use the machine at the same time. `cargo lab chaos` requires a recovery within 15 s.
    assert!(verdict.is_good(test_timeout()), "seed {SEED}\n{}", verdict.table());
    assert_eq!(verdict.recoveries.len(), Fault::all().count());
    assert!(verdict.accepted > 500, "too little load: {} webhooks accepted", verdict.accepted);
}
