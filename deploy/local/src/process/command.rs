//! Describes a program to start.

use std::{
    ffi::{OsStr, OsString},
    net::TcpListener,
    path::PathBuf,
    sync::Arc,
};

/// A program with its arguments, environment and log file.
#[derive(Clone, Debug)]
pub struct Command {
    pub(super) name: String,
    pub(super) program: PathBuf,
    pub(super) args: Vec<OsString>,
    pub(super) env: Vec<(OsString, OsString)>,
    pub(super) clean_env: bool,
    pub(super) log: PathBuf,
    pub(super) remove: Option<PathBuf>,
    pub(super) socket: Option<Arc<TcpListener>>,
}

impl Command {
    /// Runs `program`, which messages call `name`, and appends its output to the file `log`.
    pub fn new(name: impl Into<String>, program: impl Into<PathBuf>, log: impl Into<PathBuf>) -> Self {
        Self {
            name: name.into(),
            program: program.into(),
            args: Vec::new(),
            env: Vec::new(),
            clean_env: false,
            log: log.into(),
            remove: None,
            socket: None,
        }
    }

    /// Changes the name in messages.
    #[must_use]
    pub fn name(mut self, name: impl Into<String>) -> Self {
        self.name = name.into();
        self
    }

    /// Adds one argument.
    #[must_use]
    pub fn arg(mut self, arg: impl AsRef<OsStr>) -> Self {
        self.args.push(arg.as_ref().to_owned());
        self
    }

    /// Adds arguments.
    #[must_use]
    pub fn args(mut self, args: impl IntoIterator<Item = impl AsRef<OsStr>>) -> Self {
        self.args.extend(args.into_iter().map(|arg| arg.as_ref().to_owned()));
        self
    }

    /// Sets an environment variable.
    #[must_use]
    pub fn env(mut self, name: impl AsRef<OsStr>, value: impl AsRef<OsStr>) -> Self {
        self.env.push((name.as_ref().to_owned(), value.as_ref().to_owned()));
        self
    }

    /// Sets several environment variables.
    #[must_use]
    pub fn envs<N: AsRef<OsStr>, V: AsRef<OsStr>>(self, vars: impl IntoIterator<Item = (N, V)>) -> Self {
        vars.into_iter().fold(self, |command, (name, value)| command.env(name, value))
    }

    /// Starts the program without the variables of this process.
    #[must_use]
    pub fn clean_env(mut self) -> Self {
        self.clean_env = true;
        self
    }

    /// Passes a listening socket to the program by systemd's protocol (`LISTEN_FDS`). Several programs may
    /// share it.
    #[must_use]
    pub fn socket(mut self, socket: Arc<TcpListener>) -> Self {
        self.socket = Some(socket);
        self.env("LISTEN_FDS", "1")
    }

    /// Makes the guard remove `directory` after it had to stop the program because this process is gone.
    #[must_use]
    pub fn remove(mut self, directory: impl Into<PathBuf>) -> Self {
        self.remove = Some(directory.into());
        self
    }
}
