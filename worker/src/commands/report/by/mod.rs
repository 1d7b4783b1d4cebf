//! `aftercall-worker report --by`: sums over the calls of a period, grouped by one property.

mod output;

use aftercall_common::phone_numbers::Numbers;
use anyhow::ensure;

use self::output::GroupReport;
pub(super) use self::output::Period;
use crate::{
    commands::print_line,
    store::{Grouping, Store, statistics},
};

/// Prints the report.
///
/// # Errors
/// The database does not answer, or does not know the time zone.
pub(super) async fn run(
    store: &Store,
    grouping: Grouping,
    period: Period<'_>,
    is_json: bool,
    numbers: Numbers,
) -> anyhow::Result<()> {
    ensure!(
        store.knows_time_zone(period.zone).await?,
        "--time-zone: MongoDB knows no time zone {:?}; give a name such as Europe/Berlin or an offset such as +02:00",
        period.zone
    );
    let question = statistics(grouping, period.zone, period.since, period.until);
    let statistics = store.statistics(grouping, &question).await?;
    let plan = store.explain(&question).await?;
    let report = GroupReport { grouping, period, statistics: &statistics, plan: &plan, numbers };
    if is_json { print_line(report.json()) } else { print_line(report.text()) }
}
