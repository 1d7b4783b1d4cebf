//! The files in `deploy/`: valid, and in agreement with the code.
//!
//! The tests need no container engine and no cluster: they validate image, Compose file and chart offline,
//! and run the content of the image in a chroot.

use std::{collections::BTreeSet, os::unix::fs::MetadataExt as _, path::Path};

use aftercall_common::contract::streams;
use aftercall_local::{nats::User, ports};
use serde_json::{Value, json};
use tokio::{process::Command, sync::OnceCell};

use crate::harness::{CALL_STATUS, Service, python, servers, test_timeout, tool, until_equal};

const DEPLOY: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../deploy");

/// The services of the Compose file.
const GATEWAYS: [&str; 2] = ["ingest-1", "ingest-2"];
const WORKERS: [&str; 2] = ["worker-1", "worker-2"];

fn file(path: &str) -> String {
    std::fs::read_to_string(format!("{DEPLOY}/{path}")).unwrap()
}

/// The parsed files, as `python/deployment.py` prints them.
async fn parsed() -> &'static Value {
    static PARSED: OnceCell<Value> = OnceCell::const_new();
    PARSED
        .get_or_init(async || {
            let script = include_str!("python/deployment.py");
            let printed = python::run_with(&python::DEPLOYMENT, script, &[DEPLOY], b"").await;
            serde_json::from_str(&printed).unwrap()
        })
        .await
}

/// The object of this kind whose name ends with `name`.
fn object<'a>(objects: &'a Value, kind: &str, name: &str) -> &'a Value {
    let fits = |one: &&Value| {
        one["kind"] == kind && one["metadata"]["name"].as_str().is_some_and(|found| found.ends_with(name))
    };
    objects.as_array().unwrap().iter().find(fits).unwrap_or_else(|| panic!("no {kind} {name}"))
}

/// The seconds of a duration in seconds or minutes: `10s`, `1m`.
fn seconds(text: &str) -> u64 {
    let (number, unit) = text.split_at(text.len() - 1);
    let seconds = match unit {
        "s" => 1,
        "m" => 60,
        _ => panic!("a duration in neither seconds nor minutes: {text}"),
    };
    number.parse::<u64>().unwrap() * seconds
}

/// The value of a variable, from an environment that is an object or a list.
fn variable<'a>(environment: &'a Value, name: &str) -> Option<&'a str> {
    match environment {
        Value::Object(map) => map.get(name)?.as_str(),
        Value::Array(list) => list.iter().find(|entry| entry["name"] == name)?["value"].as_str(),
        _ => None,
    }
}

#[tokio::test]
async fn compose_file_and_chart_are_valid() {
    let parsed = parsed().await;
    let services: BTreeSet<_> = parsed["compose"]["services"].as_object().unwrap().keys().collect();
    let wanted = [
        "alertmanager",
        "caddy",
        "console",
        "grafana",
        "ingest-1",
        "ingest-2",
        "mongodb",
        "nats",
        "prometheus",
        "worker-1",
        "worker-2",
    ];
    assert_eq!(services, wanted.map(str::to_owned).iter().collect());
    let kinds = |objects: &Value| -> Vec<String> {
        let kinds = objects.as_array().unwrap().iter().map(|one| one["kind"].as_str().unwrap().to_owned());
        kinds.collect::<BTreeSet<_>>().into_iter().collect()
    };
    let usual = [
        "Deployment",
        "NetworkPolicy",
        "Pod",
        "PodDisruptionBudget",
        "Service",
        "ServiceAccount",
        "StatefulSet",
    ];
    assert_eq!(kinds(&parsed["default"]), usual);
    let all = [
        "Deployment",
        "Ingress",
        "NetworkPolicy",
        "Pod",
        "PodDisruptionBudget",
        "PodMonitor",
        "PrometheusRule",
        "ScaledObject",
        "Service",
        "ServiceAccount",
    ];
    assert_eq!(kinds(&parsed["everything"]), all);
    // The chart contains the rules that promtool tests.
    let rule = object(&parsed["everything"], "PrometheusRule", "calls");
    assert_eq!(rule["spec"]["groups"], parsed["alerts"]["groups"]);
}

#[tokio::test]
async fn deployment_settings_agree_with_the_code() {
    let parsed = parsed().await;
    let compose = &parsed["compose"]["services"];
    let [webhooks, ..] = streams::streams(3);
    // The number of replicas is the number of servers.
    assert_eq!(parsed["values"]["nats"]["replicas"], webhooks.num_replicas);
    assert_eq!(parsed["natsValues"]["config"]["cluster"]["replicas"], webhooks.num_replicas);
    assert_eq!(file("nats/cluster.conf").matches("nats://nats-").count(), webhooks.num_replicas);
    let monitors = parsed["values"]["nats"]["monitorUrl"].as_str().unwrap();
    assert_eq!(monitors.split(',').count(), webhooks.num_replicas, "each server needs its own URL");
    for service in GATEWAYS.into_iter().chain(WORKERS) {
        assert_eq!(variable(&compose[service]["environment"], "STREAM_REPLICAS"), Some("1"), "one server");
    }
    // Every broker syncs before it acknowledges. A full stream refuses messages.
    for name in ["nats/nats.conf", "nats/cluster.conf"] {
        let settings = file(name);
        assert!(settings.lines().any(|line| line.trim() == "sync_interval: always"), "{name}");
        assert!(!settings.contains("discard"), "{name}: the streams set the discard policy");
    }
    assert_eq!(parsed["natsValues"]["config"]["jetstream"]["merge"]["sync_interval"], "always");
    assert_eq!(webhooks.discard, async_nats::jetstream::stream::DiscardPolicy::New);

    // Every broker has users, and each process has its own user.
    for name in ["nats/nats.conf", "nats/cluster.conf"] {
        assert!(file(name).lines().any(|line| line == "include ./users.conf"), "{name}");
    }
    for (service, user) in [(GATEWAYS[0], User::Gateway), (WORKERS[0], User::Worker)] {
        let url = variable(&compose[service]["environment"], "NATS_URL").unwrap();
        let login = format!("nats://{}:${{{}:?", user.name(), user.password_variable());
        assert!(url.starts_with(&login), "{url}");
    }
    for user in User::ALL {
        assert!(file("nats/users.conf").contains(&format!("${}\n", user.password_variable())));
        assert!(variable(&compose["nats"]["environment"], user.password_variable()).is_some());
        assert!(parsed["natsValues"]["container"]["env"][user.password_variable()].is_object());
    }
    let environment = |object: &Value| object["spec"]["template"]["spec"]["containers"][0]["env"].clone();
    for (name, user) in [("calls-ingest", "gateway"), ("calls-worker", "worker")] {
        let environment = environment(object(&parsed["everything"], "Deployment", name));
        let url = environment.as_array().unwrap().iter().find(|entry| entry["name"] == "NATS_URL").unwrap();
        assert_eq!(url["valueFrom"]["secretKeyRef"], json!({ "name": "logins", "key": user }));
    }

    // The scaler uses the consumer of the workers.
    let scaler = object(&parsed["everything"], "ScaledObject", "calls-worker");
    let trigger = &scaler["spec"]["triggers"][0]["metadata"];
    assert_eq!(trigger["stream"], streams::WEBHOOKS);
    assert_eq!(trigger["consumer"], streams::consumer::STATUS);
    let lag: i64 = trigger["lagThreshold"].as_str().unwrap().parse().unwrap();
    let consumers = streams::consumers();
    let (_, status) = consumers.iter().find(|(stream, _)| *stream == streams::WEBHOOKS).unwrap();
    assert!(
        lag < status.max_ack_pending,
        "unacknowledged messages alone must be able to reach the threshold"
    );
    assert!(scaler["spec"]["minReplicaCount"].as_i64().unwrap() >= 1);
    let worker = object(&parsed["everything"], "Deployment", "calls-worker");
    assert_eq!(
        worker["spec"]["replicas"],
        Value::Null,
        "the chart must not set the replicas that the scaler sets"
    );

    // The dashboard uses the names of a stream and of a consumer.
    let dashboard = file("grafana/dashboards/aftercall.json");
    for (label, name) in [("stream", streams::DEAD_LETTERS), ("consumer", streams::consumer::STATUS)] {
        assert!(dashboard.contains(&format!("{{{label}=\\\"{name}\\\"}}")), "{label} {name}");
    }

    // A stopping gateway gets the time that its settings need.
    let default = object(&parsed["default"], "StatefulSet", "calls-ingest");
    let with_all_options = object(&parsed["everything"], "Deployment", "calls-ingest");
    for gateway in [default, with_all_options] {
        let pod = &gateway["spec"]["template"]["spec"];
        let environment = &pod["containers"][0]["env"];
        let time = |name: &str| seconds(variable(environment, name).unwrap());
        let needed = 2 * time("SHUTDOWN_DELAY") + time("SHUTDOWN_GRACE");
        let given = pod["terminationGracePeriodSeconds"].as_u64().unwrap();
        assert!(given > needed, "{given} s for {needed} s");
        let probe = pod["containers"][0]["readinessProbe"]["periodSeconds"].as_u64().unwrap();
        assert!(time("SHUTDOWN_DELAY") >= 2 * probe, "the delay is shorter than two probes");
    }
    let delay = seconds(variable(&compose[GATEWAYS[0]]["environment"], "SHUTDOWN_DELAY").unwrap());
    let given = seconds(compose[GATEWAYS[0]]["stop_grace_period"].as_str().unwrap());
    // SHUTDOWN_GRACE is 20 s by default.
    assert!(given > 2 * delay + 20, "{given} s for twice {delay} s and 20 s");

    // A gateway holds bodies of MAX_INFLIGHT_BYTES (256 MiB), a worker one of MAX_BODY_BYTES (32 MiB). The limit leaves
    // room for the process.
    for objects in [&parsed["default"], &parsed["everything"]] {
        for container in objects.as_array().unwrap().iter().flat_map(|one| {
            one["spec"]["template"]["spec"]["containers"].as_array().cloned().unwrap_or_default()
        }) {
            assert_eq!(container["resources"]["limits"]["memory"], "512Mi");
            let safe = &container["securityContext"];
            assert!(safe["readOnlyRootFilesystem"] == true && safe["allowPrivilegeEscalation"] == false);
        }
    }
}

#[tokio::test]
async fn every_variable_in_deployment_files_exists() {
    let parsed = parsed().await;
    let described = file("CONFIGURATION.md");
    let mut names = BTreeSet::new();
    for service in GATEWAYS.into_iter().chain(WORKERS) {
        let environment = parsed["compose"]["services"][service]["environment"].as_object().unwrap();
        names.extend(environment.keys().cloned());
    }
    for objects in [&parsed["default"], &parsed["everything"]] {
        for one in objects.as_array().unwrap() {
            let containers = one["spec"]["template"]["spec"]["containers"].as_array();
            for entry in containers.into_iter().flatten().flat_map(|c| c["env"].as_array().unwrap()) {
                names.insert(entry["name"].as_str().unwrap().to_owned());
            }
        }
    }
    for unit in ["ingest", "worker"] {
        let unit = file(&format!("systemd/aftercall-{unit}@.service"));
        let set = unit.lines().filter_map(|line| line.strip_prefix("Environment=")?.split_once('='));
        names.extend(set.map(|(name, _)| name.to_owned()));
    }
    let example = file("compose/aftercall.env.example");
    let lines = example.lines().filter(|line| !line.starts_with('#'));
    names.extend(lines.filter_map(|line| Some(line.split_once('=')?.0.to_owned())));
    assert!(names.len() > 20, "{names:?}");
    for name in names {
        assert!(described.contains(&format!("`{name}`")), "{name} is not in deploy/CONFIGURATION.md");
    }
}

#[tokio::test]
async fn broker_with_the_shipped_settings_is_graded_synced() {
    let folder = tempfile::tempdir().unwrap();
    let (port, monitor) = (ports::free().unwrap(), ports::free().unwrap());
    let settings = file("nats/nats.conf")
        .replace("port: 4222", &format!("listen: \"127.0.0.1:{port}\""))
        .replace("http_port: 8222", &format!("http: \"127.0.0.1:{monitor}\""))
        .replace("store_dir: /data", &format!("store_dir: \"{}\"", folder.path().join("data").display()));
    // nats-server takes the passwords from its environment. The test writes them into the file.
    let users = file("nats/users.conf");
    let users = ["GATEWAY", "WORKER", "OPERATOR"]
        .iter()
        .fold(users, |users, user| users.replace(&format!("$NATS_{user}_PASSWORD"), "p4ss"));
    std::fs::write(folder.path().join("users.conf"), users).unwrap();
    let path = folder.path().join("nats.conf");
    std::fs::write(&path, &settings).unwrap();
    let mut broker = servers::nats_with(&path, folder.path()).await;
    let (public, admin) = (ports::free().unwrap(), ports::free().unwrap());
    let vars = [
        ("LISTEN_ADDR", format!("127.0.0.1:{public}")),
        ("ADMIN_ADDR", format!("127.0.0.1:{admin}")),
        ("NATS_URL", format!("nats://gateway:p4ss@127.0.0.1:{port}")),
        ("NATS_MONITOR_URL", format!("http://127.0.0.1:{monitor}")),
    ]
    .map(|(name, value)| (name.to_owned(), value));
    let mut gateway = Service::start(Service::command("gateway", folder.path(), &vars), admin).await;
    let http = aftercall_local::http_client(test_timeout()).unwrap();
    gateway.until_ready(&http).await;
    let body = json!({ "event_type": "call.busy", "call_id": "c" }).to_string();
    let answer =
        http.post(format!("http://127.0.0.1:{public}{CALL_STATUS}")).body(body).send().await.unwrap();
    assert_eq!(answer.status(), 200);
    let graded =
        async || gateway.metrics(&http).await.contains("aftercall_durability_grade{grade=\"synced\"} 1");
    until_equal("graded synced", true, graded).await;
    broker.kill().unwrap();
}

/// Runs a program with `deploy/` as its working directory. Returns whether it succeeded, and its output. `None` if the program is
/// missing.
async fn run(program: &str, arguments: &[&str], vars: &[(&str, &str)]) -> Option<(bool, String)> {
    let mut command = Command::new(tool(program)?);
    command.args(arguments).envs(vars.iter().copied()).current_dir(DEPLOY).kill_on_drop(true);
    let output = command.output().await.unwrap();
    let said = String::from_utf8_lossy(&[output.stdout, output.stderr].concat()).into_owned();
    Some((output.status.success(), said))
}

#[tokio::test]
async fn caddy_and_alertmanager_accept_their_configuration() {
    for domain in ["localhost", "hooks.example.com"] {
        let home = tempfile::tempdir().unwrap();
        let vars = [("DOMAIN", domain), ("HOME", home.path().to_str().unwrap())];
        let arguments = ["validate", "--adapter", "caddyfile", "--config", "compose/Caddyfile"];
        let Some((right, said)) = run("caddy", &arguments, &vars).await else { return };
        assert!(right, "{said}");
    }
    let Some((right, said)) = run("amtool", &["check-config", "prometheus/alertmanager.yml"], &[]).await
    else {
        return;
    };
    assert!(right, "{said}");
}

#[test]
fn inhibitions_name_existing_alerts() {
    let (alerts, routes) = (file("prometheus/alerts.yml"), file("prometheus/alertmanager.yml"));
    let names = routes.split(|c: char| !c.is_alphanumeric()).filter(|word| word.starts_with("Aftercall"));
    let names: BTreeSet<_> = names.collect();
    assert!(!names.is_empty());
    for name in names {
        assert!(alerts.contains(&format!("- alert: {name}\n")), "{name}");
    }
}

/// Highest exposure of a unit, on the scale of `systemd-analyze security` from 0 to 10. The web servers of
/// Debian have about 9.
const MAX_EXPOSURE: f64 = 1.5;

#[tokio::test]
async fn systemd_units_are_valid_and_expose_little() {
    // The programs are replaced by `/bin/true`, because `verify` requires that they exist.
    let folder = tempfile::tempdir().unwrap();
    for unit in ["aftercall-ingest.socket", "aftercall-ingest@.service", "aftercall-worker@.service"] {
        let text = file(&format!("systemd/{unit}"));
        let text = ["ingest", "worker"]
            .iter()
            .fold(text, |text, part| text.replace(&format!("/usr/local/bin/aftercall-{part}"), "/bin/true"));
        std::fs::write(folder.path().join(unit), text).unwrap();
    }
    let path = format!("{}:/lib/systemd/system:/usr/lib/systemd/system", folder.path().display());
    let vars = [("SYSTEMD_UNIT_PATH", path.as_str())];
    for unit in ["aftercall-ingest@1.service", "aftercall-worker@1.service"] {
        let arguments = ["verify", "--man=no", "--recursive-errors=one", unit];
        let Some((right, said)) = run("systemd-analyze", &arguments, &vars).await else { return };
        assert!(right, "{unit}: {said}");
        let arguments = ["security", "--offline=true", "--no-pager", unit];
        let (_, said) = run("systemd-analyze", &arguments, &vars).await.unwrap();
        let level = said
            .lines()
            .rev()
            .find_map(|line| line.split(": ").nth(1)?.split(' ').next()?.parse::<f64>().ok());
        assert!(level.is_some_and(|level| level <= MAX_EXPOSURE), "{unit}: {level:?}\n{said}");
    }
}

#[tokio::test]
async fn image_content_runs_in_a_chroot() {
    let has = |line: &str| file("Dockerfile").contains(line);
    assert!(has("deploy/rootfs /rootfs target/release/aftercall-ingest target/release/aftercall-worker"));
    assert!(has("FROM scratch") && has("USER 65532:65532"));
    if std::fs::metadata("/proc/self").unwrap().uid() != 0 {
        eprintln!("SKIPPED: a chroot needs root");
        return;
    }
    let folder = tempfile::tempdir().unwrap();
    let root = folder.path().join("root");
    let binary = env!("CARGO_BIN_EXE_aftercall-tests");
    let arguments = [root.to_str().unwrap(), binary];
    let (right, said) = run(&format!("{DEPLOY}/rootfs"), &arguments, &[])
        .await
        .unwrap_or_else(|| panic!("deploy/rootfs is missing"));
    assert!(right, "{said}");
    let chroot = tool("chroot").unwrap();
    let inside = |arguments: &[&str]| {
        let mut command = Command::new(&chroot);
        command.arg("--userspec=65532:65532").arg(&root).env_clear().env("PATH", "/usr/local/bin");
        command.env("ALLOW_UNSIGNED", "true");
        command.arg(format!("/usr/local/bin/{}", Path::new(binary).file_name().unwrap().to_str().unwrap()));
        command.args(arguments).kill_on_drop(true);
        command
    };
    for part in ["gateway", "worker"] {
        let output = inside(&[part, "--check"]).output().await.unwrap();
        let said = String::from_utf8_lossy(&output.stdout);
        assert!(output.status.success() && said.contains("configuration is valid"), "{said}");
    }
    // The gateway starts without its broker, and answers its own health check.
    let admin = format!("127.0.0.1:{}", ports::free().unwrap());
    let mut gateway = inside(&["gateway"]);
    gateway
        .env("ADMIN_ADDR", &admin)
        .env("LISTEN_ADDR", "127.0.0.1:0")
        .env("SPOOL_DIR", "/var/lib/aftercall/spool");
    gateway.env("NATS_URL", "nats://broker.invalid:4222");
    let mut running = gateway.spawn().unwrap();
    let healthy = async || {
        let output = inside(&["gateway", "--healthcheck"]).env("ADMIN_ADDR", &admin).output().await.unwrap();
        (output.status.code(), String::from_utf8_lossy(&output.stdout).contains("\"ready\":true"))
    };
    until_equal("the gateway's health", (Some(0), true), healthy).await;
    running.kill().await.unwrap();
    assert_eq!(healthy().await, (Some(1), false));
}
