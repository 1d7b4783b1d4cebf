//! Progress messages on standard error: a spinner on a terminal, plain lines elsewhere, nothing in tests.
//! [`Progress::quiet`] leaves out steps that are done.

use std::{
    io::{IsTerminal as _, Write as _},
    time::Duration,
};

use indicatif::{ProgressBar, ProgressState, ProgressStyle};

/// Interval between two frames of the spinner.
const FRAME_INTERVAL: Duration = Duration::from_millis(100);

/// Prints progress messages.
#[derive(Debug)]
pub struct Progress {
    kind: Kind,
}

#[derive(Debug)]
enum Kind {
    /// `is_quiet`: a step that is done leaves no line.
    Spinner {
        spinner: ProgressBar,
        is_quiet: bool,
    },
    Lines,
    /// Only notes and long steps.
    Notes,
    Silent,
}

impl Progress {
    /// Shows a spinner if standard error is a terminal, and prints plain lines otherwise.
    pub fn visible() -> Self {
        Self::new("{spinner} {msg} {elapsed_seconds}", false)
    }

    /// As [`Self::visible`], without a line for each step that is done. Without a terminal, it prints only notes and long
    /// steps.
    pub fn quiet() -> Self {
        Self::new("{spinner} {msg} {elapsed_seconds}", true)
    }

    /// Shows the latest step as one line at the end of a terminal. Without a terminal, it prints only notes and long steps.
    pub fn last_line() -> Self {
        Self::new("{wide_msg}", true)
    }

    fn new(template: &str, is_quiet: bool) -> Self {
        if !std::io::stderr().is_terminal() {
            return Self { kind: if is_quiet { Kind::Notes } else { Kind::Lines } };
        }
        let style = ProgressStyle::with_template(template)
            .expect("the template is valid")
            .with_key("elapsed_seconds", write_elapsed);
        let spinner = ProgressBar::new_spinner().with_style(style);
        spinner.enable_steady_tick(FRAME_INTERVAL);
        Self { kind: Kind::Spinner { spinner, is_quiet } }
    }

    /// Prints nothing.
    pub fn silent() -> Self {
        Self { kind: Kind::Silent }
    }

    /// Shows that a step has begun, until the next message.
    pub fn step(&self, message: &str) {
        match &self.kind {
            Kind::Spinner { spinner, .. } => {
                spinner.reset_elapsed();
                spinner.set_message(message.to_owned());
            }
            Kind::Lines => print_line(&format!("{message} …")),
            Kind::Notes | Kind::Silent => {}
        }
    }

    /// Shows a step that may take minutes, until the next message. Prints it even where [`Self::step`] prints nothing, unless
    /// the progress is silent.
    pub fn long_step(&self, message: &str) {
        match &self.kind {
            Kind::Notes => print_line(&format!("{message} …")),
            Kind::Spinner { .. } | Kind::Lines | Kind::Silent => self.step(message),
        }
    }

    /// Prints a line that says that a step is done, unless the progress is quiet.
    pub fn done(&self, message: &str) {
        match &self.kind {
            Kind::Spinner { is_quiet: true, .. } | Kind::Notes => {}
            Kind::Spinner { .. } | Kind::Lines | Kind::Silent => self.note(&format!("✓ {message}")),
        }
    }

    /// Prints a line.
    pub fn note(&self, message: &str) {
        match &self.kind {
            Kind::Spinner { spinner, .. } => spinner.suspend(|| print_line(message)),
            Kind::Lines | Kind::Notes => print_line(message),
            Kind::Silent => {}
        }
    }

    /// Runs `print`, which prints lines by itself, while the spinner is hidden. Runs it also if the progress is silent.
    pub fn print_lines<T>(&self, print: impl FnOnce() -> T) -> T {
        match &self.kind {
            Kind::Spinner { spinner, .. } => spinner.suspend(print),
            Kind::Lines | Kind::Notes | Kind::Silent => print(),
        }
    }

    /// Replaces the spinner by a plain line with its message while `other` runs, because `other` prints its own progress.
    pub async fn pause<T>(&self, other: impl Future<Output = T>) -> T {
        let Kind::Spinner { spinner, .. } = &self.kind else { return other.await };
        let message = spinner.message();
        spinner.finish_and_clear();
        print_line(&message);
        let result = other.await;
        spinner.reset();
        spinner.enable_steady_tick(FRAME_INTERVAL);
        result
    }

    /// Whether [`Self::step`] shows anything.
    pub fn shows_steps(&self) -> bool {
        matches!(self.kind, Kind::Spinner { .. } | Kind::Lines)
    }

    /// Removes the spinner.
    pub fn finish(&self) {
        if let Kind::Spinner { spinner, .. } = &self.kind {
            spinner.finish_and_clear();
        }
    }
}

impl Drop for Progress {
    fn drop(&mut self) {
        self.finish();
    }
}

/// Prints a line to standard error. If nobody reads that any more, the line is lost and the process goes on.
fn print_line(line: &str) {
    let _unread = writeln!(std::io::stderr(), "{line}");
}

/// Writes the elapsed seconds of a step. Writes nothing during the first second.
fn write_elapsed(state: &ProgressState, out: &mut dyn std::fmt::Write) {
    // The error is ignored: if the terminal accepts no text, the error cannot be shown either.
    let _written = match state.elapsed().as_secs() {
        0 => Ok(()),
        seconds => write!(out, "({seconds} s)"),
    };
}
