//! The page that shows a new secret. Nothing else ever shows it, so it is the answer to the request that made it, and
//! has no address.

use askama::Template;
use axum::{http::StatusCode, response::Response};

use super::SECTION;
use crate::{
    domain::delivery::{Endpoint, SigningSecret},
    roles::console::{
        pages::shell::{self, Shell},
        state::Console,
        view::address,
    },
};

#[derive(Template)]
#[template(path = "endpoint_secret.html")]
struct Page<'a> {
    shell: Shell,
    title: &'a str,
    url: String,
    href: String,
    /// The secret. `None`: the endpoint is raw.
    secret: Option<&'a str>,
    /// Until when requests are signed by the old secret too. `None`: there is no old secret.
    old_until: Option<String>,
}

/// The page about `endpoint` with its new secret.
pub fn page(
    console: &Console,
    title: &str,
    endpoint: &Endpoint,
    secret: Option<&SigningSecret>,
    old_until: Option<String>,
) -> Response {
    let template = Page {
        shell: Shell::new(console, SECTION),
        title,
        url: endpoint.url.to_string(),
        href: address::of_endpoint(endpoint.id.as_str()),
        secret: secret.map(SigningSecret::expose),
        old_until,
    };
    shell::render(StatusCode::OK, &template)
}
