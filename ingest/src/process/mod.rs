//! Resources that the operating system gives to the process: an inherited socket, and the limit on open
//! files.

pub(crate) mod inherited_socket;
pub(crate) mod open_files;
