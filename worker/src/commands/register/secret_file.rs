//! The file for the secret of a webhook. Only its owner can read it.

use std::{
    io::Write as _,
    os::unix::fs::OpenOptionsExt as _,
    path::{Path, PathBuf},
};

use aftercall_common::process::config::Secret;

/// Checks that a secret can be written to `path`, before ElevenLabs creates one.
///
/// # Errors
/// The file exists and must not be overwritten, or its folder is not writable.
pub(super) fn check(path: &Path, overwrite: bool) -> Result<(), String> {
    if path.exists() && !overwrite {
        return Err(format!("{} exists; --rotate overwrites it", path.display()));
    }
    let probe = temporary(path);
    create(&probe)
        .and_then(|_| std::fs::remove_file(&probe))
        .map_err(|error| format!("cannot write to {}: {error}", path.display()))
}

/// Writes `secret` to `path`, readable by its owner only. After an error, `path` has its old content.
pub(super) fn write(path: &Path, secret: &Secret) -> std::io::Result<()> {
    let partial = temporary(path);
    let mut file = create(&partial)?;
    file.write_all(secret.expose().as_bytes())?;
    file.write_all(b"\n")?;
    file.sync_all()?;
    std::fs::rename(&partial, path)
}

fn temporary(path: &Path) -> PathBuf {
    let mut name = path.file_name().unwrap_or_default().to_owned();
    name.push(format!(".{}.tmp", std::process::id()));
    path.with_file_name(name)
}

fn create(path: &Path) -> std::io::Result<std::fs::File> {
    std::fs::OpenOptions::new().write(true).create_new(true).mode(0o600).open(path)
}
