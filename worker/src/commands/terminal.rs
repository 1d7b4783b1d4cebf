//! Input and output of commands on a terminal: times, lines, questions, progress.

use std::io::IsTerminal as _;

use anyhow::ensure;
use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};
use jiff::Timestamp;

use crate::domain::time::read_moment;

/// Reads a time: see [`read_moment`].
pub(crate) fn moment(text: &str) -> Result<Timestamp, &'static str> {
    read_moment(text, Timestamp::now())
}

/// Prints a line to standard output.
///
/// # Errors
/// The reader closed the pipe, as `head` does. The process then ends without an error message.
pub(crate) fn print_line(text: impl std::fmt::Display) -> anyhow::Result<()> {
    use std::io::Write as _;
    Ok(writeln!(std::io::stdout(), "{text}")?)
}

/// Asks the user to confirm `action`.
///
/// # Errors
/// Standard input is no terminal, so the user cannot answer.
pub(crate) fn is_confirmed(action: &str) -> anyhow::Result<bool> {
    use std::io::{BufRead as _, Write as _};
    ensure!(
        std::io::stdin().is_terminal(),
        "confirmation needed, but standard input is no terminal; use --yes to continue without a question"
    );
    eprint!("{action}? [y/N] ");
    std::io::stderr().flush()?;
    let mut answer = String::new();
    std::io::stdin().lock().read_line(&mut answer)?;
    Ok(matches!(answer.trim(), "y" | "Y" | "yes"))
}

/// Progress of work of unknown length. Shown only on a terminal.
pub(crate) fn spinner() -> ProgressBar {
    ProgressBar::with_draw_target(None, target()).with_style(style("{spinner} {msg}  {elapsed}"))
}

/// Progress through `length` items. Shown only on a terminal.
pub(crate) fn bar(length: usize) -> ProgressBar {
    let style = style("{wide_bar} {pos}/{len}  {per_sec}  {elapsed}");
    ProgressBar::with_draw_target(Some(length as u64), target()).with_style(style)
}

fn target() -> ProgressDrawTarget {
    let is_terminal = std::io::stderr().is_terminal();
    if is_terminal { ProgressDrawTarget::stderr() } else { ProgressDrawTarget::hidden() }
}

fn style(template: &str) -> ProgressStyle {
    ProgressStyle::with_template(template).expect("the template is valid")
}
