//! `aftercall-worker report --batch ID`: the recipients of a batch call, by status and outcome.
//!
//! ElevenLabs sends no webhook about a batch, so it is asked for the recipients. Their calls come from the
//! database.

mod join;
mod output;

use aftercall_common::phone_numbers::Numbers;
use anyhow::bail;
use mongodb::bson::Document;

use self::{
    join::{ReportedCall, join, missing_conversations},
    output::BatchReport,
};
use crate::{
    commands::print_line,
    elevenlabs::{ApiError, BatchCall, ElevenLabs},
    store::{Store, calls_of_batch, calls_of_conversations},
};

/// Conversations in one query.
const CONVERSATIONS: usize = 1000;

/// Prints the report of the batch `id`. `api` is `None` without a key.
///
/// # Errors
/// The database does not answer. Or ElevenLabs does not give the batch: then the report shows the stored calls,
/// if there are any, and the error says what is missing.
pub(super) async fn run(
    store: &Store,
    api: Option<&ElevenLabs>,
    id: &str,
    is_json: bool,
    numbers: Numbers,
) -> anyhow::Result<()> {
    let live = match api {
        None => Err("ELEVENLABS_API_KEY is not set".to_owned()),
        Some(api) => api.batch_call(id).await.map_err(|error| reason(&error)),
    };
    let recipients = live.as_ref().map_or(&[][..], |batch: &BatchCall| &batch.recipients);
    let of_batch = calls_of_batch(id);
    let mut calls = read(&store.ask(&of_batch).await?);
    for ids in missing_conversations(recipients, &calls).chunks(CONVERSATIONS) {
        calls.extend(read(&store.ask(&calls_of_conversations(ids)).await?));
    }
    let missing = match &live {
        Err(reason) if calls.is_empty() => {
            bail!("batch {id} cannot be reported: {reason}; no stored call belongs to it either")
        }
        live => live.as_ref().err().cloned(),
    };
    let plan = store.explain(&of_batch).await?;
    let rows = join(recipients, &calls);
    let live = live.as_ref().map_err(String::as_str);
    let report = BatchReport { id, live, rows: &rows, plan: &plan, numbers };
    let printed = if is_json { print_line(report.json()) } else { print_line(report.text()) };
    printed?;
    if let Some(reason) = missing {
        bail!(
            "{reason}; the report shows the stored calls only, without the recipients that were never dialled"
        );
    }
    Ok(())
}

fn read(found: &[Document]) -> Vec<ReportedCall> {
    found.iter().map(ReportedCall::read).collect()
}

/// Why ElevenLabs does not give the batch.
fn reason(error: &ApiError) -> String {
    match error {
        ApiError::NotFound => {
            "ElevenLabs knows no such batch; its id is in the list of batch calls at ElevenLabs".to_owned()
        }
        ApiError::Refused(status) => format!("ElevenLabs refuses this batch ({status})"),
        ApiError::TooLarge => "ElevenLabs' answer about the batch is too large".to_owned(),
        ApiError::Unauthorized(_)
        | ApiError::RateLimited { .. }
        | ApiError::Unavailable(_)
        | ApiError::Unreadable => error.to_string(),
    }
}
