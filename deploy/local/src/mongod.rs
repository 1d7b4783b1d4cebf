//! Starts a private mongod as a replica set of one member. Transactions, retryable writes and `w: majority`
//! need a replica set.

use std::{
    ffi::OsStr,
    net::Ipv4Addr,
    path::{Path, PathBuf},
    sync::Arc,
    time::Duration,
};

use anyhow::Context as _;
use futures_util::FutureExt as _;
use mongodb::{
    Client,
    bson::{Document, doc},
    error::ErrorKind,
    options::ClientOptions,
};
use percent_encoding::{NON_ALPHANUMERIC, utf8_percent_encode};
use tokio::net::TcpStream;

use crate::{
    process::{Command, Launcher, Process},
    server::{ReadyCheck, START_TIMEOUT, Server, ServerFolder, ServerKind},
};

const REPLICA_SET: &str = "aftercall";
/// Error code of `replSetInitiate` on a member that is already configured.
const ALREADY_INITIALIZED: i32 = 23;
/// Error code of a command that needs a login.
const UNAUTHORIZED: i32 = 13;

/// Settings of the server.
#[derive(Clone, Debug, Default)]
pub struct Options {
    /// Folder of the database. `None`: a temporary folder, removed with the server.
    pub data: Option<PathBuf>,
    /// Port on 127.0.0.1. 0 selects a free port.
    pub port: u16,
    /// Log file. `None`: a file in the data folder.
    pub log: Option<PathBuf>,
    /// For tests: commands can be made to fail (`configureFailPoint`), and expired documents are erased every
    /// second.
    pub for_tests: bool,
    /// TLS and login. `None`: every process of this machine has access.
    pub secured: Option<Secured>,
    /// Size of the cache in gigabytes. `None`: a quarter of a gigabyte.
    pub cache: Option<u32>,
}

/// TLS for every connection, and a login.
#[derive(Clone, Debug)]
pub struct Secured {
    /// File with the server's certificate and its key (PEM).
    pub certificate: PathBuf,
    /// File with the certificate of the authority (PEM).
    pub authority: PathBuf,
    /// Key file by which members of the replica set authenticate each other. Must be readable only by its
    /// owner.
    pub key: PathBuf,
    /// A user with all permissions.
    pub user: String,
    /// The user's password. The server's URL holds it percent-encoded.
    pub password: String,
}

impl Secured {
    fn args(&self) -> Vec<&OsStr> {
        let arg = OsStr::new;
        let mut args =
            vec![arg("--tlsMode"), arg("requireTLS"), arg("--tlsAllowConnectionsWithoutCertificates")];
        args.extend([arg("--tlsCertificateKeyFile"), self.certificate.as_os_str()]);
        args.extend([arg("--tlsCAFile"), self.authority.as_os_str(), arg("--keyFile"), self.key.as_os_str()]);
        args
    }

    /// The TLS options for a connection string.
    fn query(&self) -> String {
        format!("&tls=true&tlsCAFile={}", encoded(&self.authority.to_string_lossy()))
    }

    fn login(&self) -> String {
        format!("{}:{}@", encoded(&self.user), encoded(&self.password))
    }
}

/// Percent-encodes `text` for a connection string.
fn encoded(text: &str) -> String {
    utf8_percent_encode(text, NON_ALPHANUMERIC).to_string()
}

/// Starts `binary`, and waits until it is the primary of its replica set.
///
/// The URL names the replica set. After a restart the driver therefore waits for the primary instead of
/// failing writes.
pub async fn start(launcher: &Launcher, binary: &Path, options: Options) -> anyhow::Result<Server> {
    let folder = ServerFolder::new(options.data.as_deref(), "aftercall-mongod-")?;
    let data = folder.path().to_owned();
    let log = options.log.clone().unwrap_or_else(|| data.join("mongod.log"));
    let secured = options.secured.map(Arc::new);
    let command = |port| {
        let command = command(binary, &data, &log, port, options.cache);
        let command = command.args(secured.iter().flat_map(|secured| secured.args()));
        let for_tests = ["--setParameter", "enableTestCommands=1", "--setParameter", "ttlMonitorSleepSecs=1"];
        Ok(if options.for_tests { command.args(for_tests) } else { command })
    };
    let url = |port| {
        let (login, query) =
            secured.as_ref().map(|secured| (secured.login(), secured.query())).unwrap_or_default();
        format!("mongodb://{login}127.0.0.1:{port}/?replicaSet={REPLICA_SET}{query}")
    };
    let ready = {
        let secured = secured.clone();
        ReadyCheck::new(move |process, port| ready(process, port, secured.clone()).boxed_local())
    };
    Server::start(launcher, folder, options.port, ServerKind { command: &command, ready, url: &url }).await
}

/// Starts a replica set of three servers, and waits until it has a primary. Returns the servers and their
/// URI.
pub async fn start_replica_set(launcher: &Launcher, binary: &Path) -> anyhow::Result<([Server; 3], String)> {
    let member = || async {
        let folder = ServerFolder::new(None, "aftercall-mongod-")?;
        let data = folder.path().to_owned();
        let log = data.join("mongod.log");
        let command = |port| Ok(command(binary, &data, &log, port, None));
        let url = |port| format!("127.0.0.1:{port}");
        let ready = ReadyCheck::new(|process, port| listens(process, port).boxed_local());
        Server::start(launcher, folder, 0, ServerKind { command: &command, ready, url: &url }).await
    };
    let servers = [member().await?, member().await?, member().await?];
    let members = (0_i32..).zip(&servers).map(|(id, server)| doc! { "_id": id, "host": server.url() });
    let set = doc! {
        "_id": REPLICA_SET, "members": members.collect::<Vec<_>>(), "settings": { "electionTimeoutMillis": 2000 },
    };
    let mut direct =
        ClientOptions::parse(format!("mongodb://{}/?directConnection=true", servers[0].url())).await?;
    direct.server_selection_timeout = Some(Duration::from_secs(10));
    let client = Client::with_options(direct)?;
    run(&client, doc! { "replSetInitiate": set }).await.context("cannot make a replica set of three")?;
    client.shutdown().await;
    let hosts = servers.each_ref().map(Server::url).join(",");
    let uri = format!("mongodb://{hosts}/?replicaSet={REPLICA_SET}");
    // The driver waits for a primary by itself.
    let client = Client::with_uri_str(&uri).await?;
    run(&client, doc! { "ping": 1 }).await.context("the replica set has no primary")?;
    client.shutdown().await;
    Ok((servers, uri))
}

fn command(binary: &Path, data: &Path, log: &Path, port: u16, cache: Option<u32>) -> Command {
    let cache = cache.map_or("0.25".to_owned(), |gigabytes| gigabytes.to_string());
    Command::new("mongod", binary, log)
        .args(["--replSet", REPLICA_SET, "--bind_ip", "127.0.0.1", "--nounixsocket"])
        .args(["--port", &port.to_string(), "--dbpath"])
        .arg(data)
        .args(["--wiredTigerCacheSizeGB", &cache, "--oplogSize", "256"])
        .args(["--setParameter", "diagnosticDataCollectionEnabled=false"])
        // A set of one member has no other member that could become primary, so a shutdown need not wait.
        .args(["--setParameter", "shutdownTimeoutMillisForSignaledShutdown=100"])
}

async fn listens(process: &mut Process, port: u16) -> anyhow::Result<()> {
    process.until(START_TIMEOUT, async || TcpStream::connect((Ipv4Addr::LOCALHOST, port)).await.is_ok()).await
}

async fn ready(process: &mut Process, port: u16, secured: Option<Arc<Secured>>) -> anyhow::Result<()> {
    listens(process, port).await?;
    let query = secured.as_ref().map(|secured| secured.query()).unwrap_or_default();
    let uri = format!("mongodb://127.0.0.1:{port}/?directConnection=true{query}");
    let mut options = ClientOptions::parse(uri).await?;
    options.server_selection_timeout = Some(Duration::from_secs(10));
    let client = Client::with_options(options)?;
    // Until there is a user, clients of the same machine need no login. A server with a user is initiated
    // already.
    let initiated = initiate(&client, port).await;
    initiated
        .or_else(|error| if needs_login(&error) { Ok(()) } else { Err(error) })
        .context("cannot make mongod a replica set")?;
    process.until(START_TIMEOUT, async || is_primary(&client).await).await?;
    if let Some(secured) = secured {
        let user = doc! { "createUser": &secured.user, "pwd": &secured.password, "roles": ["root"] };
        let created = run(&client, user).await.map_err(anyhow::Error::from);
        created.map(drop).or_else(|error| if needs_login(&error) { Ok(()) } else { Err(error) })?;
    }
    client.shutdown().await;
    Ok(())
}

/// Whether the server refused the command because it needs a login.
fn needs_login(error: &anyhow::Error) -> bool {
    let error = error.downcast_ref::<mongodb::error::Error>().map(|error| error.kind.as_ref());
    matches!(error, Some(ErrorKind::Command(error)) if error.code == UNAUTHORIZED)
}

async fn run(client: &Client, command: Document) -> mongodb::error::Result<Document> {
    client.database("admin").run_command(command).await
}

/// Configures the replica set with this server as its only member, on `port`.
async fn initiate(client: &Client, port: u16) -> anyhow::Result<()> {
    let host = format!("127.0.0.1:{port}");
    let wanted = doc! { "_id": REPLICA_SET, "members": [ { "_id": 0, "host": &host } ] };
    if let Err(error) = run(client, doc! { "replSetInitiate": wanted }).await {
        match error.kind.as_ref() {
            ErrorKind::Command(found) if found.code == ALREADY_INITIALIZED => {}
            _ => return Err(error.into()),
        }
    } else {
        return Ok(());
    }
    // The server ran before, perhaps on another port. A member that is not in its own configuration never
    // becomes primary.
    let mut found = run(client, doc! { "replSetGetConfig": 1 }).await?.get_document("config")?.clone();
    let member = found.get_array_mut("members")?.first_mut().and_then(|member| member.as_document_mut());
    let member = member.context("the configuration of the replica set has no member")?;
    if member.get_str("host")? == host {
        return Ok(());
    }
    member.insert("host", &host);
    let version = found.get_i32("version")?;
    found.insert("version", version + 1);
    run(client, doc! { "replSetReconfig": found, "force": true }).await?;
    Ok(())
}

async fn is_primary(client: &Client) -> bool {
    let hello = run(client, doc! { "hello": 1 }).await;
    hello.is_ok_and(|hello| hello.get_bool("isWritablePrimary").unwrap_or(false))
}
