//! What commands print, ask and show on a terminal, and how they read a time.

use std::io::IsTerminal as _;

use anyhow::ensure;
use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};
use jiff::Timestamp;

/// `2026-11-24T08:00:00Z`, or `24h`: so long ago.
pub(crate) fn moment(text: &str) -> Result<Timestamp, String> {
    let now = Timestamp::now();
    let ago =
        humantime_serde::re::humantime::parse_duration(text).ok().and_then(|ago| now.checked_sub(ago).ok());
    ago.or_else(|| text.parse().ok())
        .ok_or_else(|| "must be like 2026-11-24T08:00:00Z, or like 24h".to_owned())
}

/// Prints a line. Whoever reads may have read enough: that is an error here, and none to the user.
pub(crate) fn print_line(text: impl std::fmt::Display) -> anyhow::Result<()> {
    use std::io::Write as _;
    Ok(writeln!(std::io::stdout(), "{text}")?)
}

/// Asks whoever sits at the terminal whether to do `what`.
pub(crate) fn is_confirmed(what: &str) -> anyhow::Result<bool> {
    use std::io::{BufRead as _, Write as _};
    ensure!(std::io::stdin().is_terminal(), "nobody is there to confirm; --yes does it without asking");
    eprint!("{what}? [y/N] ");
    std::io::stderr().flush()?;
    let mut answer = String::new();
    std::io::stdin().lock().read_line(&mut answer)?;
    Ok(matches!(answer.trim(), "y" | "Y" | "yes"))
}

/// Shows progress of what has no known end, on a terminal.
pub(crate) fn spinner() -> ProgressBar {
    ProgressBar::with_draw_target(None, target()).with_style(style("{spinner} {msg}  {elapsed}"))
}

/// Shows progress through `length` things, on a terminal.
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
