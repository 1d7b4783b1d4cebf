//! Brings the services' log lines to the terminal, each with the name of its service.

use std::{
    fs::File,
    io::{IsTerminal as _, Read as _, Seek as _, SeekFrom, Write as _},
};

use crate::process::Process;

/// Follows the logs of several services.
#[derive(Debug)]
pub struct Logs {
    files: Vec<Followed>,
    color: bool,
}

#[derive(Debug)]
struct Followed {
    name: String,
    file: File,
    /// The beginning of a line whose end is not written yet.
    partial: Vec<u8>,
}

impl Logs {
    /// Follows the logs of `processes` from where they are now.
    pub fn follow<'a>(processes: impl Iterator<Item = &'a Process>) -> Self {
        let processes: Vec<_> = processes.collect();
        let width = processes.iter().map(|process| process.name().len()).max().unwrap_or_default();
        let files = processes.iter().filter_map(|process| {
            let mut file = File::open(process.log()).ok()?;
            file.seek(SeekFrom::End(0)).ok()?;
            let name = format!("{:width$}", process.name());
            Some(Followed { name, file, partial: Vec::new() })
        });
        Self { files: files.collect(), color: std::io::stdout().is_terminal() }
    }

    /// Shows what was written since the last time.
    pub fn show(&mut self) {
        let mut out = std::io::stdout().lock();
        for followed in &mut self.files {
            for line in followed.lines() {
                let shown = match (self.color, level(&line)) {
                    (true, Some(color)) => writeln!(out, "{} | \x1b[{color}m{line}\x1b[0m", followed.name),
                    _ => writeln!(out, "{} | {line}", followed.name),
                };
                if shown.is_err() {
                    return; // Nobody reads any more. The log files have it all.
                }
            }
        }
    }
}

impl Followed {
    fn lines(&mut self) -> Vec<String> {
        // An unreadable log shows nothing; the service goes on.
        let _read = self.file.read_to_end(&mut self.partial);
        let Some(end) = self.partial.iter().rposition(|byte| *byte == b'\n') else { return Vec::new() };
        let rest = self.partial.split_off(end + 1);
        let whole = std::mem::replace(&mut self.partial, rest);
        String::from_utf8_lossy(&whole).lines().map(str::to_owned).collect()
    }
}

/// The terminal's colour for a line's level: red for errors, yellow for warnings.
fn level(line: &str) -> Option<u8> {
    let level = line.split_whitespace().nth(1)?; // After the time.
    match level {
        "ERROR" => Some(31),
        "WARN" => Some(33),
        _ => None,
    }
}
