//! The page that shows a new secret. A secret is shown only once, so the page is the response to the POST that created
//! the secret, and has no address of its own.

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
    /// The secret. `None`: the endpoint gets raw webhooks, which have the signature of their provider.
    secret: Option<&'a str>,
    /// End of the time in which requests are signed by the old secret too. `None`: no old secret is valid.
    old_until: Option<String>,
}

/// The page after `endpoint` was added, or after its secret was rotated.
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
