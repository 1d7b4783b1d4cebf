//! Reads the selected calls and writes them.

use std::io::stdout;

use aftercall_common::{phone_numbers::Numbers, process::shutdown};
use anyhow::Context as _;
use indicatif::ProgressBar;
use jiff::Timestamp;

use super::{
    encode,
    options::{Options, Selection},
    output::{ExportFile, Output},
    state::State,
};
use crate::{
    commands::{print_line, terminal},
    store::{ExportFilter, Include, Store, call_json},
};

/// Exports the calls that `options` select. `shows_numbers`: the configuration allows complete telephone numbers.
///
/// # Errors
/// The database does not answer, the output cannot be written, or the process stops. The text says how to
/// continue.
pub async fn run(store: &Store, options: &Options, shows_numbers: bool) -> anyhow::Result<()> {
    let Options { selection, output, resume } = options;
    let shows_numbers = shows_numbers || selection.show_numbers;
    let period = selection.period(Timestamp::now())?;
    let mut output = match output {
        None => Output::Stdout { stdout: stdout(), period, calls: 0 },
        Some(path) => {
            let state = State::new(selection, shows_numbers, period);
            Output::File(Box::new(ExportFile::open(path, *resume, state)?))
        }
    };
    let filter = selection.filter(output.period());
    let bar = progress(store, &filter, output.calls()).await;
    if let Err(error) =
        write(store, filter, selection, Numbers::shown(shows_numbers), &mut output, &bar).await
    {
        bar.finish_and_clear();
        let calls = output.calls();
        let how = output.interrupt()?;
        return Err(error.context(format!("the export ended after {calls} calls; {how}")));
    }
    bar.finish_and_clear();
    let calls = output.finish()?;
    match &options.output {
        Some(path) => print_line(format!("{calls} calls exported to {}", path.display())),
        None => Ok(()),
    }
}

/// Writes the header, if it is missing, and all calls after the last one that is written.
async fn write(
    store: &Store,
    filter: ExportFilter,
    selection: &Selection,
    numbers: Numbers,
    output: &mut Output,
    bar: &ProgressBar,
) -> anyhow::Result<()> {
    let stop = shutdown::on_signal()?;
    if output.is_empty() {
        output.write(&encode::header(selection.format)?, 0, None)?;
    }
    let mut pages = store.export(filter, output.last()?);
    loop {
        let page = stop.run_until_cancelled(pages.next()).await.context("interrupted")?;
        let Some(page) = page? else { return Ok(()) };
        let calls: Vec<_> = page.calls().map(|call| call_json(&call, Include::NONE)).collect();
        let added = calls.len() as u64;
        output.write(&encode::lines(selection.format, numbers, calls)?, added, Some(page.last))?;
        bar.inc(added);
    }
}

/// Progress through the calls of `filter`, of which `calls` are written. Its length is unknown if counting takes
/// too long.
async fn progress(store: &Store, filter: &ExportFilter, calls: u64) -> ProgressBar {
    let bar = terminal::bar(0);
    if !bar.is_hidden()
        && let Ok(count) = store.export_count(filter).await
    {
        bar.set_length(count);
    }
    bar.set_position(calls);
    bar
}
