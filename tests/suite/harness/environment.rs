//! What the tests need of the machine: installed programs and the time.

use std::path::PathBuf;

/// The path of an installed program, or `None` if the program is missing. A test that needs it then returns,
/// and a line on standard error says so. If the variable `CI` is set, a missing program fails the test.
pub fn tool(name: &str) -> Option<PathBuf> {
    if name.starts_with('/') {
        return Some(name.into());
    }
    let path = std::env::var_os("PATH").unwrap_or_default();
    let found = std::env::split_paths(&path).map(|folder| folder.join(name)).find(|file| file.is_file());
    assert!(found.is_some() || std::env::var_os("CI").is_none(), "{name} is not on PATH");
    if found.is_none() {
        eprintln!("SKIPPED: {name} is not on PATH");
    }
    found
}

/// A time one hour before the tests began, in seconds since 1970. The worker accepts it as the time of an
/// event.
pub fn recently() -> i64 {
    static BEGIN: std::sync::LazyLock<i64> = std::sync::LazyLock::new(|| jiff::Timestamp::now().as_second());
    *BEGIN - 3600
}
