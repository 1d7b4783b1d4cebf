//! Simulates many seeds, or one seed with a log of its events.

use std::process::ExitCode;

fn main() -> ExitCode {
    aftercall_simulation::command()
}
