//! Prints new log lines of gateway and workers, each with the name of its process: all of them, or only problems.

use std::{
    fs::File,
    io::{IsTerminal as _, Read as _, Seek as _, SeekFrom, Write as _},
};

use crate::{process::Process, progress::Progress};

/// Follows the logs of several services.
#[derive(Debug)]
pub struct LogFollower {
    files: Vec<FollowedLog>,
    color: bool,
    shown: Shown,
    problems: u64,
}

/// The lines that are printed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Shown {
    /// All lines.
    All,
    /// Warnings and errors.
    Problems,
}

/// Level of a line that needs attention.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Problem {
    Error,
    Warning,
}

#[derive(Debug)]
struct FollowedLog {
    name: String,
    file: File,
    /// Beginning of a line that is not complete yet.
    partial: Vec<u8>,
}

impl LogFollower {
    /// Follows the logs of `processes` from their current end.
    pub fn follow<'a>(processes: impl Iterator<Item = &'a Process>, shown: Shown) -> Self {
        let processes: Vec<_> = processes.collect();
        let width = processes.iter().map(|process| process.name().len()).max().unwrap_or_default();
        let files = processes.iter().filter_map(|process| {
            let mut file = File::open(process.log()).ok()?;
            file.seek(SeekFrom::End(0)).ok()?;
            let name = format!("{:width$}", process.name());
            Some(FollowedLog { name, file, partial: Vec::new() })
        });
        let color = std::io::stdout().is_terminal();
        Self { files: files.collect(), color, shown, problems: 0 }
    }

    /// Number of warnings and errors so far.
    pub fn problems(&self) -> u64 {
        self.problems
    }

    /// Prints the lines that were written since the last call. `progress` stays below them.
    pub fn print_new(&mut self, progress: &Progress) {
        let mut text = String::new();
        for followed in &mut self.files {
            for line in followed.lines() {
                let problem = Problem::of(&line);
                self.problems += u64::from(problem.is_some());
                if self.shown == Shown::Problems && problem.is_none() {
                    continue;
                }
                let (before, after) = match problem.filter(|_| self.color) {
                    Some(problem) => (problem.color(), "\x1b[0m"),
                    None => ("", ""),
                };
                text.extend([&followed.name, " | ", before, &line, after, "\n"]);
            }
        }
        if !text.is_empty() {
            // If standard output is closed, the log files still have every line.
            let _closed = progress.print_lines(|| std::io::stdout().lock().write_all(text.as_bytes()));
        }
    }
}

impl FollowedLog {
    /// The complete lines that were written since the last call.
    fn lines(&mut self) -> Vec<String> {
        // A log that cannot be read is not printed; its process keeps running.
        let _read = self.file.read_to_end(&mut self.partial);
        let Some(end) = self.partial.iter().rposition(|byte| *byte == b'\n') else { return Vec::new() };
        let rest = self.partial.split_off(end + 1);
        let whole = std::mem::replace(&mut self.partial, rest);
        String::from_utf8_lossy(&whole).lines().map(str::to_owned).collect()
    }
}

impl Problem {
    /// The problem that a line reports. `None`: the line reports none. A line that no logger wrote, such as the
    /// message of a panic, counts as an error.
    fn of(line: &str) -> Option<Self> {
        match line.split_whitespace().nth(1) {
            // After the time.
            Some("INFO" | "DEBUG" | "TRACE") => None,
            Some("WARN") => Some(Self::Warning),
            Some(_) => Some(Self::Error),
            None => (!line.trim().is_empty()).then_some(Self::Error),
        }
    }

    /// ANSI escape sequence: red for errors, yellow for warnings.
    fn color(self) -> &'static str {
        match self {
            Self::Error => "\x1b[31m",
            Self::Warning => "\x1b[33m",
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_problem_is_told_by_the_level_of_its_line() {
        #[rustfmt::skip]
        let table = [
            ("2026-11-29T16:00:00.123Z  WARN aftercall: slow",      Some(Problem::Warning)),
            ("2026-11-29T16:00:00.123Z ERROR aftercall: full",      Some(Problem::Error)),
            ("2026-11-29T16:00:00.123Z  INFO aftercall: WARN me",   None),
            ("thread 'main' panicked at src/main.rs:7:5:",          Some(Problem::Error)),
            ("stopped",                                             Some(Problem::Error)),
            ("",                                                    None),
        ];
        for (line, problem) in table {
            assert_eq!(Problem::of(line), problem, "{line}");
        }
    }
}
