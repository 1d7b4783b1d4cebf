//! Clients that standard generators make of the description: TypeScript and Python.

use std::path::Path;

use serde_json::{Value, json};
use tempfile::TempDir;
use tokio::process::Command;

use super::conformance::{TOKEN, stack, store_call};
use crate::harness::{TestStack, node, python};

const DESCRIPTION: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../deploy/openapi.json");
const HERE: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/suite/openapi");

/// A stack with one call.
async fn stack_with_a_call() -> TestStack {
    let stack = stack().start().await;
    store_call(&stack).await;
    stack
}

/// Runs `command` in `folder`. Returns what it printed.
async fn run(mut command: Command, folder: &TempDir) -> String {
    command.current_dir(folder.path()).env("PYTHONDONTWRITEBYTECODE", "1");
    let output = python::output(command).await;
    let (printed, failed) =
        (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    assert!(output.status.success(), "{printed}\n{failed}");
    assert!(!printed.contains("WARNING"), "{printed}");
    printed.into_owned()
}

/// What both clients report of the same calls. `code`: the problem that they provoke.
fn expected(code: &str) -> Value {
    json!({
        "outcomes": ["answered"], "id": "known_conversation", "firstTurn": "Hello?", "placed": "initiated", "code": code,
    })
}

#[tokio::test]
async fn a_typescript_client_reads_and_places_calls() {
    let stack = stack_with_a_call().await;
    let (folder, packages) = (tempfile::tempdir().unwrap(), node::packages().await.join("node_modules"));
    std::fs::copy(Path::new(HERE).join("client.mts"), folder.path().join("client.mts")).unwrap();
    std::os::unix::fs::symlink(&packages, folder.path().join("node_modules")).unwrap();
    let node = async || Command::new(node::program().await);
    let mut generate = node().await;
    generate.arg(packages.join("openapi-typescript/bin/cli.js")).args([
        DESCRIPTION,
        "--output",
        "schema.d.ts",
    ]);
    run(generate, &folder).await;
    let mut compile = node().await;
    compile.arg(packages.join("typescript/bin/tsc"));
    compile.args(["--noEmit", "--strict", "--module", "nodenext", "--target", "es2024", "--types", "node"]);
    compile.args(["--allowImportingTsExtensions", "client.mts"]);
    run(compile, &folder).await;
    let mut client = node().await;
    client.args(["client.mts", &stack.base, TOKEN]);
    let printed: Value = serde_json::from_str(&run(client, &folder).await).unwrap();
    assert_eq!(printed, expected("invalid_request"));
}

#[tokio::test]
async fn a_python_client_reads_and_places_calls() {
    let stack = stack_with_a_call().await;
    let folder = tempfile::tempdir().unwrap();
    let packages = python::folder(&python::OPENAPI).await;
    let mut generate = Command::new("python3");
    generate.env("PYTHONPATH", packages).args(["-m", "openapi_python_client", "generate", "--meta", "none"]);
    generate.args([
        "--path",
        DESCRIPTION,
        "--output-path",
        "aftercall_client",
        "--fail-on-warning",
        "--config",
    ]);
    generate.arg(Path::new(HERE).join("python-client.yml"));
    run(generate, &folder).await;
    let mut client = Command::new("python3");
    client.env("PYTHONPATH", std::env::join_paths([packages, folder.path()]).unwrap());
    client.arg(Path::new(HERE).join("client.py")).args([&stack.base, TOKEN]);
    let printed: Value = serde_json::from_str(&run(client, &folder).await).unwrap();
    assert_eq!(printed, expected("not_found"));
}
