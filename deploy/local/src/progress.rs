//! What is going on, for whoever waits: a spinner on a terminal, plain lines elsewhere, nothing in
//! tests. Always on standard error.

use std::{io::IsTerminal as _, time::Duration};

use indicatif::{ProgressBar, ProgressState, ProgressStyle};

const TICK: Duration = Duration::from_millis(100);

/// Reports steps.
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
    /// For people or for a file, as standard error is.
    pub fn new() -> Self {
        if !std::io::stderr().is_terminal() {
            return Self { kind: Kind::Lines };
        }
        let style = ProgressStyle::with_template("{spinner} {msg} {since}")
            .expect("the template is valid")
            .with_key("since", seconds);
        let spinner = ProgressBar::new_spinner().with_style(style);
        spinner.enable_steady_tick(TICK);
        Self { kind: Kind::Spinner(spinner) }
    }

    /// Reports nothing.
    pub fn silent() -> Self {
        Self { kind: Kind::Silent }
    }

    /// Something has begun that may take a while.
    pub fn step(&self, what: &str) {
        match &self.kind {
            Kind::Spinner(spinner) => {
                spinner.reset_elapsed();
                spinner.set_message(what.to_owned());
            }
            Kind::Lines => eprintln!("{what} …"),
            Kind::Silent => {}
        }
    }

    /// Something is done, and stays visible.
    pub fn done(&self, what: &str) {
        self.note(&format!("✓ {what}"));
    }

    /// A line that stays visible.
    pub fn note(&self, what: &str) {
        match &self.kind {
            Kind::Spinner(spinner) => spinner.suspend(|| eprintln!("{what}")),
            Kind::Lines => eprintln!("{what}"),
            Kind::Silent => {}
        }
    }

    /// Leaves the terminal to `other`, which shows its own progress.
    pub async fn pause<T>(&self, other: impl Future<Output = T>) -> T {
        let Kind::Spinner(spinner) = &self.kind else { return other.await };
        let message = spinner.message();
        spinner.finish_and_clear();
        eprintln!("{message}");
        let result = other.await;
        spinner.reset();
        spinner.enable_steady_tick(TICK);
        result
    }

    /// Takes the spinner away.
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

fn seconds(state: &ProgressState, out: &mut dyn std::fmt::Write) {
    // Nothing can be done about a terminal that takes no text.
    let _written = match state.elapsed().as_secs() {
        0 => Ok(()),
        seconds => write!(out, "({seconds} s)"),
    };
}
