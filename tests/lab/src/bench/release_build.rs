//! Runs the same command with an optimized build. Figures of a debug build are not representative.

use std::{
    path::Path,
    process::{ExitCode, Stdio},
};

use anyhow::{Context as _, ensure};
use tokio::process::Command;

/// Builds the binary with optimizations and runs it with the same arguments. Returns its exit status.
pub async fn run_again() -> anyhow::Result<ExitCode> {
    let workspace = Path::new(env!("CARGO_MANIFEST_DIR")).join("../..");
    eprintln!("building with optimizations …");
    let mut build = Command::new("cargo");
    build.args(["build", "--quiet", "--release", "--locked", "--package", "aftercall-lab"]);
    let done =
        build.current_dir(&workspace).stdin(Stdio::null()).status().await.context("cannot run cargo")?;
    ensure!(done.success(), "cargo build failed");
    let own = std::env::current_exe().context("cannot find the own executable")?;
    let name = own.file_name().context("the own executable has no name")?;
    let target =
        own.parent().and_then(Path::parent).context("the own executable is not in a target folder")?;
    let mut again = Command::new(target.join("release").join(name));
    let status = again.args(std::env::args_os().skip(1)).status();
    let status = status.await.context("cannot run the optimized build")?;
    Ok(ExitCode::from(u8::try_from(status.code().unwrap_or(1)).unwrap_or(1)))
}
