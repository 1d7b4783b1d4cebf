//! `aftercall-worker reconcile`: runs one reconciliation pass and prints its report.

mod options;
mod output;

use aftercall_common::process::shutdown;

pub use self::options::Options;
use super::{print_line, terminal};
use crate::{
    Context,
    domain::reconciliation::Report,
    elevenlabs::ElevenLabs,
    roles::reconcile::{self, Window},
};

/// Compares the conversations that ElevenLabs has for `window` with the stored calls. Publishes the missing events, unless
/// this is a dry run, and prints the report. Fails without a report if ElevenLabs, MongoDB or NATS does not answer, or if
/// the process is told to stop. Events may be published already then.
pub(super) async fn run(
    context: &Context,
    api: &ElevenLabs,
    window: Window,
    as_json: bool,
) -> anyhow::Result<()> {
    let stop = shutdown::on_signal()?;
    let spinner = terminal::spinner();
    let progress = |report: &Report| {
        let (conversations, events) = (report.seen, report.findings.len());
        spinner.set_message(format!("{conversations} conversations, {events} missing events"));
        spinner.tick();
    };
    let outcome = reconcile::pass(context, api, window, &stop, progress).await;
    spinner.finish_and_clear();
    let report = outcome?;
    print_line(if as_json {
        output::json(&report, window).to_string()
    } else {
        output::table(&report, window)
    })
}
