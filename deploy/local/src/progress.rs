//! Progress messages on standard error: a spinner on a terminal, plain lines elsewhere, nothing in tests.

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
    Spinner(ProgressBar),
    Lines,
    Silent,
}

impl Progress {
    /// Prints a spinner if standard error is a terminal, and plain lines if it is a file.
    pub fn visible() -> Self {
        if !std::io::stderr().is_terminal() {
            return Self { kind: Kind::Lines };
        }
        let style = ProgressStyle::with_template("{spinner} {msg} {since}")
            .expect("the template is valid")
            .with_key("since", write_elapsed);
        let spinner = ProgressBar::new_spinner().with_style(style);
        spinner.enable_steady_tick(FRAME_INTERVAL);
        Self { kind: Kind::Spinner(spinner) }
    }

    /// Prints nothing.
    pub fn silent() -> Self {
        Self { kind: Kind::Silent }
    }

    /// Shows that a step has begun, until the next message.
    pub fn step(&self, message: &str) {
        match &self.kind {
            Kind::Spinner(spinner) => {
                spinner.reset_elapsed();
                spinner.set_message(message.to_owned());
            }
            Kind::Lines => eprintln!("{message} …"),
            Kind::Silent => {}
        }
    }

    /// Prints a line that says that a step is done.
    pub fn done(&self, message: &str) {
        self.note(&format!("✓ {message}"));
    }

    /// Prints a line.
    pub fn note(&self, message: &str) {
        match &self.kind {
            Kind::Spinner(spinner) => spinner.suspend(|| eprintln!("{message}")),
            Kind::Lines => eprintln!("{message}"),
            Kind::Silent => {}
        }
    }

    /// Hides the spinner while `other` runs. `other` prints its own progress.
    pub async fn pause<T>(&self, other: impl Future<Output = T>) -> T {
        let Kind::Spinner(spinner) = &self.kind else { return other.await };
        let message = spinner.message();
        spinner.finish_and_clear();
        eprintln!("{message}");
        let result = other.await;
        spinner.reset();
        spinner.enable_steady_tick(FRAME_INTERVAL);
        result
    }

    /// Removes the spinner.
    pub fn finish(&self) {
        if let Kind::Spinner(spinner) = &self.kind {
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
