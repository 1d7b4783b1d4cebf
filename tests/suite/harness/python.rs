//! The vendors' official Python libraries, in an environment of the tests' own.

use std::{path::PathBuf, process::Stdio};

use aftercall_local::servers::shared_services;
use tokio::{io::AsyncWriteExt as _, process::Command, sync::OnceCell};

const REQUIREMENTS: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/requirements.txt");

/// Runs `script` with `args`, gives it `input` on standard input; its standard output.
///
/// The first call on a machine installs `requirements.txt`; the others of all processes wait.
pub async fn run(script: &str, args: &[&str], input: &[u8]) -> String {
    static PYTHON: OnceCell<PathBuf> = OnceCell::const_new();
    let python = PYTHON
        .get_or_init(async || tokio::task::spawn_blocking(provide).await.expect("installing does not panic"));
    let mut command = Command::new(python.await);
    command.arg("-c").arg(script).args(args).kill_on_drop(true);
    command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut child = command.spawn().unwrap();
    let mut stdin = child.stdin.take().unwrap();
    // A script that reads nothing closes its end early, which is its right.
    let feed = async move { drop(stdin.write_all(input).await) };
    let ((), output) = tokio::join!(feed, child.wait_with_output());
    let output = output.unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout).unwrap()
}

/// The interpreter of the environment; its folder gets its name when it is complete.
fn provide() -> PathBuf {
    let services = shared_services();
    std::fs::create_dir_all(&services).unwrap();
    let lock = std::fs::File::options().append(true).create(true).open(services.join("python.lock")).unwrap();
    lock.lock().unwrap();
    let wanted = std::fs::read(REQUIREMENTS).unwrap();
    let environment = services.join("python");
    let (python, installed) = (environment.join("bin/python"), environment.join("requirements.txt"));
    if std::fs::read(&installed).ok().as_ref() == Some(&wanted) {
        return python;
    }
    let said = |command: &mut std::process::Command| {
        let output = command.stdin(Stdio::null()).output().unwrap();
        assert!(output.status.success(), "{command:?}: {}", String::from_utf8_lossy(&output.stderr));
    };
    said(std::process::Command::new("python3").args(["-m", "venv", "--clear"]).arg(&environment));
    let pip = ["-m", "pip", "install", "--quiet", "--disable-pip-version-check", "-r", REQUIREMENTS];
    said(std::process::Command::new(&python).args(pip));
    std::fs::write(&installed, wanted).unwrap(); // Last: from here on it counts as installed.
    python
}
