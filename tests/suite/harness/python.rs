//! The vendors' official Python libraries, in a folder of the tests' own.

use std::{path::PathBuf, process::Stdio};

use aftercall_local::servers::shared_services;
use tokio::{io::AsyncWriteExt as _, process::Command, sync::OnceCell};

const REQUIREMENTS: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/requirements.txt");
const AXE: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/requirements-axe.txt");

/// Runs `script` with `args`, gives it `input` on standard input; its standard output.
///
/// The first call on a machine installs `requirements.txt`; the others of all processes wait.
pub async fn run(script: &str, args: &[&str], input: &[u8]) -> String {
    static PACKAGES: OnceCell<PathBuf> = OnceCell::const_new();
    let packages = PACKAGES.get_or_init(async || provide("python", REQUIREMENTS, &[]).await);
    let mut command = Command::new("python3");
    command.env("PYTHONPATH", packages.await).env("PYTHONUTF8", "1");
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

/// axe-core, which judges how accessible a page is. Only the script is wanted of its wheel.
pub async fn axe() -> String {
    let packages = provide("axe", AXE, &["--no-deps", "--require-hashes"]).await;
    std::fs::read_to_string(packages.join("axe_playwright_python/axe.min.js")).unwrap()
}

async fn provide(name: &'static str, requirements: &'static str, options: &'static [&str]) -> PathBuf {
    let installing = tokio::task::spawn_blocking(move || install(name, requirements, options));
    installing.await.expect("installing does not panic")
}

/// The folder of the packages; complete once the list of them is in it.
fn install(name: &str, requirements: &str, options: &[&str]) -> PathBuf {
    let services = shared_services();
    std::fs::create_dir_all(&services).unwrap();
    let lock = services.join(format!("{name}.lock"));
    let lock = std::fs::File::options().append(true).create(true).open(lock).unwrap();
    lock.lock().unwrap();
    let wanted = std::fs::read(requirements).unwrap();
    let packages = services.join(name);
    let installed = packages.join("installed.txt");
    if std::fs::read(&installed).ok().as_ref() == Some(&wanted) {
        return packages;
    }
    if packages.exists() {
        std::fs::remove_dir_all(&packages).unwrap();
    }
    // Needs pip, and neither root nor the means to make virtual environments.
    let mut pip = std::process::Command::new("python3");
    pip.args(["-m", "pip", "install", "--quiet", "--disable-pip-version-check", "--no-input"]);
    pip.args(options).args(["--requirement", requirements, "--target"]).arg(&packages);
    pip.env("PIP_REQUIRE_VIRTUALENV", "0").stdin(Stdio::null());
    let output = pip.output().unwrap();
    assert!(output.status.success(), "pip: {}", String::from_utf8_lossy(&output.stderr));
    std::fs::write(&installed, wanted).unwrap(); // Last: from here on it counts as installed.
    packages
}
