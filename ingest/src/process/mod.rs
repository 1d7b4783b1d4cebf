//! What the operating system gives to the process: an inherited socket, and open files.

pub(crate) mod inherited_socket;
pub(crate) mod open_files;
