//! `CONSOLE_USER_HEADER`: the header in which a reverse proxy names the user of the console.

use std::fmt;

use axum::http::HeaderName;
use serde::Deserialize;

/// Headers that browsers send by themselves or that the console reads. Their values are no names of people.
const RESERVED: [&str; 14] = [
    "accept",
    "authorization",
    "connection",
    "content-length",
    "content-type",
    "cookie",
    "forwarded",
    "host",
    "origin",
    "referer",
    "sec-fetch-site",
    "transfer-encoding",
    "user-agent",
    "x-forwarded-for",
];

/// The name of a header.
#[derive(Clone, Debug, Deserialize, PartialEq, Eq)]
#[serde(try_from = "String")]
pub struct UserHeader(HeaderName);

impl UserHeader {
    /// The name of the header.
    pub fn name(&self) -> &HeaderName {
        &self.0
    }
}

impl TryFrom<String> for UserHeader {
    type Error = String;

    fn try_from(name: String) -> Result<Self, String> {
        let name: HeaderName =
            name.trim().parse().map_err(|_error| "must be the name of a header, such as X-Forwarded-User")?;
        if RESERVED.contains(&name.as_str()) {
            return Err(format!("{name} has another meaning; name the header that only the proxy sets"));
        }
        Ok(Self(name))
    }
}

impl fmt::Display for UserHeader {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}
