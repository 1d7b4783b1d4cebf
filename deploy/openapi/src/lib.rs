//! The public listener of the gateway in `OpenAPI` 3.1: paths, incoming and outgoing webhooks, and every problem.
//!
//! `cargo openapi > deploy/openapi.json` writes the file that the gateway serves at `/openapi.json`. Words, fields,
//! parameters, statuses and codes come from the tables of gateway and worker, so the document cannot contradict
//! them. A test compares the file with [`document`].

mod call;
mod events;
mod parameters;
mod paths;
mod placing;
mod problems;
mod schema;
mod security;

use utoipa::openapi::{ComponentsBuilder, InfoBuilder, LicenseBuilder, OpenApi, OpenApiBuilder};

/// What a reader has to know first.
const INTRODUCTION: &str = "Aftercall stores the call webhooks of ElevenLabs and Twilio, and turns them into the \
    state of every call. A field that is not known is absent. Every answer has an `X-Request-Id`. An error is a \
    problem of RFC 9457 with a `code` that does not change.";

const LICENSE: &str = env!("CARGO_PKG_LICENSE");

/// The description.
pub fn document() -> OpenApi {
    let info = InfoBuilder::new()
        .title("Aftercall")
        .version(env!("CARGO_PKG_VERSION"))
        .description(Some(INTRODUCTION))
        .license(Some(LicenseBuilder::new().name(LICENSE).identifier(Some(LICENSE)).build()))
        .build();
    let mut components = ComponentsBuilder::new();
    for (name, schema) in call::schemas().into_iter().chain(placing::schemas()).chain(events::schemas()) {
        components = components.schema(name, schema);
    }
    components = components.schema("Problem", problems::schema());
    for (name, scheme) in security::schemes() {
        components = components.security_scheme(name, scheme);
    }
    OpenApiBuilder::new()
        .info(info)
        .paths(paths::paths())
        .webhooks(Some(events::webhooks()))
        .components(Some(components.build()))
        .build()
}
