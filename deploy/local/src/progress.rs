//! Progress messages on standard error: a spinner on a terminal, plain lines elsewhere, nothing in tests.
//! [`Progress::quiet`] leaves out steps that are done.

use std::{io::IsTerminal as _, time::Duration};

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
    /// Prints a spinner if standard error is a terminal, and plain lines if it is a file.
    pub fn visible() -> Self {
        Self::new("{spinner} {msg} {since}", false)
    }

    /// As [`Self::visible`], without a line for each step that is done. A file gets only notes and long steps.
    pub fn quiet() -> Self {
        Self::new("{spinner} {msg} {since}", true)
    }

    /// Shows the latest step as one line at the end of a terminal. A file gets only notes.
    pub fn last_line() -> Self {
        Self::new("{wide_msg}", true)
    }

    fn new(template: &str, is_quiet: bool) -> Self {
        if !std::io::stderr().is_terminal() {
            return Self { kind: if is_quiet { Kind::Notes } else { Kind::Lines } };
        }
        let style = ProgressStyle::with_template(template)
            .expect("the template is valid")
            .with_key("since", write_elapsed);
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
            Kind::Lines => eprintln!("{message} …"),
            Kind::Notes | Kind::Silent => {}
        }
    }

    /// Shows that a step has begun that may take minutes, until the next message.
    pub fn long_step(&self, message: &str) {
        match &self.kind {
            Kind::Notes => eprintln!("{message} …"),
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
            Kind::Spinner { spinner, .. } => spinner.suspend(|| eprintln!("{message}")),
            Kind::Lines | Kind::Notes => eprintln!("{message}"),
            Kind::Silent => {}
        }
    }

    /// Runs `print`, which writes lines to standard output, while the spinner is hidden.
    pub fn print_lines<T>(&self, print: impl FnOnce() -> T) -> T {
        match &self.kind {
            Kind::Spinner { spinner, .. } => spinner.suspend(print),
            Kind::Lines | Kind::Notes | Kind::Silent => print(),
        }
    }

    /// Hides the spinner while `other` runs. `other` prints its own progress.
    pub async fn pause<T>(&self, other: impl Future<Output = T>) -> T {
        let Kind::Spinner { spinner, .. } = &self.kind else { return other.await };
        let message = spinner.message();
        spinner.finish_and_clear();
        eprintln!("{message}");
        let result = other.await;
        spinner.reset();
        spinner.enable_steady_tick(FRAME_INTERVAL);
        result
    }

    /// Whether a step is seen by somebody.
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

/// Writes the elapsed seconds of a step. Writes nothing during the first second.
fn write_elapsed(state: &ProgressState, out: &mut dyn std::fmt::Write) {
    // The error is ignored: if the terminal accepts no text, the error cannot be shown either.
    let _written = match state.elapsed().as_secs() {
        0 => Ok(()),
        seconds => write!(out, "({seconds} s)"),
    };
}
