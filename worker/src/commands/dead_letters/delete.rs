//! `dead-letters drop`.

use anyhow::{Context as _, bail};
use async_nats::jetstream::stream::Stream;

use super::{letters, options::Selection};
use crate::commands::{print_line, terminal};

/// Deletes the selected dead letters, after a confirmation unless `yes` is set.
pub async fn delete(stream: &Stream, which: &Selection, yes: bool) -> anyhow::Result<()> {
    let numbers = letters::selected(stream, which).await?;
    if numbers.is_empty() {
        return print_line("no dead letters");
    }
    if !yes && !terminal::is_confirmed(&format!("Delete {} dead letters permanently", numbers.len()))? {
        bail!("not confirmed: no dead letter was dropped");
    }
    let bar = terminal::bar(numbers.len());
    for number in &numbers {
        stream
            .delete_message(*number)
            .await
            .with_context(|| format!("dead letter {number} was not dropped"))?;
        bar.inc(1);
    }
    bar.finish_and_clear();
    print_line(format!("{} dead letters dropped", numbers.len()))
}
