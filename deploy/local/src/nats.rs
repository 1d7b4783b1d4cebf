//! A private nats-server with JetStream that syncs before it acknowledges.

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

pub use self::users::{User, Users};
use crate::{
    process::{Command, Launcher, Process},
    server::{Home, Kind, Ready, START_DEADLINE, Server},
};

/// The file of users beside that of the configuration.
const USERS_FILE: &str = "users.conf";

/// How the server is to run.
#[derive(Clone, Debug)]
pub struct Options {
    /// Folder of configuration and streams. None: a temporary one, removed at the end.
    pub data: Option<PathBuf>,
    /// Port on 127.0.0.1; 0 takes a free one.
    pub port: u16,
    /// Its name; no two of a cluster have the same.
    pub name: String,
    /// Port of the monitoring endpoint on 127.0.0.1; 0 is none.
    pub monitor: u16,
    /// Whether an acknowledged message is on disk, not only in the page cache.
    pub sync_always: bool,
    /// Settings added to the `jetstream` block, such as `max_file_store: 10MB`.
    pub jetstream: String,
    /// What its URL has before the host, such as `tls://` or `nats://user:password@`.
    pub prefix: String,
    /// Settings added at the top level, such as `max_payload: 64KB`, `tls { … }` or `authorization { … }`.
    pub extra: String,
    /// The users of `deploy/nats/users.conf`. None: whoever reaches it may do everything.
    pub users: Option<Users>,
    /// Log file. None: in the data folder.
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

/// Starts `binary` and waits until it takes connections, streams recovered.
pub async fn start(launcher: &Launcher, binary: &Path, options: Options) -> anyhow::Result<Server> {
    let home = Home::new(options.data.as_deref(), "aftercall-nats-")?;
    let data = home.path().to_owned();
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
        let with_password = |command: Command, user: User| command.env(user.variable(), users.password(user));
        Ok(User::ALL.into_iter().fold(command, with_password))
    };
    let url = |port| format!("{}127.0.0.1:{port}", options.prefix);
    let kind = Kind { command: &command, ready: Ready::new(ready), url: &url };
    Server::start(launcher, home, options.port, kind).await
}

/// Writes so that the file outlives a power cut: a server that finds it empty runs by its defaults.
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
    process.until(START_DEADLINE, async move || greets(port).await.unwrap_or(false)).boxed_local()
}

/// Whether the server sends its greeting. It does not before JetStream has recovered its streams.
async fn greets(port: u16) -> std::io::Result<bool> {
    let greeting = async {
        let mut line = String::new();
        BufReader::new(TcpStream::connect((Ipv4Addr::LOCALHOST, port)).await?).read_line(&mut line).await?;
        Ok::<_, std::io::Error>(line.starts_with("INFO ") && line.contains("\"jetstream\":true"))
    };
    tokio::time::timeout(Duration::from_secs(1), greeting).await?
}
