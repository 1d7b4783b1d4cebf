//! TLS and logins of broker and database: right settings work, also after a restart of the servers. Wrong
//! settings are reported without secrets.

use std::{
    fs,
    os::unix::fs::OpenOptionsExt as _,
    path::{Path, PathBuf},
};

use aftercall_local::{
    mongod::{self, Secured},
    nats::Options,
    ports,
    server::Server,
};
use async_nats::ConnectOptions;
use base64::{Engine as _, prelude::BASE64_URL_SAFE_NO_PAD};
use jiff::{SignedDuration, Timestamp};
use mongodb::bson::doc;
use nkeys::KeyPair;
use serde_json::{Value, json};
use tempfile::TempDir;

use crate::harness::{Authority, Service, TestStack, nats, servers, test_timeout, until};

/// A password with characters that have a meaning in a URL.
const PASSWORD: &str = "pa55:w@rd/%,";
const ENCODED: &str = "pa55%3Aw%40rd%2F%25%2C";
/// A part of every secret in this file, in every encoding.
const MARK: &str = "pa55";
/// The log level that shows all messages of all libraries.
const EVERYTHING: &str = "trace";

fn text(path: &Path) -> &str {
    path.to_str().unwrap()
}

/// TLS settings of a broker, with a certificate of `authority`.
fn tls(authority: &Authority) -> String {
    let (certificate, key) = authority.issue();
    format!("tls {{ cert_file: \"{}\", key_file: \"{}\" }}\n", certificate.display(), key.display())
}

/// Options of a broker that requires TLS and a login.
fn secured_broker(authority: &Authority) -> Options {
    let login = format!("authorization {{ user: me, password: \"{PASSWORD}\" }}\n");
    let prefix = format!("nats://me:{ENCODED}@");
    Options { prefix, extra: [tls(authority), login].concat(), ..Options::default() }
}

/// Starts a database that requires TLS and a login.
async fn secured_database(authority: &Authority) -> Server {
    let (certificate, key) = authority.sign();
    let [both, shared] = ["mongod.pem", "replica.key"].map(|name| authority.file(name));
    for (file, text) in
        [(&both, [certificate, key].concat()), (&shared, "cGE1NXBhNTVwYTU1cGE1NQ==".to_owned())]
    {
        let mut options = fs::File::options();
        let mut file = options.write(true).create_new(true).mode(0o600).open(file).unwrap();
        std::io::Write::write_all(&mut file, text.as_bytes()).unwrap();
    }
    let secured = Secured {
        certificate: both,
        authority: authority.file("authority.pem"),
        key: shared,
        user: "me".to_owned(),
        password: PASSWORD.to_owned(),
    };
    servers::mongod(mongod::Options { secured: Some(secured), ..mongod::Options::default() }).await
}

/// Options with which the test connects to that broker.
fn test_login(authority: &Authority) -> ConnectOptions {
    ConnectOptions::with_user_and_password("me".to_owned(), PASSWORD.to_owned())
        .add_root_certificates(authority.file("authority.pem"))
        .require_tls(true)
}

/// Posts the webhook of a completed call and waits for its document and its transcript.
async fn is_processed(stack: &TestStack, call: &str) {
    let body =
        json!({ "event_type": "call.completed", "call_id": call, "conversation_id": format!("v_{call}") });
    stack.webhook_until_accepted(&body).await;
    stack.until_call(call, doc! { "status": "completed", "transcriptState": "saved" }).await;
}

/// Checks that webhooks are processed before and after a restart of the broker.
async fn survives_a_restart_of_the_broker(stack: &mut TestStack) {
    is_processed(stack, "first").await;
    stack.nats.kill().await.unwrap();
    stack.gateway.until_unready(&stack.http).await;
    stack.nats.restart().await.unwrap();
    is_processed(stack, "after_broker").await;
}

/// Checks that the log contains none of the secrets.
fn has_no_secret(log: &str, secrets: &[&str]) {
    assert!(log.contains("aftercall"), "the log is empty");
    let line = log.lines().find(|line| secrets.iter().any(|secret| line.contains(secret)));
    assert_eq!(line, None, "the log contains a secret");
}

#[tokio::test]
async fn webhooks_are_processed_over_tls_with_logins() {
    let authority = Authority::new(2031);
    let database = secured_database(&authority).await;
    let mut stack = TestStack::builder()
        .nats(secured_broker(&authority))
        .broker(test_login(&authority))
        .database(database)
        .env("NATS_CA_FILE", text(&authority.file("authority.pem")))
        .env("RUST_LOG", EVERYTHING)
        .start()
        .await;
    survives_a_restart_of_the_broker(&mut stack).await;
    stack.mongo.process().kill().await.unwrap();
    stack.workers[0].until_unready(&stack.http).await;
    stack.mongo.process().restart().await.unwrap();
    is_processed(&stack, "after_database").await;
    for log in [stack.gateway.log(), stack.workers[0].log()] {
        has_no_secret(&log, &[MARK, "cGE1N"]);
    }
}

/// A JWT of NATS about `subject`, signed by `issuer`.
fn token(
    issuer: &KeyPair,
    subject: &KeyPair,
    kind: &str,
    expires: Option<Timestamp>,
    limits: &Value,
) -> String {
    let mut claims = json!({
        "jti": kind, "iat": Timestamp::now().as_second(), "iss": issuer.public_key(), "sub": subject.public_key(),
        "name": kind, "nats": { "type": kind, "version": 2 },
    });
    claims["nats"].as_object_mut().unwrap().extend(limits.as_object().unwrap().clone());
    if let Some(expires) = expires {
        claims["exp"] = expires.as_second().into();
    }
    let part = |value: Value| BASE64_URL_SAFE_NO_PAD.encode(value.to_string());
    let signed = format!("{}.{}", part(json!({ "typ": "JWT", "alg": "ed25519-nkey" })), part(claims));
    format!("{signed}.{}", BASE64_URL_SAFE_NO_PAD.encode(issuer.sign(signed.as_bytes()).unwrap()))
}

/// An account of a broker in operator mode. The broker accepts users whose credentials this account has
/// signed.
struct Account {
    operator: KeyPair,
    key: KeyPair,
    folder: TempDir,
}

impl Account {
    fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        Self { operator: KeyPair::new_operator(), key: KeyPair::new_account(), folder }
    }

    /// Settings of a broker with this account.
    fn settings(&self) -> String {
        let operator = token(&self.operator, &self.operator, "operator", None, &json!({}));
        let unlimited = json!({
            "subs": -1, "data": -1, "payload": -1, "imports": -1, "exports": -1, "wildcards": true, "conn": -1,
            "leaf": -1, "mem_storage": -1, "disk_storage": -1, "streams": -1, "consumer": -1,
        });
        let account = |key: &KeyPair, limits: &Value| {
            let token = token(&self.operator, key, "account", None, &json!({ "limits": limits }));
            format!("{}: {token}", key.public_key())
        };
        let (system, mut few) = (KeyPair::new_account(), unlimited.clone());
        for limit in ["mem_storage", "disk_storage", "streams", "consumer"] {
            few[limit] = 0.into();
        }
        let [system_name, ours] = [system.public_key(), account(&self.key, &unlimited)];
        let known = format!("{{ {ours}\n{} }}", account(&system, &few));
        format!(
            "operator: {operator}\nsystem_account: {system_name}\nresolver: MEMORY\nresolver_preload {known}\n"
        )
    }

    /// Creates the credentials of a new user. Returns their file and the seed in it.
    fn user(&self, expires: Option<Timestamp>) -> (PathBuf, String) {
        let user = KeyPair::new_user();
        let limits = json!({ "pub": {}, "sub": {}, "subs": -1, "data": -1, "payload": -1 });
        let (token, seed) = (token(&self.key, &user, "user", expires, &limits), user.seed().unwrap());
        let file = self.folder.path().join(format!("{}.creds", user.public_key()));
        let text = format!(
            "-----BEGIN NATS USER JWT-----\n{token}\n------END NATS USER JWT------\n\n\
             -----BEGIN USER NKEY SEED-----\n{seed}\n------END USER NKEY SEED------\n"
        );
        fs::write(&file, text).unwrap();
        (file, seed)
    }
}

#[tokio::test]
async fn credentials_file_authenticates_at_a_broker_in_operator_mode() {
    let (authority, account) = (Authority::new(2031), Account::new());
    let (file, seed) = account.user(None);
    let broker = ConnectOptions::with_credentials_file(&file).await.unwrap();
    let mut stack = TestStack::builder()
        .nats(Options { extra: [tls(&authority), account.settings()].concat(), ..Options::default() })
        .broker(broker.add_root_certificates(authority.file("authority.pem")))
        .env("NATS_CREDS_FILE", text(&file))
        .env("NATS_CA_FILE", text(&authority.file("authority.pem")))
        .env("RUST_LOG", EVERYTHING)
        .start()
        .await;
    survives_a_restart_of_the_broker(&mut stack).await;
    for log in [stack.gateway.log(), stack.workers[0].log()] {
        has_no_secret(&log, &[&seed]);
    }
}

/// A gateway or worker without a stack.
struct SingleService {
    service: Service,
    _logs: TempDir,
    http: reqwest::Client,
}

impl SingleService {
    async fn start(part: &str, vars: &[(&str, &str)]) -> Self {
        let (logs, admin) = (tempfile::tempdir().unwrap(), ports::free().unwrap());
        let address = format!("127.0.0.1:{admin}");
        let own = [("LISTEN_ADDR", "127.0.0.1:0"), ("ADMIN_ADDR", &address), ("LOG_FORMAT", "text")];
        let vars: Vec<_> =
            own.iter().chain(vars).map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect();
        let service = Service::start(Service::command(part, logs.path(), &vars), admin).await;
        Self { service, _logs: logs, http: aftercall_local::http_client(test_timeout()).unwrap() }
    }

    /// Waits for a warning that contains `of`, and returns it.
    async fn warning(&self, of: &str) -> String {
        let said = async || {
            let log = self.service.log();
            log.lines().find(|line| line.contains("WARN") && line.contains(of)).map(str::to_owned)
        };
        until(&format!("a warning of {of}"), said).await
    }
}

/// Gateway or worker, its variables, and texts that its warning must contain.
type Row<'a> = (&'a str, &'a [(&'a str, &'a str)], &'a [&'a str]);

/// The port in a server's URL.
fn port(server: &Server) -> String {
    let url = server.url();
    let rest = &url[url.find("127.0.0.1:").unwrap() + "127.0.0.1:".len()..];
    rest.split('/').next().unwrap().to_owned()
}

#[tokio::test]
async fn failed_broker_connections_are_reported_without_secrets() {
    let (authority, other, account) = (Authority::new(2031), Authority::new(2031), Account::new());
    let shut = nats(secured_broker(&authority)).await;
    let known = nats(Options { extra: account.settings(), ..Options::default() }).await;
    let plain = nats(Options::default()).await;
    let at = |prefix: &str, server: &Server| format!("nats://{prefix}127.0.0.1:{}", port(server));
    let me = at(&format!("me:{ENCODED}@"), &shut);
    let late = account.user(Some(Timestamp::now() - SignedDuration::from_mins(1)));
    let another = Account::new();
    let stranger = another.user(None);
    let (ours, theirs) = (authority.file("authority.pem"), other.file("authority.pem"));
    let (ours, theirs) = (text(&ours), text(&theirs));
    let unknown = ["invalid peer certificate", "NATS_CA_FILE"];
    let shown = ["authorization violation", "NATS_CREDS_FILE", "NATS_URL"];
    #[rustfmt::skip]
    let table: [Row; 9] = [
        ("gateway", &[("NATS_URL", &me), ("NATS_CA_FILE", theirs)],                                          &unknown),
        ("worker",  &[("NATS_URL", &me), ("NATS_CA_FILE", theirs)],                                          &unknown),
        ("gateway", &[("NATS_URL", &me)],                                                                    &unknown),
        ("gateway", &[("NATS_URL", &at("", &shut)), ("NATS_CA_FILE", ours)],                                 &shown),
        ("gateway", &[("NATS_URL", &at("me:pa55@", &shut)), ("NATS_CA_FILE", ours)],                         &shown),
        ("worker",  &[("NATS_URL", &at("pa55@", &shut)), ("NATS_CA_FILE", ours)],                            &shown),
        ("gateway", &[("NATS_URL", &at("", &known)), ("NATS_CREDS_FILE", text(&late.0))],                    &shown),
        ("worker",  &[("NATS_URL", &at("", &known)), ("NATS_CREDS_FILE", text(&stranger.0))],                &shown),
        ("gateway", &[("NATS_URL", &at("me:pa55@", &plain)), ("NATS_CA_FILE", ours)],                        &["speaks no TLS"]),
    ];
    for (part, vars, wanted) in table {
        let vars = [vars, &[("RUST_LOG", EVERYTHING)]].concat();
        let mut single = SingleService::start(part, &vars).await;
        let warning = single.warning("cannot connect to NATS").await;
        assert!(wanted.iter().all(|wanted| warning.contains(wanted)), "{wanted:?}: {warning}");
        let (status, ready) = single.service.readiness(&single.http).await;
        assert_eq!((status, &ready["parts"]["nats"]), (503, &json!("not connected")), "{part} {vars:?}");
        single.service.kill().await;
        has_no_secret(&single.service.log(), &[MARK, &late.1, &stranger.1]);
    }
    // A corrected file of authorities takes effect without a restart.
    let mut mistaken = SingleService::start("gateway", &[("NATS_URL", &me), ("NATS_CA_FILE", theirs)]).await;
    mistaken.warning(unknown[0]).await;
    fs::copy(ours, theirs).unwrap();
    mistaken.service.until_ready(&mistaken.http).await;
    assert!(!mistaken.service.log().contains(MARK));
}

#[tokio::test]
async fn failed_database_connections_are_reported_without_secrets() {
    let (authority, other) = (Authority::new(2031), Authority::new(2031));
    let (shut, broker) = (secured_database(&authority).await, nats(Options::default()).await);
    let uri = |login: &str, authority: Option<&Authority>| {
        let tls = authority
            .map(|authority| format!("&tls=true&tlsCAFile={}", text(&authority.file("authority.pem"))));
        format!("mongodb://{login}127.0.0.1:{}/?replicaSet=aftercall{}", port(&shut), tls.unwrap_or_default())
    };
    let me = format!("me:{ENCODED}@");
    #[rustfmt::skip]
    let table = [
        (uri(&me, Some(&other)),            "invalid peer certificate"),
        (uri(&me, None),                    "unexpected end of file"),
        (uri("", Some(&authority)),         "Unauthorized"),
        (uri("me:pa55@", Some(&authority)), "Authentication failed"),
    ];
    for (uri, wanted) in table {
        let vars = [("NATS_URL", &*broker.url()), ("MONGODB_URI", &uri), ("RUST_LOG", EVERYTHING)];
        let mut single = SingleService::start("worker", &vars).await;
        let warning = single.warning("waiting for MongoDB").await;
        assert!(warning.contains(wanted), "{wanted}: {warning}");
        let (status, ready) = single.service.readiness(&single.http).await;
        assert_eq!((status, &ready["parts"]["nats"]), (503, &json!("ok")), "{ready}");
        single.service.kill().await;
        has_no_secret(&single.service.log(), &[MARK]);
    }
    let missing = uri(&me, Some(&authority)).replace("authority.pem", "nothing.pem");
    let (status, log) =
        Service::run_to_exit("worker", &[("NATS_URL", &broker.url()), ("MONGODB_URI", &missing)]).await;
    assert_eq!(status, Some(78), "{log}");
    assert!(
        log.contains("MONGODB_URI: the file of tlsCAFile cannot be read") && !log.contains(MARK),
        "{log}"
    );
}
