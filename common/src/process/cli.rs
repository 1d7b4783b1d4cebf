//! Parses the command line of a binary.

use std::{ffi::OsString, process::ExitCode};

use clap::Parser;

/// Parses `args`. The first one is the name of the program.
///
/// # Errors
/// The exit status, if there is nothing to run: 0 after help or version was printed, 2 after a usage error
/// was printed.
pub fn parse<T: Parser>(args: impl IntoIterator<Item = OsString>) -> Result<T, ExitCode> {
    T::try_parse_from(args).map_err(|error| {
        // A closed pipe does not change the exit status.
        let _printed = error.print();
        ExitCode::from(u8::try_from(error.exit_code()).unwrap_or(2))
    })
}
