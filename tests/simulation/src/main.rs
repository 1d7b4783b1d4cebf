//! Simulates many seeds, or one with its diary.

use std::process::ExitCode;

fn main() -> ExitCode {
    aftercall_simulation::command()
}
