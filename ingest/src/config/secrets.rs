//! Lists of secrets. Their values are never printed.

use std::fmt;

use aftercall_common::{
    contract::provider::Provider,
    process::config::{ConfigError, Secret},
};
use hyper::{HeaderMap, header::HeaderName};
use serde::Deserialize;
use subtle::ConstantTimeEq as _;

/// A comma-separated list of secrets. With two entries, the old secret stays valid until every sender uses
/// the new one.
#[derive(Clone, Debug, Default, Deserialize, PartialEq, Eq)]
#[serde(try_from = "String")]
pub struct Secrets(Vec<Secret>);

impl Secrets {
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
