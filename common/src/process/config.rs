//! Reads the configuration from environment variables.
//!
//! Each binary has one flat struct. It is complete and valid before the process opens a socket.

use std::{fmt, path::Path};

use serde::{Deserialize, de::DeserializeOwned};

use super::flat_yaml;
pub use crate::config_error::ConfigError;

/// Exit status for an invalid configuration (`EX_CONFIG` of sysexits.h).
pub const EXIT_CONFIG: u8 = 78;

/// Variable with the path of a file. [`environment`] also reads the variables in that file.
pub const ENV_FILE: &str = "ENV_FILE";

/// Reads `T` from the [`environment`].
pub fn from_env<T: DeserializeOwned>() -> Result<T, ConfigError> {
    from_vars(environment()?)
}

/// The variables of the process and of the file that `ENV_FILE` names. The file takes precedence, because it
/// can change while the process runs.
///
/// The file has lines of `NAME=value`, as `EnvironmentFile` of systemd and `--env-file` of container
/// runtimes. Empty lines and lines that begin with `#` are skipped. A value may be in single or double
/// quotes; nothing in it is expanded. A file whose name ends in `.yaml` or `.yml` is flat YAML instead.
pub fn environment() -> Result<Vec<(String, String)>, ConfigError> {
    // Variables of Aftercall are valid Unicode, so others can be skipped.
    let mut vars: Vec<_> = std::env::vars_os()
        .filter_map(|(name, value)| Some((name.into_string().ok()?, value.into_string().ok()?)))
        .collect();
    let file = vars.iter().find(|(name, value)| name == ENV_FILE && !value.trim().is_empty());
    if let Some((_, path)) = file {
        let text = std::fs::read_to_string(path.trim())
            .map_err(|error| ConfigError::new(ENV_FILE, format!("cannot read '{path}': {error}")))?;
        let fresh = if is_yaml(path.trim()) { read_yaml(&text)? } else { read_file(&text)? };
        vars.retain(|(name, _)| fresh.iter().all(|(other, _)| other != name));
        vars.extend(fresh);
    }
    Ok(vars)
}

/// Whether the name of a file says that it is YAML.
fn is_yaml(path: &str) -> bool {
    let extension = Path::new(path).extension();
    extension.is_some_and(|end| end.eq_ignore_ascii_case("yaml") || end.eq_ignore_ascii_case("yml"))
}

/// Parses the text of a YAML file that `ENV_FILE` names. An error names the number of the line and contains no
/// part of the text.
pub fn read_yaml(text: &str) -> Result<Vec<(String, String)>, ConfigError> {
    flat_yaml::read(text).map_err(|error| ConfigError::new(ENV_FILE, error.to_string()))
}

/// Parses the text of a file that `ENV_FILE` names. An error names the number of the line and contains no
/// part of the text.
pub fn read_file(text: &str) -> Result<Vec<(String, String)>, ConfigError> {
    let mut vars: Vec<(String, String)> = Vec::new();
    for (n, line) in (1..).zip(text.lines().map(str::trim)) {
        if line.is_empty() || line.starts_with('#') {
            continue;
        }
        let wrong = || ConfigError::new(ENV_FILE, format!("line {n} is not NAME=value"));
        let (name, value) = line.split_once('=').ok_or_else(wrong)?;
        let name = name.trim();
        if name.is_empty() || !name.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'_') {
            return Err(wrong());
        }
        let value = value.trim();
        let unquoted = ['"', '\'']
            .into_iter()
            .find_map(|quote| value.strip_prefix(quote)?.strip_suffix(quote))
            .unwrap_or(value);
        vars.retain(|(other, _)| other != name); // The last line for a name counts.
        vars.push((name.to_owned(), unquoted.to_owned()));
    }
    Ok(vars)
}

/// Checks that the file that `ENV_FILE` names ends with a line end. Otherwise the file may be partly written,
/// and its last value incomplete.
pub fn check_file_is_complete(vars: &[(String, String)]) -> Result<(), ConfigError> {
    let Some((_, path)) = vars.iter().find(|(name, value)| name == ENV_FILE && !value.trim().is_empty())
    else {
        return Ok(());
    };
    match std::fs::read(path.trim()) {
        Ok(text) if text.ends_with(b"\n") => Ok(()),
        Ok(_) => Err(ConfigError::new(ENV_FILE, "its last line has no line end: it may have been cut short")),
        Err(error) => Err(ConfigError::new(ENV_FILE, format!("cannot read '{path}': {error}"))),
    }
}

/// Reads `T` from `vars`. An empty variable counts as unset.
///
/// Every field of `T` must have a default. An error can then be traced to its variable by reading each
/// variable alone; envy does not name the variable.
pub fn from_vars<T: DeserializeOwned>(
    vars: impl IntoIterator<Item = (String, String)>,
) -> Result<T, ConfigError> {
    let vars: Vec<_> = vars.into_iter().filter(|(_, value)| !value.trim().is_empty()).collect();
    envy::from_iter(vars.iter().cloned()).map_err(|error| {
        let cause = vars.iter().find(|&var| envy::from_iter::<_, T>(std::iter::once(var.clone())).is_err());
        match cause {
            // For numbers, envy adds the value and the name. The error already has the name, and the value
            // may be secret.
            Some((variable, value)) => ConfigError::new(
                variable.to_uppercase(),
                error
                    .to_string()
                    .replace(&format!(" while parsing value '{value}' provided by {variable}"), ""),
            ),
            None => ConfigError::new("environment", error.to_string()),
        }
    })
}

/// A secret value, which prints as `***`.
#[derive(Clone, Deserialize, PartialEq, Eq)]
#[serde(transparent)]
pub struct Secret(String);

impl Secret {
    /// Wraps `value`.
    pub fn new(value: impl Into<String>) -> Self {
        Self(value.into())
    }

    /// The secret itself.
    pub fn expose(&self) -> &str {
        &self.0
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("***")
    }
}

/// The address of a broker or a database. It prints without its credentials.
#[derive(Clone, Deserialize, PartialEq, Eq)]
#[serde(transparent)]
pub struct Url(String);

impl Url {
    /// Wraps `url`.
    pub fn new(url: impl Into<String>) -> Self {
        Self(url.into())
    }

    /// The URL with its credentials.
    pub fn expose(&self) -> &str {
        &self.0
    }
}

impl fmt::Debug for Url {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl fmt::Display for Url {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let is_scheme = |text: &str| text.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'+');
        let (scheme, rest) =
            self.0.split_once("://").filter(|(text, _)| is_scheme(text)).unwrap_or(("", &self.0));
        let separator = if scheme.is_empty() { "" } else { "://" };
        // Credentials end at the last '@' and may contain any character, even commas and an unescaped '?'. If
        // an option contains the last '@', the hosts are hidden too.
        let (credentials, rest) = rest.rsplit_once('@').map_or(("", rest), |(_, rest)| ("***@", rest));
        let (hosts, options) = rest.split_once('?').unwrap_or((rest, ""));
        write!(f, "{scheme}{separator}{credentials}{hosts}")?;
        for (n, option) in options.split('&').filter(|option| !option.is_empty()).enumerate() {
            let (name, value) = option.split_once('=').unwrap_or((option, ""));
            let shown = if HARMLESS_OPTIONS.contains(&name) { value } else { "***" };
            write!(f, "{}{name}={shown}", if n == 0 { '?' } else { '&' })?;
        }
        Ok(())
    }
}

/// Options of a connection string whose values are printed. Other options may hold secrets.
const HARMLESS_OPTIONS: [&str; 5] = ["authSource", "directConnection", "replicaSet", "ssl", "tls"];

#[cfg(test)]
mod tests {
    use super::*;

    #[derive(Debug, Deserialize)]
    #[serde(default)]
    struct Sample {
        port: u16,
        name: Option<Secret>,
        format: crate::process::telemetry::LogFormat,
    }

    impl Default for Sample {
        fn default() -> Self {
            Self { port: 80, name: None, format: crate::process::telemetry::LogFormat::Json }
        }
    }

    fn read(vars: &[(&str, &str)]) -> Result<Sample, ConfigError> {
        from_vars(vars.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())))
    }

    #[test]
    fn invalid_value_names_its_variable_and_no_secret() {
        for (name, value) in [("PORT", "eighty"), ("FORMAT", "xml")] {
            let error = read(&[("OTHER", "x"), ("NAME", "s3cret"), (name, value)]).unwrap_err();
            assert_eq!(error.variable, name);
            assert!(!error.to_string().contains("s3cret"));
        }
        assert_eq!(
            read(&[("PORT", "eighty")]).unwrap_err().to_string(),
            "PORT: invalid digit found in string"
        );
        let error = read(&[("FORMAT", "x\nml\u{1b}[2J")]).unwrap_err().to_string();
        assert!(error.starts_with("FORMAT: ") && !error.contains(char::is_control), "{error:?}");
    }

    #[test]
    fn env_file_is_read_without_expansion() {
        let text = "# secrets\n\nA=1\n B = two words \nC=\"quo ted\"\nD='$A'\nE=x=y\nA=2\n";
        let vars = read_file(text).unwrap();
        let wanted = [("B", "two words"), ("C", "quo ted"), ("D", "$A"), ("E", "x=y"), ("A", "2")];
        assert_eq!(vars, wanted.map(|(name, value)| (name.to_owned(), value.to_owned())));
        for wrong in ["A=1\nS3CRET", "A=1\n=S3CRET", "A=1\nA B=S3CRET"] {
            let error = read_file(wrong).unwrap_err().to_string();
            assert!(error.contains("line 2") && !error.contains("S3CRET"), "{error}");
        }
    }

    #[test]
    fn empty_value_counts_as_unset_and_secrets_are_not_printed() {
        let sample = read(&[("PORT", ""), ("NAME", "s3cret")]).unwrap();
        assert_eq!((sample.port, sample.name.as_ref().map(Secret::expose)), (80, Some("s3cret")));
        assert!(!format!("{sample:?}").contains("s3cret"));
    }

    #[test]
    fn url_prints_without_credentials() {
        for (url, shown) in [
            ("nats://127.0.0.1:4222", "nats://127.0.0.1:4222"),
            ("nats://me:p@ss@host:4222", "nats://***@host:4222"),
            ("nats://h1:4222,nats://h2:4222", "nats://h1:4222,nats://h2:4222"),
            ("me:pass@host,tls://token@other", "***@other"),
            ("nats://me:pa?ss@host:4222", "nats://***@host:4222"),
            ("mongodb://u:p?w@h1/?tls=true&x=y", "mongodb://***@h1/?tls=true&x=***"),
            (
                "mongodb://u:p,w@h1,h2/?replicaSet=a&tlsKeyPassword=x",
                "mongodb://***@h1,h2/?replicaSet=a&tlsKeyPassword=***",
            ),
        ] {
            assert_eq!(Url::new(url).to_string(), shown);
        }
    }
}
