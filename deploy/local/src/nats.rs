//! Starts a private nats-server with JetStream. By default it syncs a message before it acknowledges it.

mod users;

use std::{
    fs::File,
    io::Write as _,
    net::Ipv4Addr,
    path::{Path, PathBuf},
    time::Duration,
};

use anyhow::Context as _;
use futures_util::{FutureExt as _, future::LocalBoxFuture};
use tokio::{
    io::{AsyncBufReadExt as _, BufReader},
    net::TcpStream,
};

pub use self::users::{User, UserPasswords};
use crate::{
    process::{Command, Launcher, Process},
    server::{ReadyCheck, START_TIMEOUT, Server, ServerFolder, ServerKind},
};

/// File of users, in the folder of the configuration file.
const USERS_FILE: &str = "users.conf";

/// Settings of the server.
#[derive(Clone, Debug)]
pub struct Options {
    /// Folder of configuration and streams. `None`: a temporary folder, removed with the server.
    pub data: Option<PathBuf>,
    /// Port on 127.0.0.1. 0 selects a free port.
    pub port: u16,
    /// Name of the server, unique in a cluster.
    pub name: String,
    /// Port of the monitoring endpoint on 127.0.0.1. 0 disables the endpoint.
    pub monitor: u16,
    /// Whether the server syncs every message to the disk before it acknowledges it
    /// (`sync_interval: always`).
    pub sync_always: bool,
    /// Settings added to the `jetstream` block, such as `max_file_store: 10MB`.
    pub jetstream: String,
    /// Part of the URL before the host, such as `tls://` or `nats://user:password@`.
    pub prefix: String,
    /// Settings added at the top level, such as `max_payload: 64KB`, `tls { … }` or `authorization { … }`.
    pub extra: String,
    /// Passwords of the users in `deploy/nats/users.conf`. `None`: every client has all permissions.
    pub users: Option<UserPasswords>,
    /// Log file. `None`: a file in the data folder.
    pub log: Option<PathBuf>,
}

impl Default for Options {
    fn default() -> Self {
        Self {
            data: None,
            port: 0,
            name: "aftercall".to_owned(),
            monitor: 0,
            sync_always: true,
            jetstream: String::new(),
            prefix: "nats://".to_owned(),
            extra: String::new(),
            users: None,
            log: None,
        }
    }
}

/// Starts `binary`, and waits until it has recovered its streams and accepts connections.
pub async fn start(launcher: &Launcher, binary: &Path, options: Options) -> anyhow::Result<Server> {
    let folder = ServerFolder::new(options.data.as_deref(), "aftercall-nats-")?;
    let data = folder.path().to_owned();
    let log = options.log.clone().unwrap_or_else(|| data.join("nats-server.log"));
    let command = |port: u16| {
        let file = data.join("nats-server.conf");
        write_synced(&file, &config(&options, &data, port))
            .with_context(|| format!("cannot write {}", file.display()))?;
        let command = Command::new("nats-server", binary, &log).arg("--config").arg(&file);
        let Some(users) = &options.users else { return Ok(command) };
        let included = data.join(USERS_FILE);
        write_synced(&included, users::CONFIG)
            .with_context(|| format!("cannot write {}", included.display()))?;
        let with_password =
            |command: Command, user: User| command.env(user.password_variable(), users.password(user));
        Ok(User::ALL.into_iter().fold(command, with_password))
    };
    let url = |port| format!("{}127.0.0.1:{port}", options.prefix);
    let kind = ServerKind { command: &command, ready: ReadyCheck::new(ready), url: &url };
    Server::start(launcher, folder, options.port, kind).await
}

/// Writes a file and syncs it. After a power cut the server would otherwise find an empty configuration and
/// run with its defaults.
fn write_synced(file: &Path, text: &str) -> std::io::Result<()> {
    let mut file = File::create(file)?;
    file.write_all(text.as_bytes())?;
    file.sync_all()
}

fn config(options: &Options, data: &Path, port: u16) -> String {
    // A JSON string is a valid string of the configuration language.
    let store = serde_json::Value::from(data.join("jetstream").display().to_string());
    let monitor = match options.monitor {
        0 => String::new(),
        port => format!("http: \"127.0.0.1:{port}\"\n"),
    };
    let sync = if options.sync_always { "sync_interval: always" } else { "" };
    let users = if options.users.is_some() { format!("include \"./{USERS_FILE}\"\n") } else { String::new() };
    format!(
        "server_name: {}\nlisten: \"127.0.0.1:{port}\"\n{monitor}jetstream {{\n  store_dir: {store}\n  {sync}\n  {}\n}}\n{}\n{users}",
        options.name, options.jetstream, options.extra
    )
}

fn ready(process: &mut Process, port: u16) -> LocalBoxFuture<'_, anyhow::Result<()>> {
    process.until(START_TIMEOUT, async move || greets(port).await.unwrap_or(false)).boxed_local()
}

/// Whether the server sends its greeting, which it does once JetStream has recovered its streams.
async fn greets(port: u16) -> std::io::Result<bool> {
    let greeting = async {
        let mut line = String::new();
        BufReader::new(TcpStream::connect((Ipv4Addr::LOCALHOST, port)).await?).read_line(&mut line).await?;
        Ok::<_, std::io::Error>(line.starts_with("INFO ") && line.contains("\"jetstream\":true"))
    };
    tokio::time::timeout(Duration::from_secs(1), greeting).await?
}
