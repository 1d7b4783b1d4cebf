//! Arguments of `aftercall-worker reconcile`.

use anyhow::ensure;
use jiff::Timestamp;

use crate::{
    commands::terminal::moment,
    roles::reconcile::{Window, default_since},
};

/// The conversations to compare, and the form of the output.
#[derive(Clone, Debug, clap::Args)]
pub struct Options {
    /// Earliest start of a conversation: RFC 3339, or a duration before now [default: 24h]
    #[arg(long, value_name = "TIME", value_parser = moment)]
    since: Option<Timestamp>,
    /// Latest start of a conversation [default: now]
    #[arg(long, value_name = "TIME", value_parser = moment)]
    until: Option<Timestamp>,
    /// Print which events would be published, and publish nothing
    #[arg(long)]
    dry_run: bool,
    /// Print the result as JSON
    #[arg(long)]
    pub(in crate::commands) json: bool,
}

impl Options {
    /// The window of conversations to compare. `rate`: most requests for single conversations per second.
    ///
    /// # Errors
    /// The window is empty.
    pub(in crate::commands) fn window(&self, rate: f64) -> anyhow::Result<Window> {
        let now = Timestamp::now();
        let window = Window {
            since: self.since.unwrap_or_else(|| default_since(now)),
            // A later end would give up placements and calls of this moment.
            until: self.until.map_or(now, |until| until.min(now)),
            rate,
            dry_run: self.dry_run,
        };
        ensure!(window.since < window.until, "--since must be before --until");
        Ok(window)
    }
}
