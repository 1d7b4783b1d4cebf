//! Python packages that the tests use: the official SDKs of the vendors, and parsers of deployment files. The
//! tests install them into folders of the checkout.

use std::{path::PathBuf, process::Stdio};

use aftercall_local::servers::shared_services;
use tokio::{io::AsyncWriteExt as _, process::Command, sync::OnceCell};

/// Packages that are installed together.
pub struct Packages {
    /// File with names and versions.
    requirements: &'static str,
    /// Name of the folder, which is next to the downloaded servers.
    folder: &'static str,
    /// Further arguments of `pip install`.
    options: &'static [&'static str],
    installed: OnceCell<PathBuf>,
}

impl Packages {
    /// Packages that `requirements` lists, in a folder of this name. `options`: further arguments of `pip install`.
    pub const fn new(
        requirements: &'static str,
        folder: &'static str,
        options: &'static [&'static str],
    ) -> Self {
        Self { requirements, folder, options, installed: OnceCell::const_new() }
    }
}

/// The official SDKs of the vendors.
pub static VENDORS: Packages =
    Packages::new(concat!(env!("CARGO_MANIFEST_DIR"), "/requirements.txt"), "python", &[]);

/// Parsers of Compose files, Helm charts and Kubernetes objects.
pub static DEPLOYMENT: Packages = Packages::new(
    concat!(env!("CARGO_MANIFEST_DIR"), "/deployment-requirements.txt"),
    "python-deployment",
    &[],
);

/// The official library of Standard Webhooks.
pub static WEBHOOKS: Packages =
    Packages::new(concat!(env!("CARGO_MANIFEST_DIR"), "/webhooks-requirements.txt"), "python-webhooks", &[]);

/// Judge and generator of clients for the description of the API.
pub static OPENAPI: Packages =
    Packages::new(concat!(env!("CARGO_MANIFEST_DIR"), "/openapi-requirements.txt"), "python-openapi", &[]);

/// What the recipes in `deploy/recipes` use.
pub static RECIPES: Packages = Packages {
    requirements: concat!(env!("CARGO_MANIFEST_DIR"), "/recipes-requirements.txt"),
    folder: "python-recipes",
    options: &[],
    installed: OnceCell::const_new(),
};

/// The package that contains axe-core. The tests use only the script in it.
static AXE: Packages = Packages::new(
    concat!(env!("CARGO_MANIFEST_DIR"), "/axe-requirements.txt"),
    "python-axe",
    &["--no-deps", "--require-hashes"],
);

/// The script of axe-core, which checks the accessibility of a page.
pub async fn axe() -> String {
    let script = folder(&AXE).await.join("axe_playwright_python/axe.min.js");
    std::fs::read_to_string(script).unwrap()
}

/// The folder of `packages`. The first call on a machine installs them; other calls, of any process, wait.
pub async fn folder(packages: &'static Packages) -> &'static PathBuf {
    let installing =
        async || tokio::task::spawn_blocking(|| provide(packages)).await.expect("installing does not panic");
    packages.installed.get_or_init(installing).await
}

/// Runs `script` with the SDKs of the vendors; see [`run_with`].
pub async fn run(script: &str, args: &[&str], input: &[u8]) -> String {
    run_with(&VENDORS, script, args, input).await
}

/// Runs `script` with `packages`, `args`, and `input` on standard input. Returns its standard output.
pub async fn run_with(packages: &'static Packages, script: &str, args: &[&str], input: &[u8]) -> String {
    let mut command = Command::new("python3");
    command.env("PYTHONPATH", folder(packages).await).env("PYTHONUTF8", "1");
    command.arg("-c").arg(script).args(args);
    fed(command, input).await
}

/// Runs `command`. Returns what it printed and how it ended.
pub async fn output(mut command: Command) -> std::process::Output {
    command.kill_on_drop(true).stdin(Stdio::null()).output().await.unwrap()
}

/// Runs `command` with `input` on standard input. Returns its standard output.
pub async fn fed(mut command: Command, input: &[u8]) -> String {
    command.kill_on_drop(true);
    command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut child = command.spawn().unwrap();
    let mut stdin = child.stdin.take().unwrap();
    // A script may close standard input before it has read all of it.
    let feed = async move { drop(stdin.write_all(input).await) };
    let ((), output) = tokio::join!(feed, child.wait_with_output());
    let output = output.unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout).unwrap()
}

/// Installs the packages if they are missing. The list of the packages in the folder marks a complete
/// installation.
fn provide(packages: &Packages) -> PathBuf {
    let Packages { requirements, folder, options, .. } = *packages;
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
    // `pip --target` needs neither root nor the package for virtual environments.
    let mut pip = std::process::Command::new("python3");
    pip.args(["-m", "pip", "install", "--quiet", "--disable-pip-version-check", "--no-input"]);
    pip.args(options).args(["--requirement", requirements, "--target"]).arg(&packages);
    pip.env("PIP_REQUIRE_VIRTUALENV", "0").stdin(Stdio::null());
    let output = pip.output().unwrap();
    assert!(output.status.success(), "pip: {}", String::from_utf8_lossy(&output.stderr));
    std::fs::write(&installed, wanted).unwrap(); // Last, because the file marks a complete installation.
    packages
}
