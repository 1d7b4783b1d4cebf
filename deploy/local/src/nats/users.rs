//! The users of `deploy/nats/users.conf` with generated passwords.

use std::{
    fmt,
    fs::{self, File, Permissions},
    io::{ErrorKind, Write as _},
    os::unix::fs::{OpenOptionsExt as _, PermissionsExt as _},
    path::Path,
};

use anyhow::Context as _;
use rand::RngExt as _;
use serde::{Deserialize, Serialize};

/// The file of users and their permissions that Aftercall ships.
pub(super) const CONFIG: &str = include_str!("../../../nats/users.conf");

/// A user of the broker.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum User {
    /// Stores webhooks and sends requests to workers.
    Gateway,
    /// Processes stored webhooks.
    Worker,
    /// Has all permissions.
    Operator,
}

impl User {
    /// All users.
    pub const ALL: [Self; 3] = [Self::Gateway, Self::Worker, Self::Operator];

    /// Name of the user.
    pub fn name(self) -> &'static str {
        match self {
            Self::Gateway => "gateway",
            Self::Worker => "worker",
            Self::Operator => "operator",
        }
    }

    /// Variable from which nats-server reads the password of the user.
    pub fn password_variable(self) -> &'static str {
        match self {
            Self::Gateway => "NATS_GATEWAY_PASSWORD",
            Self::Worker => "NATS_WORKER_PASSWORD",
            Self::Operator => "NATS_OPERATOR_PASSWORD",
        }
    }
}

/// The passwords of all users.
#[derive(Clone, PartialEq, Eq, Deserialize, Serialize)]
pub struct UserPasswords {
    gateway: String,
    worker: String,
    operator: String,
}

impl fmt::Debug for UserPasswords {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("UserPasswords(***)")
    }
}

impl UserPasswords {
    /// Generates new passwords.
    pub fn generate() -> Self {
        // The leading letter keeps nats-server from reading a password of digits as a number.
        let password = || format!("p{}", hex::encode(rand::rng().random::<[u8; 16]>()));
        Self { gateway: password(), worker: password(), operator: password() }
    }

    /// Reads the passwords from `file`. If the file does not exist, generates passwords and writes them to it. Only the owner can
    /// read the file.
    ///
    /// Fails if the file cannot be read or written, if its permissions cannot be set, or if its format is unknown.
    pub fn load_or_create(file: &Path) -> anyhow::Result<Self> {
        let file_error =
            || format!("cannot read or write the passwords of nats-server in {}", file.display());
        match fs::read_to_string(file) {
            Ok(text) => {
                fs::set_permissions(file, Permissions::from_mode(0o600)).with_context(file_error)?;
                let format_error = || {
                    format!("{} has an unknown format; remove it to generate new passwords", file.display())
                };
                serde_json::from_str(&text).with_context(format_error)
            }
            Err(error) if error.kind() == ErrorKind::NotFound => {
                let users = Self::generate();
                let mut options = File::options();
                let mut new =
                    options.write(true).create_new(true).mode(0o600).open(file).with_context(file_error)?;
                new.write_all(serde_json::to_string_pretty(&users)?.as_bytes()).with_context(file_error)?;
                Ok(users)
            }
            Err(error) => Err(error).with_context(file_error),
        }
    }

    /// The password of `user`.
    pub fn password(&self, user: User) -> &str {
        match user {
            User::Gateway => &self.gateway,
            User::Worker => &self.worker,
            User::Operator => &self.operator,
        }
    }

    /// The server of `url` with the login of `user`: `nats://USER:PASSWORD@HOST:PORT`. `url` has no path. A login in it is
    /// replaced.
    pub fn url_with_login(&self, user: User, url: &str) -> String {
        let address = url.rsplit(['@', '/']).next().unwrap_or(url);
        format!("nats://{}:{}@{address}", user.name(), self.password(user))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn passwords_are_stable_between_runs_and_readable_only_by_the_owner() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("nats-users.json");
        let users = UserPasswords::load_or_create(&file).unwrap();
        assert_eq!(UserPasswords::load_or_create(&file).unwrap(), users);
        assert_eq!(fs::metadata(&file).unwrap().permissions().mode() & 0o777, 0o600);
        assert_ne!(users, UserPasswords::generate());
        let password = users.password(User::Worker);
        assert!(
            password.starts_with('p') && password.len() == 33 && !format!("{users:?}").contains(password)
        );
        for url in ["nats://127.0.0.1:4222", "nats://other:login@127.0.0.1:4222"] {
            let login = users.url_with_login(User::Worker, url);
            assert_eq!(login, format!("nats://worker:{password}@127.0.0.1:4222"));
        }
        fs::write(&file, "{}").unwrap();
        assert!(UserPasswords::load_or_create(&file).unwrap_err().to_string().contains("remove it"));
    }
}
