//! The file with the secrets of the webhook, one per line, the newest first. Only its owner can read it.
//!
//! The gateway reads the file by `ELEVENLABS_WEBHOOK_SECRET_FILE`. Invariant: the file is replaced as a whole,
//! so that a reader sees the old or the new content.

use std::{
    fs::File,
    io::{Read as _, Write as _},
    os::unix::fs::OpenOptionsExt as _,
    path::{Path, PathBuf},
};

use aftercall_common::process::config::Secret;

use super::error::RegisterError;

/// Longest secret that is kept as the previous one, in bytes.
const MAX_SECRET: u64 = 512;

/// The file that a setting names.
#[derive(Clone, Debug)]
pub struct SecretFile {
    /// The path of the file.
    pub path: PathBuf,
    /// The setting, for errors.
    pub setting: &'static str,
    /// Whether the file must not exist yet.
    pub must_be_new: bool,
}

impl SecretFile {
    /// Whether the file exists.
    pub fn exists(&self) -> bool {
        self.path.exists()
    }

    /// Checks that a secret can be saved, before ElevenLabs creates one.
    ///
    /// # Errors
    /// The file exists and must be new, or its folder is not writable.
    pub fn check(&self) -> Result<(), RegisterError> {
        if self.must_be_new && self.exists() {
            return Err(self.error(format!("{} exists; --rotate replaces it", self.path.display())));
        }
        let probe = self.temporary();
        create(&probe).and_then(|_| std::fs::remove_file(&probe)).map_err(|error| self.cannot_write(&error))
    }

    /// Writes `secret`, and after it the previous secret of the file, because webhooks that are on their way
    /// carry its signature. After an error, the file has its old content.
    ///
    /// # Errors
    /// The file cannot be written.
    pub fn save(&self, secret: &Secret) -> Result<(), RegisterError> {
        let text = match newest(&self.path).filter(|previous| previous != secret.expose()) {
            Some(previous) => format!("{}\n{previous}\n", secret.expose()),
            None => format!("{}\n", secret.expose()),
        };
        let partial = self.temporary();
        let written = write_synced(&partial, &text).and_then(|()| std::fs::rename(&partial, &self.path));
        if let Err(error) = written {
            let _gone = std::fs::remove_file(&partial);
            return Err(self.cannot_write(&error));
        }
        // The rename survives a power cut only after this. The file itself is complete in any case.
        if let Some(Ok(folder)) = self.path.parent().map(File::open) {
            let _synced = folder.sync_all();
        }
        Ok(())
    }

    /// A path in the same folder that no other process uses.
    fn temporary(&self) -> PathBuf {
        let mut name = self.path.file_name().unwrap_or_default().to_owned();
        name.push(format!(".{:016x}.tmp", rand::random::<u64>()));
        self.path.with_file_name(name)
    }

    fn cannot_write(&self, error: &std::io::Error) -> RegisterError {
        self.error(format!("cannot write {}: {error}", self.path.display()))
    }

    fn error(&self, reason: String) -> RegisterError {
        RegisterError::Secret { setting: self.setting, reason }
    }
}

/// The newest secret in the file, if the file holds one.
fn newest(path: &Path) -> Option<String> {
    let mut text = String::new();
    File::open(path).ok()?.take(MAX_SECRET).read_to_string(&mut text).ok()?;
    let first = text.lines().next()?.trim();
    (!first.is_empty() && first.bytes().all(|byte| byte.is_ascii_graphic())).then(|| first.to_owned())
}

fn write_synced(path: &Path, text: &str) -> std::io::Result<()> {
    let mut file = create(path)?;
    file.write_all(text.as_bytes())?;
    file.sync_all()
}

fn create(path: &Path) -> std::io::Result<File> {
    std::fs::OpenOptions::new().write(true).create_new(true).mode(0o600).open(path)
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt as _;

    use super::*;

    #[test]
    fn a_saved_secret_keeps_its_predecessor_and_leaves_no_other_file() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("secret");
        let file = SecretFile { path: path.clone(), setting: "SECRET_FILE", must_be_new: false };
        for (secret, content) in [
            ("wsec_a", "wsec_a\n"),
            ("wsec_b", "wsec_b\nwsec_a\n"),
            ("wsec_b", "wsec_b\n"),
            ("wsec_c", "wsec_c\nwsec_b\n"),
        ] {
            file.check().unwrap();
            file.save(&Secret::new(secret)).unwrap();
            assert_eq!(std::fs::read_to_string(&path).unwrap(), content);
            assert_eq!(std::fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
        }
        assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 1);

        let new = SecretFile { must_be_new: true, ..file.clone() };
        assert!(new.check().unwrap_err().to_string().contains("exists"));
        let nowhere = SecretFile { path: folder.path().join("none/secret"), ..file };
        let error = nowhere.check().unwrap_err().to_string();
        assert!(error.starts_with("SECRET_FILE: cannot write"), "{error}");
        assert!(!nowhere.save(&Secret::new("wsec_d")).unwrap_err().to_string().contains("wsec_d"));
    }
}
