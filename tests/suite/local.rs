//! The commands of `cargo local`: `up`, `send` and `reset`.

use std::{
    fs::Permissions,
    os::unix::fs::PermissionsExt as _,
    path::Path,
    process::{Output, Stdio},
};

use aftercall_local::{ports, servers::shared_services};
use tokio::process::{Child, Command};

use crate::harness::{until, within};

/// Variables that a developer may have set, and that must not influence a test.
const VARIABLES: [&str; 9] = [
    "NATS_URL",
    "MONGODB_URI",
    "ELEVENLABS_API_KEY",
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

/// Starts `up` and waits until it has printed its instructions.
async fn up(data: &Path) -> Up {
    let listen = address();
    let mut command = up_at(data, &listen);
    let stdout = data.join("stdout");
    let mut child = command.stdout(std::fs::File::create(&stdout).unwrap()).spawn().unwrap();
    let text = until("the instructions are printed", async || {
        assert!(child.try_wait().unwrap().is_none(), "`up` ended early");
        Some(std::fs::read_to_string(&stdout).unwrap()).filter(|text| text.contains("Ctrl-C"))
    })
    .await;
    Up { child, public: format!("http://localhost:{}", listen.rsplit(':').next().unwrap()), text }
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
    let mut up = up(data.path()).await;
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
    assert!(paste(unanswered).await.unwrap().contains("\"accepted\":true"));
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

    let pid = nix_pid(&up.child);
    nix::sys::signal::kill(pid, nix::sys::signal::Signal::SIGINT).unwrap();
    assert!(within("`up` ends", up.child.wait()).await.unwrap().success());
    assert_eq!(processes(data.path()), Vec::<String>::new());

    let send = output(local(data.path()).arg("send")).await;
    assert!(!send.status.success() && text(&send).contains("up"), "{}", text(&send));
    let reset = output(local(data.path()).arg("reset")).await;
    assert!(reset.status.success(), "{}", text(&reset));
    assert!(!data.path().join("nats").exists() && !data.path().join("mongod").exists());
}

#[tokio::test]
async fn killed_up_leaves_no_process() {
    let data = data();
    let mut up = up(data.path()).await;
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
