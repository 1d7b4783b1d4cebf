//! The Helm chart, rendered with the sets of values in `tests/chart`.
//!
//! Helm itself renders and lints the chart, without a cluster. `python/chart.py` describes the form of a set.

use std::{
    collections::{BTreeMap, BTreeSet},
    path::Path,
};

use serde_json::Value;
use tokio::{process::Command, sync::OnceCell};

use crate::harness::python;

const CHART: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../deploy/helm/aftercall");
const SETS: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/chart");

/// For each set of values, the rendered objects and what is wrong with them.
async fn rendered() -> &'static BTreeMap<String, Value> {
    static RENDERED: OnceCell<BTreeMap<String, Value>> = OnceCell::const_new();
    RENDERED
        .get_or_init(async || {
            let script = include_str!("python/chart.py");
            let printed = python::run_with(&python::DEPLOYMENT, script, &[CHART, SETS], b"").await;
            serde_json::from_str(&printed).unwrap()
        })
        .await
}

#[tokio::test]
async fn chart_renders_what_each_set_of_values_describes() {
    let rendered = rendered().await;
    assert!(rendered.len() >= 20, "{} sets", rendered.len());
    let wrong: BTreeMap<_, _> = rendered
        .iter()
        .map(|(set, result)| (set, &result["wrong"]))
        .filter(|(_, wrong)| !is_empty(wrong))
        .collect();
    assert!(wrong.is_empty(), "{}", serde_json::to_string_pretty(&wrong).unwrap());
}

fn is_empty(list: &Value) -> bool {
    list.as_array().unwrap().is_empty()
}

/// A program and its variables.
type Start = (&'static str, BTreeMap<String, String>);

/// What a container starts. `None` if its program is not Aftercall's.
fn start(container: &Value, secret_file: &Path) -> Option<Start> {
    let program = match container["command"][0].as_str()? {
        "aftercall-ingest" => "gateway",
        "aftercall-worker" => "worker",
        _ => return None,
    };
    // The keys of the secrets that the chart's values name.
    let secrets = [
        ("NATS_URL", "nats://nats:4222"),
        ("MONGODB_URI", "mongodb://mongodb:27017/?replicaSet=rs"),
        ("ELEVENLABS_WEBHOOK_SECRET", "wsec_0123456789abcdef"),
        ("ELEVENLABS_API_KEY", "sk_0123456789abcdef"),
        ("CONSOLE_TOKEN", "0123456789abcdef"),
    ];
    let secrets: BTreeMap<_, _> = secrets.into_iter().collect();
    let mut variables = BTreeMap::from([("CONSOLE_TOKEN".to_owned(), secrets["CONSOLE_TOKEN"].to_owned())]);
    for entry in container["env"].as_array().unwrap() {
        let name = entry["name"].as_str().unwrap();
        let value = match (entry["value"].as_str(), secrets.get(name)) {
            (Some(_), _) if name == "ELEVENLABS_WEBHOOK_SECRET_FILE" => secret_file.to_str().unwrap(),
            (Some(_), _) if name.ends_with("_FILE") => continue, // A file of a secret that a user makes.
            (Some(value), _) => value,
            (None, Some(secret)) => secret,
            (None, None) => continue, // A variable of the user's.
        };
        variables.insert(name.to_owned(), value.to_owned());
    }
    Some((program, variables))
}

#[tokio::test]
async fn gateway_and_worker_accept_the_variables_that_the_chart_sets() {
    let folder = tempfile::tempdir().unwrap();
    let secret_file = folder.path().join("secret");
    std::fs::write(&secret_file, "wsec_0123456789abcdef\n").unwrap();
    let mut starts = BTreeSet::new();
    for result in rendered().await.values() {
        for one in result["objects"].as_array().unwrap() {
            let spec = if one["kind"] == "Pod" { &one["spec"] } else { &one["spec"]["template"]["spec"] };
            let containers = spec["containers"].as_array().into_iter().flatten();
            starts.extend(containers.filter_map(|container| start(container, &secret_file)));
        }
    }
    assert!(starts.len() >= 15, "{} different starts", starts.len());
    for (program, variables) in starts {
        let mut command = Command::new(env!("CARGO_BIN_EXE_aftercall-tests"));
        command.args([program, "--check"]).env_clear().envs(&variables).kill_on_drop(true);
        let output = command.output().await.unwrap();
        let said = String::from_utf8_lossy(&[output.stdout, output.stderr].concat()).into_owned();
        assert!(output.status.success(), "{program} {variables:?}: {said}");
    }
}
