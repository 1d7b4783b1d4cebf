//! Arguments of `aftercall-worker dead-letters`.

use aftercall_common::contract::streams::header;
use jiff::Timestamp;

use crate::{commands::terminal, dead_letters::DeadLetter};

/// The subcommands of `dead-letters`.
#[derive(Clone, Debug, clap::Subcommand)]
pub enum Command {
    /// List dead letters, the oldest first
    List {
        /// The dead letters to list.
        #[command(flatten)]
        filter: Filter,
        /// Print one JSON object per line
        #[arg(long)]
        json: bool,
    },
    /// Show one dead letter: its reason, and its body as it was received
    Show {
        /// Number of the dead letter, as `list` shows it
        number: u64,
        /// Print one JSON object
        #[arg(long)]
        json: bool,
    },
    /// Send dead letters again to the stream they came from, and remove them from the dead letters
    Replay {
        /// The dead letters to send.
        #[command(flatten)]
        which: Selection,
        /// Print what would be sent, and send nothing
        #[arg(long)]
        dry_run: bool,
    },
    /// Delete dead letters permanently
    Drop {
        /// The dead letters to delete.
        #[command(flatten)]
        which: Selection,
        /// Do not ask for confirmation
        #[arg(long)]
        yes: bool,
    },
}

/// Conditions for dead letters.
#[derive(Clone, Debug, clap::Args)]
pub struct Filter {
    /// Only dead letters with this reason
    #[arg(long)]
    reason: Option<String>,
    /// Only dead letters since this time: RFC 3339, or a duration before now such as 24h
    #[arg(long, value_name = "TIME", value_parser = terminal::moment)]
    since: Option<Timestamp>,
    /// Only dead letters until this time
    #[arg(long, value_name = "TIME", value_parser = terminal::moment)]
    until: Option<Timestamp>,
}

/// Dead letters selected by number or by conditions.
#[derive(Clone, Debug, clap::Args)]
pub struct Selection {
    /// Numbers of the dead letters
    #[arg(
        required_unless_present_any = ["all", "reason"],
        conflicts_with_all = ["all", "reason", "since", "until"]
    )]
    pub(super) numbers: Vec<u64>,
    /// All dead letters, or all that match the conditions
    #[arg(long)]
    all: bool,
    #[command(flatten)]
    pub(super) filter: Filter,
}

impl Filter {
    /// Whether `letter` meets all conditions.
    pub(super) fn matches(&self, letter: &DeadLetter) -> bool {
        let at = letter.dead_lettered_at();
        self.reason.as_deref().is_none_or(|reason| reason == letter.header(header::DEAD_REASON))
            && self.since.is_none_or(|since| at >= since)
            && self.until.is_none_or(|until| at <= until)
    }
}

#[cfg(test)]
mod tests {
    use clap::Parser;

    use super::*;

    #[derive(Debug, Parser)]
    struct Cli {
        #[command(subcommand)]
        command: Command,
    }

    #[test]
    fn dead_letters_are_selected_by_number_or_by_conditions_but_not_by_both() {
        for (arguments, is_valid) in [
            ("7 8", true),
            ("--all", true),
            ("--reason invalid_json", true),
            ("--all --reason invalid_json --since 24h --until 1h", true),
            ("", false),
            ("--since 24h", false),
            ("7 --all", false),
            ("7 --reason invalid_json", false),
            ("7 --since 24h", false),
            ("7 --until 1h", false),
        ] {
            for command in ["drop", "replay"] {
                let words = ["dead-letters", command].into_iter().chain(arguments.split_whitespace());
                let parsed = Cli::try_parse_from(words);
                assert_eq!(parsed.is_ok(), is_valid, "{command} {arguments}: {parsed:?}");
            }
        }
    }
}
