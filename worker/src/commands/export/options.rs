//! Arguments of `aftercall-worker export`.

use std::path::PathBuf;

use anyhow::{anyhow, ensure};
use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use crate::{
    commands::terminal,
    domain::call::{Outcome, Status},
    store::ExportFilter,
};

/// The calls to export, and the file.
#[derive(Clone, Debug, clap::Args)]
pub struct Options {
    #[command(flatten)]
    pub(super) selection: Selection,
    /// File to write [default: standard output]
    #[arg(long, value_name = "FILE")]
    pub(super) output: Option<PathBuf>,
    /// Continue an interrupted export to this file; begins one if there is none
    #[arg(long, requires = "output")]
    pub(super) resume: bool,
}

/// The calls to export and their form, as they were given on the command line. A resumed export must have the
/// same.
#[derive(Clone, Debug, PartialEq, Eq, clap::Args, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Selection {
    /// Form of the output
    #[arg(long, value_enum, default_value_t = Format::Csv)]
    pub format: Format,
    /// Only calls created at this time or later: RFC 3339, or a duration before now such as 24h
    #[arg(long, value_name = "TIME", value_parser = moment)]
    pub since: Option<String>,
    /// Only calls created before this time [default: now]
    #[arg(long, value_name = "TIME", value_parser = moment)]
    pub until: Option<String>,
    /// Only calls with one of these statuses
    #[arg(long, value_name = "STATUS", value_delimiter = ',', value_parser = status)]
    pub status: Vec<String>,
    /// Only calls with one of these outcomes
    #[arg(long, value_name = "OUTCOME", value_delimiter = ',', value_parser = outcome)]
    pub outcome: Vec<String>,
    /// Only calls of this agent
    #[arg(long, value_name = "ID")]
    pub agent_id: Option<String>,
    /// Only calls of this batch
    #[arg(long, value_name = "ID")]
    pub batch_call_id: Option<String>,
    /// Only calls of this campaign
    #[arg(long, value_name = "ID")]
    pub campaign_id: Option<String>,
    /// Only calls to this number
    #[arg(long, value_name = "NUMBER")]
    pub to_number: Option<String>,
    /// Only calls from this number
    #[arg(long, value_name = "NUMBER")]
    pub from_number: Option<String>,
    /// Only calls in this direction
    #[arg(long, value_parser = ["outbound", "inbound"])]
    pub direction: Option<String>,
    /// Only calls that failed for this reason
    #[arg(long, value_name = "TEXT")]
    pub failure_reason: Option<String>,
    /// Show complete telephone numbers, even if the console masks them
    #[arg(long)]
    pub show_numbers: bool,
}

/// The form of the output.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(super) enum Format {
    /// A table by RFC 4180, with a header
    Csv,
    /// One JSON object in each line, as the API gives it
    Ndjson,
}

/// The period of an export.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Period {
    /// First millisecond.
    pub since: Option<Timestamp>,
    /// First millisecond after the period.
    pub until: Timestamp,
}

impl Selection {
    /// The period that the options name at the time `now`.
    ///
    /// # Errors
    /// The period is empty.
    pub fn period(&self, now: Timestamp) -> anyhow::Result<Period> {
        let read = |text: &String| terminal::moment(text).map_err(|error| anyhow!("{text:?} {error}"));
        let since = self.since.as_ref().map(read).transpose()?;
        let until = self.until.as_ref().map(read).transpose()?.unwrap_or(now);
        ensure!(since.is_none_or(|since| since < until), "--since must be before --until");
        Ok(Period { since, until })
    }

    /// The calls of `period` that the options select.
    pub fn filter(&self, period: Period) -> ExportFilter {
        let one = |value: &Option<String>| value.iter().cloned().collect::<Vec<_>>();
        let fields = [
            ("status", self.status.clone()),
            ("outcome", self.outcome.clone()),
            ("agentId", one(&self.agent_id)),
            ("batchCallId", one(&self.batch_call_id)),
            ("campaignId", one(&self.campaign_id)),
            ("toNumber", one(&self.to_number)),
            ("fromNumber", one(&self.from_number)),
            ("direction", one(&self.direction)),
            ("failureReason", one(&self.failure_reason)),
        ];
        let fields = fields.into_iter().filter(|(_, values)| !values.is_empty()).collect();
        ExportFilter { since: period.since, until: period.until, length: None, last_digits: None, fields }
    }
}

fn moment(text: &str) -> Result<String, &'static str> {
    terminal::moment(text).map(|_time| text.to_owned())
}

fn status(word: &str) -> Result<String, String> {
    known(word, &Status::ALL.map(Status::as_str))
}

fn outcome(word: &str) -> Result<String, String> {
    known(word, &Outcome::ALL.map(Outcome::as_str))
}

fn known(word: &str, words: &[&str]) -> Result<String, String> {
    if words.contains(&word) {
        Ok(word.to_owned())
    } else {
        Err(format!("must be one of {}", words.join(", ")))
    }
}
