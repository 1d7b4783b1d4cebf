//! Python libraries that judge what is ours, in folders of the tests' own: the vendors' official ones, and those
//! that read files of deployments.

use std::{path::PathBuf, process::Stdio};

use aftercall_local::servers::shared_services;
use tokio::{io::AsyncWriteExt as _, process::Command, sync::OnceCell};

/// Libraries that are installed together.
pub struct Packages {
    /// Their names and versions.
    requirements: &'static str,
    /// Where they are, among the downloaded servers.
    folder: &'static str,
    installed: OnceCell<PathBuf>,
}

/// The vendors' own.
pub static VENDORS: Packages = Packages {
    requirements: concat!(env!("CARGO_MANIFEST_DIR"), "/requirements.txt"),
    folder: "python",
    installed: OnceCell::const_new(),
};

/// Compose, Helm, Kubernetes.
pub static DEPLOYMENT: Packages = Packages {
    requirements: concat!(env!("CARGO_MANIFEST_DIR"), "/deployment-requirements.txt"),
    folder: "python-deployment",
    installed: OnceCell::const_new(),
};

/// Runs `script` with `args` and the vendors' libraries; see [`run_with`].
pub async fn run(script: &str, args: &[&str], input: &[u8]) -> String {
    run_with(&VENDORS, script, args, input).await
}

/// Runs `script` with `args`, gives it `input` on standard input; its standard output.
///
/// The first call on a machine installs `packages`; the others of all processes wait.
pub async fn run_with(packages: &'static Packages, script: &str, args: &[&str], input: &[u8]) -> String {
    let folder = packages.installed.get_or_init(async || {
        tokio::task::spawn_blocking(|| provide(packages)).await.expect("installing does not panic")
    });
    let mut command = Command::new("python3");
    command.env("PYTHONPATH", folder.await).env("PYTHONUTF8", "1");
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

/// The folder of the packages; complete once the list of them is in it.
fn provide(packages: &Packages) -> PathBuf {
    let Packages { requirements, folder, .. } = *packages;
    let services = shared_services();
    std::fs::create_dir_all(&services).unwrap();
    let lock = std::fs::File::options()
        .append(true)
        .create(true)
        .open(services.join(format!("{folder}.lock")))
        .unwrap();
    lock.lock().unwrap();
    let wanted = std::fs::read(requirements).unwrap();
    let packages = services.join(folder);
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
    pip.args(["--requirement", requirements, "--target"]).arg(&packages);
    pip.env("PIP_REQUIRE_VIRTUALENV", "0").stdin(Stdio::null());
    let output = pip.output().unwrap();
    assert!(output.status.success(), "pip: {}", String::from_utf8_lossy(&output.stderr));
    std::fs::write(&installed, wanted).unwrap(); // Last: from here on it counts as installed.
    packages
}
