//! The commands of `cargo local`: `up`, `send` and `reset`.

use std::{
    collections::BTreeSet,
    fs::Permissions,
    os::unix::fs::PermissionsExt as _,
    path::{Path, PathBuf},
    process::{Output, Stdio},
};

use aftercall_local::{ports, servers::shared_services};
use serde_json::Value;
use tokio::process::{Child, Command};

use crate::harness::{until, within};

/// Variables that a developer may have set, and that must not influence a test.
const VARIABLES: [&str; 10] = [
    "NATS_URL",
    "MONGODB_URI",
    "ELEVENLABS_API_KEY",
    "ELEVENLABS_BASE_URL",
    "ALLOWED_SOURCES",
    "ALLOW_UNSIGNED",
    "API_ANONYMOUS",
    "API_TOKEN",
    "CONSOLE_PASSWORD",
    "CONSOLE_TOKEN",
];

/// The tests' copy of the `cargo local` binary, with data in `data` and servers from the checkout.
fn local(data: &Path) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_aftercall-tests"));
    command.arg("--data").arg(data).kill_on_drop(true).stdin(Stdio::null());
    for variable in VARIABLES {
        command.env_remove(variable);
    }
    command
}

/// A data folder that uses the downloaded servers of this checkout.
fn data() -> tempfile::TempDir {
    let data = tempfile::Builder::new().prefix("aftercall-up-").tempdir().unwrap();
    let services = shared_services();
    std::fs::create_dir_all(&services).unwrap();
    std::os::unix::fs::symlink(services, data.path().join("services")).unwrap();
    data
}

struct Up {
    child: Child,
    public: String,
    text: String,
    stdout: PathBuf,
    stderr: PathBuf,
}

impl Up {
    /// Everything that was printed so far.
    fn printed(&self) -> (String, String) {
        (std::fs::read_to_string(&self.stdout).unwrap(), std::fs::read_to_string(&self.stderr).unwrap())
    }

    /// Presses Ctrl-C, and waits until everything has stopped.
    async fn interrupt(&mut self) {
        nix::sys::signal::kill(nix_pid(&self.child), nix::sys::signal::Signal::SIGINT).unwrap();
        assert!(within("`up` ends", self.child.wait()).await.unwrap().success());
    }

    /// All calls, newest first.
    async fn calls(&self) -> Vec<Value> {
        let (mut calls, mut cursor) = (Vec::new(), String::new());
        loop {
            let url = format!("{}/api/agent-calls?limit=200{cursor}", self.public);
            let answer = output(Command::new("curl").args(["--silent", "--fail-with-body", &url])).await;
            let page: Value =
                serde_json::from_slice(&answer.stdout).unwrap_or_else(|_| panic!("{}", text(&answer)));
            calls.extend(page["calls"].as_array().unwrap().iter().cloned());
            match page["nextCursor"].as_str() {
                Some(next) => cursor = format!("&cursor={next}"),
                None => return calls,
            }
        }
    }
}

fn address() -> String {
    format!("127.0.0.1:{}", ports::free().unwrap())
}

/// The command `up` on free ports.
fn up_at(data: &Path, listen: &str) -> Command {
    let mut command = local(data);
    command.args(["up", "--listen", listen, "--gateway-admin", &address(), "--worker-admin", &address()]);
    command.args(["--console", &address()]);
    command
}

/// Starts `up` with further arguments and variables, and waits until it has printed its instructions.
async fn up(data: &Path, args: &[&str], vars: &[(&str, &str)]) -> Up {
    let listen = address();
    let mut command = up_at(data, &listen);
    command.args(args).envs(vars.iter().copied());
    let (stdout, stderr) = (data.join("stdout"), data.join("stderr"));
    command.stdout(std::fs::File::create(&stdout).unwrap()).stderr(std::fs::File::create(&stderr).unwrap());
    let mut child = command.spawn().unwrap();
    let text = until("the instructions are printed", async || {
        let errors = std::fs::read_to_string(&stderr).unwrap();
        assert!(child.try_wait().unwrap().is_none(), "`up` ended early: {errors}");
        Some(std::fs::read_to_string(&stdout).unwrap()).filter(|text| text.contains("Ctrl-C"))
    })
    .await;
    let public = format!("http://localhost:{}", listen.rsplit(':').next().unwrap());
    Up { child, public, text, stdout, stderr }
}

async fn output(command: &mut Command) -> Output {
    within("the command ends", command.output()).await.unwrap()
}

/// Standard output and standard error.
fn text(output: &Output) -> String {
    format!("{}{}", String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr))
}

/// Command lines that contain `folder`, of all running processes.
fn processes(folder: &Path) -> Vec<String> {
    let folder = folder.to_str().unwrap();
    let command_line = |entry: std::fs::DirEntry| std::fs::read_to_string(entry.path().join("cmdline")).ok();
    let all = std::fs::read_dir("/proc").unwrap().filter_map(|entry| command_line(entry.unwrap()));
    all.filter(|line| line.contains(folder)).map(|line| line.replace('\0', " ")).collect()
}

#[tokio::test]
async fn up_prints_working_commands_and_send_verifies_every_call() {
    let data = data();
    let mut up = up(data.path(), &["--verbose", "--empty"], &[]).await;
    let curls: Vec<&str> = up.text.lines().map(str::trim).filter(|line| line.starts_with("curl ")).collect();
    let paste = async |curl: &str| {
        assert!(curl.contains(&up.public), "{curl}");
        let output =
            output(Command::new("sh").args(["-c", &format!("{curl} --silent --fail-with-body")])).await;
        output.status.success().then(|| text(&output))
    };
    let [complete, unanswered, ask, place] = curls[..] else {
        panic!("`up` must print four commands: {}", up.text)
    };
    assert!(paste(complete).await.unwrap().contains("\"accepted\":true"));
    // Between two commands of a person the call becomes known and its transcript is fetched.
    let known = async |what: &str| paste(ask).await.filter(|answer| answer.contains(what));
    until("the transcript is fetched", async || known(r#""transcriptState":"saved""#).await).await;
    // A call that nobody answered has no transcript.
    assert!(paste(unanswered).await.unwrap().contains("\"accepted\":true"));
    let ask_unanswered = ask.replace("test_call_123", "test_call_456");
    let answer = until("the unanswered call is known", async || {
        paste(&ask_unanswered).await.filter(|answer| answer.contains(r#""status":"no_answer""#))
    })
    .await;
    assert!(
        answer.contains("No answer from recipient") && answer.contains(r#""transcript":null"#),
        "{answer}"
    );
    // The same words about the call that was answered: one call has both.
    let unanswered = unanswered.replace("test_call_456", "test_call_123");
    assert!(paste(&unanswered).await.unwrap().contains("\"accepted\":true"));
    let answer = until("the call is unanswered", async || known(r#""status":"no_answer""#).await).await;
    assert!(answer.contains("No answer from recipient") && answer.contains("test_conv_123"), "{answer}");

    // A simulated call: it is placed, Twilio reports its progress, and a webhook delivers its transcript.
    let placed: serde_json::Value = serde_json::from_str(&paste(place).await.unwrap()).unwrap();
    let ask = ask.replace("test_call_123", placed["callId"].as_str().unwrap());
    let reached = async |what: &str| paste(&ask).await.filter(|answer| answer.contains(what));
    until("the call rings", async || reached(r#""receivedStatus":"ringing""#).await).await;
    until("the call has ended", async || reached(r#""status":"ended""#).await).await;
    let answer =
        until("the transcript is saved", async || reached(r#""transcriptState":"saved""#).await).await;
    assert!(
        answer.contains("[simulated, conversation") && answer.contains("aftercall_placement_id"),
        "{answer}"
    );

    // The link to the console opens the page for test calls.
    let console = up.text.lines().find_map(|line| line.trim().strip_prefix("console ")).unwrap();
    let console = console.split_whitespace().next().unwrap();
    let page = console.replace("/?token=", "/test-call?token=");
    assert_ne!(page, console, "the link carries a token");
    let curl = ["--silent", "--fail", "--location", "--cookie", "", &page];
    let page = output(Command::new("curl").args(curl)).await;
    assert!(page.status.success() && text(&page).contains("Place the call"), "{console}: {}", text(&page));

    let token = std::fs::metadata(data.path().join("console-token")).unwrap();
    assert_eq!(token.permissions().mode() & 0o777, 0o600);

    let second = output(local(data.path()).arg("up")).await;
    assert!(!second.status.success() && text(&second).contains("running"), "{}", text(&second));
    let reset = output(local(data.path()).arg("reset")).await;
    assert!(!reset.status.success() && text(&reset).contains("running"), "{}", text(&reset));

    let send = output(local(data.path()).args(["send", "--calls", "300", "--seed", "7"])).await;
    assert!(send.status.success(), "{}", text(&send));

    assert!(!data.path().join("demo.json").exists(), "--empty: no demo calls");
    let (stdout, stderr) = up.printed();
    assert!(stdout.contains("gateway | ") && stdout.contains("worker  | ") && stderr.contains("✓ mongod at"));
    up.interrupt().await;
    assert_eq!(processes(data.path()), Vec::<String>::new());

    let send = output(local(data.path()).arg("send")).await;
    assert!(!send.status.success() && text(&send).contains("up"), "{}", text(&send));
    let reset = output(local(data.path()).arg("reset")).await;
    assert!(reset.status.success(), "{}", text(&reset));
    assert!(!data.path().join("nats").exists() && !data.path().join("mongod").exists());
}

/// The demo calls, once the pass of reconciliation has told the batch of each unanswered call.
async fn demo(up: &Up) -> Vec<Value> {
    until("every demo call is known", async || {
        let calls = up.calls().await;
        let is_told = |call: &Value| call["agentName"].is_string() && call["outcome"].is_string();
        (calls.len() > 150 && calls.iter().all(is_told)).then_some(calls)
    })
    .await
}

#[tokio::test]
async fn up_is_quiet_and_its_demo_is_a_campaign_that_a_second_start_does_not_double() {
    let data = data();
    let mut first = up(data.path(), &[], &[]).await;
    let curls = first.text.lines().filter(|line| line.starts_with("curl ")).count();
    assert!(
        curls == 2 && first.text.contains("/metrics") && first.text.contains("/api/agent-calls"),
        "{}",
        first.text
    );
    let calls = demo(&first).await;
    let values = |field: &str| calls.iter().filter_map(|call| call[field].as_str()).collect::<BTreeSet<_>>();
    assert_eq!(
        values("agentName").into_iter().collect::<Vec<_>>(),
        ["Deliveries", "Front desk", "Reminders", "Renewals"]
    );
    assert_eq!(values("batchCallId").len(), 4, "two batches on each of two days");
    for outcome in ["answered", "voicemail", "no_answer", "busy", "rejected", "unreachable", "failed"] {
        assert!(values("outcome").contains(outcome), "{outcome}");
    }
    let reasons = values("failureReason");
    assert!(reasons.iter().any(|reason| reason.contains("(SIP 404)")), "{reasons:?}");
    let unanswered =
        calls.iter().filter(|call| call["outcome"] == "no_answer" && call["agentName"] == "Renewals");
    for call in unanswered {
        assert!(call["batchCallId"].is_string() && call["transcriptState"] != "saved", "{call}");
    }
    let (stdout, stderr) = first.printed();
    assert_eq!(
        (stdout.as_str(), stderr.as_str()),
        (first.text.as_str(), ""),
        "nothing is printed without a problem"
    );
    first.interrupt().await;
    assert_eq!(first.printed().1, "stopping …\nstopped\n");

    // The same ids and the same bytes: the stored calls do not change.
    let second = up(data.path(), &[], &[]).await;
    let log = data.path().join("logs").join("reconcile.log");
    let is_read = || std::fs::read_to_string(&log).ok().filter(|text| text.contains(" events published"));
    let report = until("the demo is placed again", async || is_read()).await;
    assert!(report.contains(", 0 events published"), "{report}");
    let revisions = |calls: &[Value]| -> BTreeSet<String> {
        calls.iter().map(|call| format!("{} {}", call["conversationId"], call["revision"])).collect()
    };
    assert_eq!(revisions(&second.calls().await), revisions(&calls));
}

#[tokio::test]
async fn up_with_a_real_key_has_no_demo_and_prints_problems() {
    let data = data();
    let nobody = format!("http://{}", address());
    let mut up =
        up(data.path(), &[], &[("ELEVENLABS_API_KEY", "real"), ("ELEVENLABS_BASE_URL", &nobody)]).await;
    assert!(up.text.contains("the real API") && !up.text.contains("demo"), "{}", up.text);
    assert!(up.text.contains("Authorization: Bearer"), "{}", up.text);
    // The first webhook is of a call. The second names none, so it becomes a dead letter with a warning.
    for body in [r#"{"call_id": "a", "event_type": "call.busy"}"#, r#"{"event_type": "call.busy"}"#] {
        let url = format!("{}/api/webhooks/elevenlabs/call-status", up.public);
        let curl = ["--silent", "--fail-with-body", "--json", body, &url];
        assert!(output(Command::new("curl").args(curl)).await.status.success());
    }
    let printed = until("a problem is printed", async || {
        let printed = up.printed().0;
        printed.contains("worker  | ").then_some(printed)
    })
    .await;
    let logged: Vec<_> = printed.lines().filter(|line| line.contains(" | ")).collect();
    assert!(logged.iter().all(|line| line.contains(" WARN ") || line.contains(" ERROR ")), "{logged:?}");
    assert!(up.calls().await.len() == 1 && !data.path().join("demo.json").exists());
    up.interrupt().await;
}

#[tokio::test]
async fn killed_up_leaves_no_process() {
    let data = data();
    let mut up = up(data.path(), &[], &[]).await;
    assert!(!processes(data.path()).is_empty());
    up.child.kill().await.unwrap();
    until("no process left", async || processes(data.path()).is_empty().then_some(())).await;
}

#[tokio::test]
async fn errors_at_the_start_are_reported_in_one_line() {
    let data = data();
    let taken = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = taken.local_addr().unwrap().to_string();
    let refused = output(&mut up_at(data.path(), &address)).await;
    let said = text(&refused);
    let error = said.lines().last().unwrap();
    assert!(!refused.status.success() && error.contains(&address) && error.contains("--listen"), "{said}");

    // A file in place of the folder: it cannot be written to, even by root.
    let file = data.path().join("file");
    std::fs::write(&file, "").unwrap();
    let refused = output(local(&file.join("data")).arg("up")).await;
    let said = text(&refused);
    assert!(!refused.status.success() && said.lines().last().unwrap().contains("file/data"), "{said}");
}

#[tokio::test]
async fn failed_download_is_reported_in_one_line_and_leaves_no_files() {
    #[rustfmt::skip]
    let table = [ // script of the only python3 on PATH, expected message
        (None,                                                             "python3 is not on PATH"),
        (Some("echo 'No module named pip' >&2; exit 1"),                   "python3 has no pip"),
        (Some("echo 'ERROR: No matching distribution found' >&2; exit 1"), "No matching distribution found"),
        (Some("while [ $1 != -d ]; do shift; done; echo x > $2/a.whl"),    "was not installed: its sha256 is"),
    ];
    for (script, wanted) in table {
        let folder = tempfile::tempdir().unwrap();
        let (path, data) = (folder.path().join("bin"), folder.path().join("data"));
        std::fs::create_dir(&path).unwrap();
        if let Some(script) = script {
            let python = path.join("python3");
            std::fs::write(&python, format!("#!/bin/sh\n{script}\n")).unwrap();
            std::fs::set_permissions(python, Permissions::from_mode(0o755)).unwrap();
        }
        let refused = output(up_at(&data, &address()).env("PATH", &path)).await;
        let said = text(&refused);
        assert!(
            !refused.status.success() && said.lines().last().unwrap().contains(wanted),
            "{script:?}: {said}"
        );
        let left = std::fs::read_dir(data.join("services")).unwrap().map(|entry| entry.unwrap().file_name());
        assert_eq!(left.collect::<Vec<_>>(), ["lock"], "{script:?}");
    }
}

fn nix_pid(child: &Child) -> nix::unistd::Pid {
    nix::unistd::Pid::from_raw(child.id().unwrap().cast_signed())
}
