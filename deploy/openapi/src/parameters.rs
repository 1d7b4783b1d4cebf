//! The parameters of requests that read calls.

use aftercall_worker::{
    domain::text::{MAX_PARTY, MAX_REASON},
    roles::api::{DEFAULT_LIMIT, LIST_PARAMETERS, MAX_LIMIT, PARTS},
    store::views::DIRECTIONS,
};
use utoipa::openapi::{
    RefOr, Required, Schema,
    path::{Parameter, ParameterBuilder, ParameterIn, ParameterStyle},
};

use crate::schema::{list, named, number, text, time, word};

/// The id in a path.
pub fn id() -> Parameter {
    let id = text("A call id, a conversation id or the id of a placement.").min_length(Some(1));
    ParameterBuilder::new()
        .name("id")
        .parameter_in(ParameterIn::Path)
        .required(Required::True)
        .schema(Some(id))
        .build()
}

/// The parameters of the list.
pub fn of_list() -> impl Iterator<Item = Parameter> {
    LIST_PARAMETERS.into_iter().map(|name| query(name, of_name(name)))
}

/// The parameter of one call.
pub fn include() -> Parameter {
    query("include", of_name("include"))
}

/// A parameter that the query must have.
pub fn required_query(name: &str, schema: impl Into<RefOr<Schema>>) -> Parameter {
    let parameter = ParameterBuilder::new().name(name).parameter_in(ParameterIn::Query);
    parameter.required(Required::True).schema(Some(schema.into())).build()
}

/// A header of the request.
pub fn header(name: &str, schema: impl Into<RefOr<Schema>>) -> Parameter {
    ParameterBuilder::new().name(name).parameter_in(ParameterIn::Header).schema(Some(schema.into())).build()
}

fn query(name: &str, schema: RefOr<Schema>) -> Parameter {
    let parameter = ParameterBuilder::new().name(name).parameter_in(ParameterIn::Query);
    let parameter = match schema {
        // Several words are separated by commas.
        RefOr::T(Schema::Array(_)) => parameter.style(Some(ParameterStyle::Form)).explode(Some(false)),
        _ => parameter,
    };
    parameter.schema(Some(schema)).build()
}

fn of_name(name: &str) -> RefOr<Schema> {
    let exact =
        |description: &str, longest| text(description).min_length(Some(1)).max_length(Some(longest)).build();
    match name {
        "status" => words("States of the calls.", named("Status")),
        "outcome" => words("Outcomes of the calls.", named("Outcome")),
        "include" => words("Parts of a call that are left out otherwise.", word("A part.", PARTS)),
        "direction" => word("Direction of the calls.", DIRECTIONS).build().into(),
        "agentId" => exact("Id of the agent.", MAX_PARTY).into(),
        "batchCallId" => exact("Id of the batch.", MAX_PARTY).into(),
        "campaignId" => exact("Id of the campaign.", MAX_PARTY).into(),
        "failureReason" => exact("The exact reason.", MAX_REASON).into(),
        "toNumber" => {
            exact("Who was called: a number with or without `+`, or another address exactly.", MAX_PARTY)
                .into()
        }
        "fromNumber" => {
            exact("Who called: a number with or without `+`, or another address exactly.", MAX_PARTY).into()
        }
        "since" => time("Earliest `createdAt`.").build().into(),
        "until" => time("Latest `createdAt`.").build().into(),
        "limit" => number("Most calls on the page.")
            .minimum(Some(1))
            .maximum(Some(MAX_LIMIT))
            .default(Some(DEFAULT_LIMIT.into()))
            .build()
            .into(),
        "cursor" => text("`nextCursor` of the page before. The filters must be the same.").build().into(),
        _ => text(UNDESCRIBED).build().into(),
    }
}

/// The description of a parameter that [`of_name`] does not know.
const UNDESCRIBED: &str = "Not described.";

fn words(description: &str, word: impl Into<RefOr<Schema>>) -> RefOr<Schema> {
    list(description, word).min_items(Some(1)).into()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_parameter_of_a_list_is_described() {
        for name in LIST_PARAMETERS {
            let schema = of_name(name);
            let is_described = !matches!(&schema, RefOr::T(Schema::Object(object)) if object.description.as_deref() == Some(UNDESCRIBED));
            assert!(is_described, "{name}");
        }
    }
}
