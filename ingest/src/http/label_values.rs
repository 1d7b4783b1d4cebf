//! The label values whose series exist from the start, taken from the enums that they stand for.

use aftercall_common::contract::provider::Provider;

use super::{problem::Problem, routes::Route};
use crate::{
    admission::{
        checks::AuthenticityError,
        signature::{Signature, UNCHECKED},
    },
    config::SpoolMode,
    metrics::LabelValues,
    storage::{publisher::PublishError, spool::SpoolError},
};

/// The label values of the gateway's metrics.
pub fn label_values() -> LabelValues {
    let webhook_problems = Problem::ALL.iter().filter(|problem| problem.is_of_webhooks());
    LabelValues {
        routes: Route::all().map(Route::label).collect(),
        webhook_routes: Provider::ALL.iter().map(|provider| provider.route_label()).collect(),
        webhook_codes: webhook_problems.map(|problem| problem.code()).collect(),
        observed_codes: AuthenticityError::ALL.map(|error| Problem::from(error).code()).into(),
        signatures: Signature::ALL.iter().map(|signature| signature.label()).chain([UNCHECKED]).collect(),
        publish_errors: PublishError::ALL.map(PublishError::label).into(),
        spool_errors: SpoolError::ALL.map(SpoolError::label).into(),
        spool_modes: SpoolMode::ALL.map(SpoolMode::as_str).into(),
    }
}
