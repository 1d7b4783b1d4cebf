use super::*;

fn read(name: &str, value: &str) -> Result<Config, String> {
    Config::from_vars([(name.to_owned(), value.to_owned())]).map_err(|error| error.to_string())
}

#[test]
fn every_variable_is_read() {
    assert_eq!(read("STATUS_STALE_AFTER", "90s").unwrap().status_stale_after, Duration::from_secs(90));
    assert_eq!(read("ROLES", " api , status").unwrap().roles, "api,status".to_owned().try_into().unwrap());
    assert!(read("AGENTS", "agent_1, agent-2").unwrap().agents.is_some_and(|agents| agents.has("agent-2")));
    assert!(read("CHANNELS", "twilio,sms").unwrap().channels.is_some_and(|channels| channels.has("sms")));
    assert_eq!(read("ELEVENLABS_EVENTS", "transcript").unwrap().elevenlabs_events.names(), ["transcript"]);
    let base = read("ELEVENLABS_BASE_URL", "https://api.eu.residency.elevenlabs.io/").unwrap();
    assert_eq!(base.elevenlabs_base_url.as_str(), "https://api.eu.residency.elevenlabs.io");
}

#[test]
fn a_wrong_value_is_refused_with_the_name_of_its_variable() {
    for (name, value) in [
        ("ROLES", "status,sales"),
        ("ELEVENLABS_BASE_URL", "ftp://x"),
        ("TRANSCRIPT_GIVE_UP_AFTER", "soon"),
        ("ADMIN_ADDR", "9081"),
        ("PLACE_TIMEOUT", "0s"),
        ("PLACE_TIMEOUT", "51s"),
        ("RECONCILE_EVERY", "often"),
        ("RECONCILE_RATE", "0"),
        ("RECONCILE_RATE", "1e-20"),
        ("ELEVENLABS_STATUS_CALLBACK_URL", "http://hooks.example.com"),
        ("STREAM_REPLICAS", "many"),
        ("STREAM_REPLICAS", "0"),
        ("RETENTION_DAYS", "0"),
        ("ELEVENLABS_BASE_URL", "https://me:pa55@host"),
        ("ELEVENLABS_STATUS_CALLBACK_URL", "https://me:pa55@hooks.example.com"),
        ("ELEVENLABS_EVENTS", "Transcript"),
        ("AGENTS", "agent_1,../x"),
        ("CHANNELS", "Twilio"),
        ("ELEVENLABS_API_KEY", "sk_\u{7}"),
        ("REGISTER", "perhaps"),
        ("DELIVER_TO_PRIVATE_NETWORKS", "perhaps"),
        ("CONSOLE_ADDR", "9082"),
        ("CONSOLE_USER", "a:b"),
        ("CONSOLE_PASSWORD", "pa55"),
        ("CONSOLE_TOKEN", "pa55 word with spaces"),
        ("CONSOLE_SHOW_NUMBERS", "perhaps"),
        ("CONSOLE_USER_HEADER", "not a header"),
        ("CONSOLE_USER_HEADER", "Cookie"),
        ("CONSOLE_TRUSTED_PROXIES", "10.0.0.0/40"),
        ("NATS_URL", "ws://me:pa55@host"),
        ("NATS_CREDS_FILE", "/nowhere/at.all"),
        ("NATS_CA_FILE", "/nowhere/at.all"),
        ("MONGODB_DATABASE", "a.b"),
        ("MONGODB_URI", "postgres://me:pa55@host"),
        ("MONGODB_URI", "mongodb://me:pa55%\u{fffd}@host/"),
        ("MONGODB_URI", "mongodb://me:pa55@host/?tls=true&tlsCAFile=/nowhere/at.all"),
    ] {
        let error = read(name, value).unwrap_err();
        assert!(!error.contains("pa55"), "{error}");
        assert!(error.starts_with(&format!("{name}: ")), "{error}");
    }
}

#[test]
fn registration_at_the_start_needs_a_url_a_key_and_a_file() {
    let all = [
        ("ELEVENLABS_STATUS_CALLBACK_URL", "https://hooks.example.com/x"),
        ("ELEVENLABS_API_KEY", "sk_secret"),
        ("SECRET_FILE", "/run/aftercall/secret"),
    ];
    let read = |vars: Vec<(&str, &str)>| {
        let vars = vars.into_iter().chain([("REGISTER", "true")]);
        Config::from_vars(vars.map(|(name, value)| (name.to_owned(), value.to_owned())))
    };
    assert!(read(all.to_vec()).unwrap().register);
    for (missing, _) in all {
        let kept: Vec<_> = all.into_iter().filter(|(name, _)| *name != missing).collect();
        assert_eq!(read(kept.clone()).unwrap_err().variable, missing);
        let others = kept.into_iter().chain([("ROLES", "status,api")]).collect();
        assert!(read(others).is_ok(), "the role reconcile alone registers");
    }
}

#[test]
fn the_console_needs_a_login_on_every_address() {
    let read = |vars: &[(&str, &str)]| {
        Config::from_vars(vars.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())))
    };
    let role = ("ROLES", "status,console");
    for address in ["0.0.0.0:9082", "127.0.0.1:9082", "[::1]:9082"] {
        let open = ("CONSOLE_ADDR", address);
        for login in ["", " "] {
            let error = read(&[open, role, ("CONSOLE_TOKEN", login)]).unwrap_err().to_string();
            assert!(error.contains("CONSOLE_TOKEN") && error.contains("CONSOLE_PASSWORD"), "{error}");
        }
        assert!(read(&[open]).is_ok(), "nothing listens there without the role");
        assert!(read(&[open, role, ("CONSOLE_PASSWORD", "correct horse")]).is_ok());
        assert!(read(&[open, role, ("CONSOLE_TOKEN", "0123456789ab")]).is_ok());
    }
}

#[test]
fn a_header_that_names_people_needs_the_proxy_that_sets_it() {
    let read = |vars: &[(&str, &str)]| {
        Config::from_vars(vars.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())))
    };
    let (role, header) = (("ROLES", "console"), ("CONSOLE_USER_HEADER", "X-Forwarded-User"));
    let proxies = |list: &'static str| ("CONSOLE_TRUSTED_PROXIES", list);
    let config = read(&[role, header, proxies("10.0.0.0/8,::1")]).unwrap();
    assert_eq!(config.console_user_header.unwrap().to_string(), "x-forwarded-user");
    for (vars, reason) in [
        (vec![role, header], "every client could log in under any name"),
        (vec![header], "every client could log in under any name"),
        (vec![role, header, proxies("10.0.0.0/8,0.0.0.0/0")], "holds every address"),
        (vec![role, header, proxies("::/0")], "holds every address"),
        (vec![proxies("10.0.0.1")], "has no effect without CONSOLE_USER_HEADER"),
    ] {
        let error = read(&vars).unwrap_err();
        assert_eq!(error.variable, "CONSOLE_TRUSTED_PROXIES", "{vars:?}");
        assert!(error.to_string().contains(reason), "{error}");
    }
}

#[test]
fn secrets_are_not_printed() {
    let config = read("ELEVENLABS_API_KEY", "sk_secret").unwrap();
    assert!(!format!("{config:?}").contains("sk_secret"));
    assert!(!format!("{:?}", read("MONGODB_URI", "mongodb://u:pw@h/").unwrap()).contains("pw"));
}

#[test]
fn the_printed_configuration_has_one_line_for_each_variable_and_hides_secrets() {
    let config = Config::from_vars(
        [
            ("NATS_URL", "nats://worker:pa55@broker:4222"),
            ("MONGODB_URI", "mongodb://me:pa55@db/?replicaSet=rs"),
            ("ELEVENLABS_API_KEY", "sk_pa55"),
            ("ELEVENLABS_STATUS_CALLBACK_URL", "https://hooks.example.com/x"),
            ("SECRET_FILE", "/run/secret"),
            ("AGENTS", "agent_1,agent_2"),
            ("CHANNELS", "twilio"),
            ("RECORDINGS", "fetch"),
            ("RETENTION_DAYS", "30"),
            ("ROLES", "status,console"),
            ("CONSOLE_PASSWORD", "pa55 pa55 pa55"),
            ("CONSOLE_TOKEN", "pa55pa55pa55"),
            ("CONSOLE_USER_HEADER", "X-Forwarded-User"),
            ("CONSOLE_TRUSTED_PROXIES", "10.0.0.7"),
            ("OTEL_EXPORTER_OTLP_ENDPOINT", "http://127.0.0.1:4318"),
        ]
        .map(|(name, value)| (name.to_owned(), value.to_owned())),
    )
    .unwrap();
    let shown = config.to_string();
    assert!(!shown.contains("pa55"), "{shown}");
    for line in [
        "NATS_URL=nats://***@broker:4222",
        "ELEVENLABS_API_KEY=***",
        "AGENTS=agent_1,agent_2",
        "RECORDINGS=fetch",
        "RETENTION_DAYS=30",
        "ROLES=status,console",
        "ADMIN_ADDR=127.0.0.1:9081",
        "STATUS_STALE_AFTER=60s",
    ] {
        assert!(shown.lines().any(|shown| shown == line), "{line} in {shown}");
    }
    // All variables of the debug output are there, except those of files that must exist and those of the log.
    let debug = format!("{config:?}");
    let fields = debug.split([' ', '{']).filter_map(|word| word.strip_suffix(':'));
    let not_shown = ["nats_creds_file", "nats_ca_file", "log_format", "rust_log"];
    for field in fields.filter(|field| !not_shown.contains(field)) {
        let name = format!("{}=", field.to_uppercase());
        assert!(shown.lines().any(|line| line.starts_with(&name)), "{name} in {shown}");
    }
}
