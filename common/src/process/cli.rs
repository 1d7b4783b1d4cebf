//! Reading a command line, the same for every binary.

use std::{ffi::OsString, process::ExitCode};

use clap::Parser;

/// Reads `args`, of which the first is the program's name.
///
/// # Errors
/// There is nothing to run: help or version was shown (status 0), or the usage is wrong and was
/// explained (status 2).
pub fn parse<T: Parser>(args: impl IntoIterator<Item = OsString>) -> Result<T, ExitCode> {
    T::try_parse_from(args).map_err(|error| {
        // A closed pipe is no reason to end differently.
        let _shown = error.print();
        ExitCode::from(u8::try_from(error.exit_code()).unwrap_or(2))
    })
}
