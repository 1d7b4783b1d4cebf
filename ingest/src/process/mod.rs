//! What the operating system gives this process: the public socket and open files.

pub(crate) mod open_files;
pub(crate) mod socket;
