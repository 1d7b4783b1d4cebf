//! Finds nats-server and mongod: on `PATH`, else in the services folder, downloaded on first use.
//!
//! `up` looks for a program only if `NATS_URL` or `MONGODB_URI` is unset.

use std::path::{Path, PathBuf};

use anyhow::Context as _;

pub use crate::programs::{MONGOD, NATS, Program};
use crate::{caller::Caller, config::Config, download, progress::Progress};

/// The folder of downloaded programs in the data folder `data`.
pub fn services_dir(data: &Path) -> PathBuf {
    data.join("services")
}

/// The services folder of this workspace, `.aftercall/services`. All test runs share it.
pub fn shared_services() -> PathBuf {
    services_dir(&Caller::Cargo.data_folder())
}

/// Path of `program`: on `PATH` if its version is supported, else in the folder `services`, downloaded on
/// first use.
///
/// Several processes may call this function at the same time: one process downloads, the others wait.
pub async fn locate(program: &'static Program, services: &Path) -> anyhow::Result<PathBuf> {
    locate_with(program, &Config::from_env()?.path, services, &Progress::silent()).await
}

/// [`locate`] with an explicit `PATH`, and with progress messages.
pub(crate) async fn locate_with(
    program: &'static Program,
    path: &str,
    services: &Path,
    progress: &Progress,
) -> anyhow::Result<PathBuf> {
    if let Some(file) = find_on_path(program.name, path) {
        let (major, minor) = program.minimum;
        match version(&file).await {
            Some(found) if found >= program.minimum => return Ok(file),
            Some((found_major, found_minor)) => progress.note(&format!(
                "{} is not used: its version is {found_major}.{found_minor}, the minimum is {major}.{minor}",
                file.display()
            )),
            None => progress.note(&format!("{} is not used: it does not print its version", file.display())),
        }
    }
    download::provide(program, services, progress).await
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
    fn version_is_read_from_program_output() {
        assert_eq!(parse_version("nats-server: v2.15.1\n"), Some((2, 15)));
        assert_eq!(parse_version("db version v6.0.5\nBuild Info: {"), Some((6, 0)));
        assert_eq!(parse_version("nats-server: v2.9.10"), Some((2, 9)));
        assert_eq!(parse_version("usage: very bad"), None);
    }
}
