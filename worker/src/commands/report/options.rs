//! Arguments of `aftercall-worker report`.

use clap::builder::{PossibleValuesParser, TypedValueParser};
use jiff::Timestamp;

use crate::{commands::terminal, config::is_id, store::Grouping};

/// The calls to report, and the form of the output.
#[derive(Clone, Debug, clap::Args)]
pub struct Options {
    /// Report this batch call instead of a period: its recipients by status and outcome
    #[arg(long, value_name = "ID", value_parser = batch, conflicts_with_all = ["since", "until", "calls", "by"])]
    pub(super) batch: Option<String>,
    /// Print sums of the calls by this property: outcomes, answer rate, minutes, cost, success
    #[arg(long, value_parser = grouping(), conflicts_with = "calls")]
    pub(super) by: Option<Grouping>,
    /// Time zone of days and hours, such as Europe/Berlin or +02:00
    #[arg(long, value_name = "ZONE", default_value = "UTC", requires = "by")]
    pub(super) time_zone: String,
    /// Earliest start of a call: RFC 3339, or a duration before now [default: 24h]
    #[arg(long, value_name = "TIME", value_parser = terminal::moment)]
    pub(super) since: Option<Timestamp>,
    /// Latest start of a call [default: now]
    #[arg(long, value_name = "TIME", value_parser = terminal::moment)]
    pub(super) until: Option<Timestamp>,
    /// Most calls in each list
    #[arg(long, value_name = "N", default_value_t = 10, value_parser = clap::value_parser!(u32).range(1..=1000))]
    pub(super) calls: u32,
    /// Show complete telephone numbers, even if the console masks them
    #[arg(long)]
    pub(super) show_numbers: bool,
    /// Print the report as JSON
    #[arg(long)]
    pub(super) json: bool,
}

fn grouping() -> impl TypedValueParser<Value = Grouping> {
    let words = PossibleValuesParser::new(Grouping::ALL.map(Grouping::as_str));
    words.try_map(|word| Grouping::from_word(&word).ok_or("unknown"))
}

fn batch(text: &str) -> Result<String, &'static str> {
    if is_id(text) { Ok(text.to_owned()) } else { Err("must be letters, digits, '_' or '-'") }
}
