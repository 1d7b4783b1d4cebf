//! `cargo lab bench console`: times of the console's pages and of the API's lists with a million stored calls,
//! memory of five hundred viewers, and time from a webhook to their screens.
//!
//! The benchmark starts its own servers and processes on free ports, and keeps no data.

mod lists;
mod options;
mod pages;
mod report;
mod seed;
mod setup;
mod viewers;

use std::{process::ExitCode, time::Instant};

use aftercall_local::progress::Progress;
use anyhow::ensure;

use self::{
    lists::lists,
    pages::{ask, pages, transferred},
    setup::ConsoleSetup,
    viewers::viewers,
};
pub use self::{options::Options, seed::seed};

/// Measures and prints the results. Exits with failure if a target is missed.
pub async fn run(options: Options) -> anyhow::Result<ExitCode> {
    let progress = Progress::visible();
    let logs = tempfile::Builder::new().prefix("aftercall-bench-").tempdir()?;
    progress.step("starting servers and processes");
    let setup = ConsoleSetup::start(logs.path()).await?;
    let begun = Instant::now();
    seed(&setup.calls, options.calls, &progress).await?;
    progress.done(&format!("{} calls stored in {:.0} s", options.calls, begun.elapsed().as_secs_f64()));
    progress.step("requesting pages");
    let pages = pages(&setup).await?;
    progress.step("requesting lists");
    let lists = lists(&setup).await?;
    ensure!(ask(&setup, "/calls").await?.1.matches("id=\"c-").count() == 50, "the first page is not full");
    let first_page_bytes = transferred(&setup).await?;
    progress.step(&format!("{} viewers watch", options.viewers));
    let watched = viewers(&setup, options.viewers).await?;
    progress.finish();
    Ok(report::print(&options, &pages, &lists, first_page_bytes, &watched))
}
