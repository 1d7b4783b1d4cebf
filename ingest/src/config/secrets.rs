//! Lists of secrets. Their values are never printed.

use std::{fmt, fs::File, io::Read as _, path::Path};

use aftercall_common::{
    contract::provider::Provider,
    process::config::{ConfigError, Secret},
};
use hyper::{HeaderMap, header::HeaderName};
use serde::Deserialize;
use subtle::ConstantTimeEq as _;

/// Largest file of secrets that is read, in bytes.
const MAX_FILE_BYTES: u64 = 64 * 1024;

/// A comma-separated list of secrets. With two entries, the old secret stays valid until every sender uses
/// the new one.
#[derive(Clone, Debug, Default, Deserialize, PartialEq, Eq)]
#[serde(try_from = "String")]
pub struct Secrets(Vec<Secret>);

impl Secrets {
    /// Reads the secrets in a file, one per line. A line may also be a comma-separated list.
    ///
    /// # Errors
    /// The file cannot be read, is too large, or holds no secret. The text contains no part of the file.
    pub(super) fn read(path: &Path) -> Result<Self, ReadError> {
        let mut text = String::new();
        let file = File::open(path).map_err(|error| match error.kind() {
            std::io::ErrorKind::NotFound => ReadError::Missing,
            _ => ReadError::Unusable(format!("cannot read {}: {error}", path.display())),
        })?;
        let unusable = |what: &str| ReadError::Unusable(format!("{} {what}", path.display()));
        let read = file.take(MAX_FILE_BYTES + 1).read_to_string(&mut text);
        read.map_err(|error| unusable(&format!("cannot be read: {error}")))?;
        if text.len() as u64 > MAX_FILE_BYTES {
            return Err(unusable("is larger than a list of secrets can be"));
        }
        let items = text.lines().map(str::trim).filter(|line| !line.is_empty()).collect::<Vec<_>>().join(",");
        if items.is_empty() {
            return Err(unusable("holds no secret"));
        }
        Self::try_from(items).map_err(|_error| unusable("holds a line with an empty item"))
    }

    /// Whether no secret is set.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// The secrets, in the order of the list.
    pub fn iter(&self) -> impl Iterator<Item = &[u8]> {
        self.0.iter().map(|secret| secret.expose().as_bytes())
    }

    /// Whether `given` is one of the secrets. The time that the comparison takes does not show which one.
    pub fn contains(&self, given: &[u8]) -> bool {
        self.iter().fold(false, |equal, secret| equal | bool::from(given.ct_eq(secret)))
    }
}

/// The secrets of each provider.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ProviderSecrets(Vec<(Provider, Secrets)>);

impl ProviderSecrets {
    /// Reads the variables of all providers. An empty variable counts as unset.
    ///
    /// # Errors
    /// The variable whose list cannot be used, and the reason.
    pub(super) fn from_vars(vars: &[(String, String)]) -> Result<Self, ConfigError> {
        let mut secrets = Vec::new();
        for provider in Provider::ALL {
            let variable = provider.secret_variable();
            let is_meant = |(name, value): &&(String, String)| {
                name.eq_ignore_ascii_case(variable) && !value.trim().is_empty()
            };
            if let Some((_, list)) = vars.iter().rfind(is_meant) {
                let list = Secrets::try_from(list.clone());
                secrets.push((*provider, list.map_err(|reason| ConfigError::new(variable, reason))?));
            }
        }
        Ok(Self(secrets))
    }

    /// Adds secrets of `provider`.
    pub(super) fn extend(&mut self, provider: Provider, secrets: Secrets) {
        match self.0.iter_mut().find(|(other, _)| *other == provider) {
            Some((_, known)) => known.0.extend(secrets.0),
            None => self.0.push((provider, secrets)),
        }
    }

    /// The secrets of `provider`.
    pub(super) fn of(&self, provider: Provider) -> &Secrets {
        static NONE: Secrets = Secrets(Vec::new());
        self.0.iter().find(|(other, _)| *other == provider).map_or(&NONE, |(_, secrets)| secrets)
    }
}

impl TryFrom<String> for Secrets {
    type Error = String;

    fn try_from(list: String) -> Result<Self, String> {
        list.split(',')
            .enumerate()
            .map(|(n, item)| match item.trim() {
                "" => Err(format!("item {} of the list is empty", n + 1)),
                item => Ok(Secret::new(item)),
            })
            .collect::<Result<_, _>>()
            .map(Self)
    }
}

/// The reason why a file of secrets was not read.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum ReadError {
    /// There is no such file.
    Missing,
    /// The file cannot be used, for this reason.
    Unusable(String),
}

/// A header with a secret value, in the form `Name: value`. The value may be a comma-separated list: see
/// [`Secrets`]. ElevenLabs sends such a header if its webhook is configured with `request_headers`.
#[derive(Clone, Deserialize, PartialEq, Eq)]
#[serde(try_from = "String")]
pub struct HeaderSecret {
    name: HeaderName,
    values: Secrets,
}

impl HeaderSecret {
    /// Whether `headers` carry one of the values. The time that the comparison takes does not show which one.
    pub fn is_carried(&self, headers: &HeaderMap) -> bool {
        headers.get(&self.name).is_some_and(|given| self.values.contains(given.as_bytes().trim_ascii()))
    }
}

impl TryFrom<String> for HeaderSecret {
    type Error = String;

    fn try_from(text: String) -> Result<Self, Self::Error> {
        let (name, values) = text.split_once(':').ok_or("must be of the form 'Name: value'")?;
        let name = name.trim().parse().map_err(|_error| "must begin with the name of a header")?;
        let values = Secrets::try_from(values.to_owned()).map_err(|_error| "holds an empty value")?;
        Ok(Self { name, values })
    }
}

impl fmt::Debug for HeaderSecret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: ***", self.name)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_has_a_secret_in_each_line_and_errors_repeat_none() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("secret");
        assert_eq!(Secrets::read(&path), Err(ReadError::Missing));
        for (text, secrets) in
            [("wsec_a\n", &["wsec_a"][..]), ("wsec_a\r\n\n wsec_b,wsec_c", &["wsec_a", "wsec_b", "wsec_c"])]
        {
            std::fs::write(&path, text).unwrap();
            let read = Secrets::read(&path).unwrap();
            assert_eq!(
                read.iter().collect::<Vec<_>>(),
                secrets.iter().map(|one| one.as_bytes()).collect::<Vec<_>>()
            );
        }
        for wrong in
            [String::new(), "\n \n".to_owned(), "wsec_a,,wsec_b".to_owned(), "wsec_a\n".repeat(20_000)]
        {
            std::fs::write(&path, wrong).unwrap();
            let Err(ReadError::Unusable(reason)) = Secrets::read(&path) else { panic!("it was read") };
            assert!(!reason.contains("wsec_") && !reason.contains('\n'), "{reason}");
        }
    }

    #[test]
    fn a_header_secret_accepts_each_of_its_values_and_nothing_else() {
        let secret = HeaderSecret::try_from("X-Hook-Token: old, new".to_owned()).unwrap();
        let carried = |value: &str| {
            let mut headers = HeaderMap::new();
            headers.insert("x-hook-token", value.parse().unwrap());
            secret.is_carried(&headers)
        };
        assert!(carried("old") && carried("new") && carried(" new "));
        assert!(
            !carried("") && !carried("ol") && !carried("old, new") && !secret.is_carried(&HeaderMap::new())
        );
        for wrong in ["token", "X Y: a", ": a", "X-A: a,,b"] {
            assert!(HeaderSecret::try_from(wrong.to_owned()).is_err(), "{wrong}");
        }
    }
}
