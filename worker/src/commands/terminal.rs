//! Input and output of commands on a terminal: times, lines, questions, progress.

use std::io::IsTerminal as _;

use anyhow::ensure;
use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};
use jiff::Timestamp;

/// Reads a time: RFC 3339, such as `2026-11-24T08:00:00Z`, or a duration before now, such as `24h`.
pub(crate) fn moment(text: &str) -> Result<Timestamp, String> {
    let now = Timestamp::now();
    let ago =
        humantime_serde::re::humantime::parse_duration(text).ok().and_then(|ago| now.checked_sub(ago).ok());
    ago.or_else(|| text.parse().ok())
        .ok_or_else(|| "must be like 2026-11-24T08:00:00Z, or like 24h".to_owned())
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_time_keeps_its_seconds_and_fractions() {
        for text in ["2026-11-24T08:00:59Z", "2026-11-24T09:00:59.25+01:00", "2026-11-24T08:00:59.123456789Z"]
        {
            assert_eq!(moment(text).unwrap(), text.parse::<Timestamp>().unwrap(), "{text}");
        }
        let ago = moment("1m30s").unwrap().duration_until(Timestamp::now());
        assert!((90..100).contains(&ago.as_secs()), "{ago}");
        assert!(moment("yesterday").is_err());
    }
}
