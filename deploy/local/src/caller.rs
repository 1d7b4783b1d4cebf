//! How the binary was called: by `cargo local` in a workspace, or installed as `aftercall`.

use std::{
    ffi::OsStr,
    path::{Path, PathBuf},
};

/// The name of the installed program.
const INSTALLED: &str = "aftercall";

/// How the binary was called.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Caller {
    /// By `cargo local` or by a test.
    Cargo,
    /// As the installed program `aftercall`.
    Installed,
}

impl Caller {
    /// The caller of `program`, the first argument of the process.
    pub fn of(program: &OsStr) -> Self {
        if Path::new(program).file_name() == Some(OsStr::new(INSTALLED)) {
            Self::Installed
        } else {
            Self::Cargo
        }
    }

    /// The words that a user types before `up`, `send` or `reset`.
    pub fn command(self) -> &'static str {
        match self {
            Self::Cargo => "cargo local",
            Self::Installed => "aftercall local",
        }
    }

    /// The folder for data if the user names none: `.aftercall` at the root of the workspace that this binary was
    /// built from, or `aftercall` in the user's folder for data (XDG base directory specification).
    pub fn data_folder(self) -> PathBuf {
        let here = || PathBuf::from(".aftercall");
        match self {
            Self::Cargo => {
                let workspace = Path::new(concat!(env!("CARGO_MANIFEST_DIR"), "/../.."));
                workspace.canonicalize().map_or_else(|_gone| here(), |workspace| workspace.join(here()))
            }
            Self::Installed => {
                let folder = |name: &str| std::env::var_os(name).map(PathBuf::from);
                let of_user = folder("XDG_DATA_HOME").filter(|folder| folder.is_absolute());
                let of_user = of_user.or_else(|| Some(folder("HOME")?.join(".local/share")));
                of_user.map_or_else(here, |of_user| of_user.join("aftercall"))
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_name_of_the_program_decides() {
        for (program, caller) in [
            ("/usr/bin/aftercall", Caller::Installed),
            ("aftercall", Caller::Installed),
            ("target/debug/aftercall-local", Caller::Cargo),
            ("aftercall/target/debug/aftercall-tests", Caller::Cargo),
        ] {
            assert_eq!(Caller::of(OsStr::new(program)), caller, "{program}");
        }
    }
}
