//! `deliveries replay`.

use anyhow::{Context as _, bail};

use super::options::Selection;
use crate::{
    Context,
    commands::{print_line, terminal},
    endpoints,
    store::DeliveryRecord,
};

/// Deliveries that are read at a time.
const PAGE: i64 = 200;

/// Sends each selected delivery again.
pub async fn replay(context: &Context, which: &Selection, dry_run: bool) -> anyhow::Result<()> {
    let (mut sent, progress) = (0, terminal::spinner());
    if which.ids.is_empty() {
        let conditions = which.filter.conditions();
        let mut last: Option<DeliveryRecord> = None;
        loop {
            let page = context.store.deliveries(&conditions, last.as_ref(), PAGE).await?;
            sent += send(context, &page, dry_run).await?;
            progress.inc(page.len() as u64);
            let Some(end) = page.into_iter().last() else { break };
            last = Some(end);
        }
    } else {
        let mut records = Vec::new();
        for id in &which.ids {
            let record = context.store.delivery(id).await?;
            records
                .push(record.with_context(|| format!("there is no delivery {id}; nothing is sent again"))?);
        }
        sent += send(context, &records, dry_run).await?;
        if sent < records.len() {
            progress.finish_and_clear();
            bail!(
                "{sent} of {} messages are sent again: their endpoints do not exist any more",
                records.len()
            );
        }
    }
    progress.finish_and_clear();
    let done = if dry_run { "would be sent again" } else { "are sent again" };
    print_line(format!("{sent} messages {done}"))
}

/// Sends deliveries again. Returns how many: none to endpoints that do not exist any more.
async fn send(context: &Context, records: &[DeliveryRecord], dry_run: bool) -> anyhow::Result<usize> {
    if dry_run {
        let records = endpoints::sendable(context, records).await?;
        let mut ids = records.iter().map(|record| &record.delivery.id);
        ids.try_for_each(|id| print_line(format!("would send {id} again")))?;
        return Ok(records.len());
    }
    Ok(endpoints::replay(context, records).await?)
}
