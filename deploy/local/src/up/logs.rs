//! Prints new log lines of gateway and workers, each with the name of its process.

use std::{
    fs::File,
    io::{IsTerminal as _, Read as _, Seek as _, SeekFrom, Write as _},
};

use crate::process::Process;

/// Follows the logs of several services.
#[derive(Debug)]
pub struct LogFollower {
    files: Vec<FollowedLog>,
    color: bool,
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
    pub fn follow<'a>(processes: impl Iterator<Item = &'a Process>) -> Self {
        let processes: Vec<_> = processes.collect();
        let width = processes.iter().map(|process| process.name().len()).max().unwrap_or_default();
        let files = processes.iter().filter_map(|process| {
            let mut file = File::open(process.log()).ok()?;
            file.seek(SeekFrom::End(0)).ok()?;
            let name = format!("{:width$}", process.name());
            Some(FollowedLog { name, file, partial: Vec::new() })
        });
        Self { files: files.collect(), color: std::io::stdout().is_terminal() }
    }

    /// Prints the lines that were written since the last call.
    pub fn print_new(&mut self) {
        let mut out = std::io::stdout().lock();
        for followed in &mut self.files {
            for line in followed.lines() {
                let shown = match (self.color, color_of(&line)) {
                    (true, Some(color)) => writeln!(out, "{} | \x1b[{color}m{line}\x1b[0m", followed.name),
                    _ => writeln!(out, "{} | {line}", followed.name),
                };
                if shown.is_err() {
                    return; // Standard output is closed. The log files are complete.
                }
            }
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

/// ANSI colour code for the level of a line: red for errors, yellow for warnings.
fn color_of(line: &str) -> Option<u8> {
    let level = line.split_whitespace().nth(1)?; // After the time.
    match level {
        "ERROR" => Some(31),
        "WARN" => Some(33),
        _ => None,
    }
}
