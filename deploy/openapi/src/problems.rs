//! The errors of each operation, from the tables of gateway and worker.

use std::collections::{BTreeMap, BTreeSet};

use aftercall_common::contract::agent_calls::Refusal;
use aftercall_ingest::http::problem::Problem;
use utoipa::openapi::{
    ContentBuilder, HeaderBuilder, Object, RefOr, Response, ResponseBuilder, ResponsesBuilder, Schema,
};

use crate::schema::{named, number, object, text};

/// The problems of requests whose sender is not known yet.
const OF_ALL: [Problem; 2] = [Problem::UntrustedProxy, Problem::ForwardedForUnreadable];
/// The problems of requests with a body.
pub const OF_BODIES: [Problem; 7] = [
    Problem::BodyIncomplete,
    Problem::InvalidEncoding,
    Problem::TooComplex,
    Problem::BodyTimeout,
    Problem::BodyTooLarge,
    Problem::UnsupportedEncoding,
    Problem::UnsupportedTransferEncoding,
];
/// The problems of requests about calls.
pub const OF_CALLS: [Problem; 5] = [
    Problem::Unauthorized,
    Problem::CrossSiteRequest,
    Problem::Overloaded,
    Problem::NoWorker,
    Problem::BadAnswer,
];
/// What the server says about bytes that are no request it can read: status, code, sentence.
const OF_SERVER: [(u16, &str, &str); 3] = [
    (400, "malformed", "The request is not valid HTTP."),
    (414, "head_too_large", "The path is too long."),
    (431, "head_too_large", "The headers are too large."),
];

/// The errors of one operation: status → code → sentence.
#[derive(Debug, Default)]
pub struct Errors(BTreeMap<u16, BTreeMap<&'static str, String>>);

impl Errors {
    /// The errors of every operation, and `problems`.
    pub fn new<'a>(problems: impl IntoIterator<Item = &'a [Problem]>) -> Self {
        let mut errors = Self::default();
        for (status, code, sentence) in OF_SERVER {
            errors.insert(status, code, sentence.to_owned());
        }
        for problem in OF_ALL.iter().chain(problems.into_iter().flatten()) {
            errors.insert(problem.status().as_u16(), problem.code(), problem.detail().to_owned());
        }
        errors
    }

    /// Adds what a worker can answer.
    pub fn with_refusals(mut self, refusals: &[Refusal]) -> Self {
        for refusal in refusals {
            self.insert(refusal.status(), refusal.code(), refusal.sentence().to_owned());
        }
        self
    }

    fn insert(&mut self, status: u16, code: &'static str, sentence: String) {
        self.0.entry(status).or_default().entry(code).or_insert(sentence);
    }

    /// Adds the errors to the answers of an operation.
    pub fn add_to(&self, mut responses: ResponsesBuilder) -> ResponsesBuilder {
        for (status, codes) in &self.0 {
            responses = responses.response(status.to_string(), response(*status, codes));
        }
        responses
    }
}

fn response(status: u16, codes: &BTreeMap<&'static str, String>) -> Response {
    let lines: Vec<_> = codes.iter().map(|(code, sentence)| format!("- `{code}`: {sentence}")).collect();
    let content = ContentBuilder::new().schema(Some(named("Problem"))).build();
    let response = ResponseBuilder::new()
        .description(lines.join("\n"))
        .content("application/problem+json", content)
        .header("X-Request-Id", request_id());
    match status {
        429 | 503 => response.header("Retry-After", retry_after()),
        _ => response,
    }
    .build()
}

/// The header that every answer has.
pub fn request_id() -> utoipa::openapi::Header {
    let id = text("The id of the request in the log.").build();
    HeaderBuilder::new().schema(Some(id)).build()
}

fn retry_after() -> utoipa::openapi::Header {
    let seconds = number("Seconds after which the request may be repeated.").build();
    HeaderBuilder::new().schema(Some(seconds)).build()
}

/// A problem of RFC 9457.
pub fn schema() -> RefOr<Schema> {
    let of_server = OF_SERVER.iter().map(|(_, code, _)| *code);
    let of_gateway = Problem::ALL.iter().map(|problem| problem.code());
    let of_worker = Refusal::ALL.iter().map(|refusal| refusal.code());
    let codes: BTreeSet<_> = of_server.chain(of_gateway).chain(of_worker).collect();
    let problem: Object = object("Why a request is refused (RFC 9457).")
        .property("type", text("Always `about:blank`."))
        .property("title", text("The name of the status."))
        .property("status", number("The status."))
        .property("code", text("The reason. It does not change.").enum_values(Some(codes)))
        .property("detail", text("The reason in a sentence."))
        .required("type")
        .required("title")
        .required("status")
        .required("code")
        .required("detail")
        .build();
    problem.into()
}
