//! The figures of the overview, as texts and shares. Pure.

use aftercall_common::phone_numbers::Numbers;

use crate::{
    domain::call::Status,
    roles::console::{
        live::broker_samples::Sample,
        view::{
            chart::{self, BarChart},
            format,
            tone::{self, Tone},
        },
    },
    store::views::Figures,
};

/// The figures about calls, as texts.
pub(super) struct CallFigures {
    pub total: String,
    /// Share of calls that were answered. `None`: every call is still initiated or ringing.
    pub answer_rate: Option<String>,
    /// Median and 95th percentile of the time until a transcript was saved. `None`: no transcript was
    /// fetched.
    pub transcript_delay: Option<(String, String)>,
    /// Number of transcripts behind `transcript_delay`.
    pub transcripts: usize,
    pub chart: BarChart,
    pub tones: Vec<(Tone, String)>,
    pub statuses: Vec<Share>,
    pub reasons: Vec<Share>,
    /// Failed calls with a reason that is not listed. `None`: all reasons are listed.
    pub others: Option<Share>,
    /// The numbers of the chart: time, and calls of each tone.
    pub table: Vec<(String, [String; 4])>,
    pub counted_at: String,
}

/// A row with a bar.
pub(super) struct Share {
    pub name: String,
    /// Address of the calls. Empty: no link.
    pub href: String,
    pub glyph: &'static str,
    pub tone: &'static str,
    pub count: String,
    pub percent: String,
    /// Length of the bar, from 0 to 100.
    pub length: f64,
}

impl Share {
    /// The share of `n` in `whole`, in the colour of failures.
    fn new(name: String, href: String, n: u64, whole: u64) -> Self {
        Self {
            name,
            href,
            glyph: "",
            tone: "failed",
            count: format::count(n),
            percent: percent(n, whole),
            length: if whole == 0 { 0.0 } else { chart::count(n) / chart::count(whole) * 100.0 },
        }
    }
}

/// The figures about webhooks, as texts.
pub(super) struct WebhookFigures {
    pub per_second: String,
    pub max_per_second: String,
    /// Points of the line over the samples.
    pub points: String,
    pub waiting: String,
    pub lag: String,
}

/// The figures about calls.
pub(super) fn call_figures(figures: &Figures, numbers: Numbers) -> CallFigures {
    let totals = figures.totals();
    let total: u64 = totals.iter().sum();
    let count_of = |statuses: &[Status]| -> u64 {
        Status::ALL.iter().zip(totals).filter(|(status, _)| statuses.contains(status)).map(|(_, n)| n).sum()
    };
    let answered = count_of(&[Status::Answered, Status::Completed, Status::Ended]);
    let decided = total - count_of(&[Status::Initiated, Status::Ringing]);
    let quantile = |fraction| chart::quantile(&figures.waits, fraction).map(format::delay);
    let table = figures.buckets.iter().map(|bucket| {
        (chart::time(bucket.at, figures.window), chart::by_tone(&bucket.calls).map(format::count))
    });
    let (reasons, others) = reason_shares(figures, numbers);
    CallFigures {
        total: format::count(total),
        answer_rate: (decided > 0).then(|| percent(answered, decided)),
        transcript_delay: quantile(0.5).zip(quantile(0.95)),
        transcripts: figures.waits.len(),
        chart: BarChart::new(figures),
        tones: Tone::ALL.into_iter().zip(chart::by_tone(&totals).map(format::count)).collect(),
        statuses: status_shares(figures, total),
        reasons,
        others,
        table: table.collect(),
        counted_at: format::clock(figures.at),
    }
}

/// The share of each status in all calls.
fn status_shares(figures: &Figures, total: u64) -> Vec<Share> {
    let period = figures.window.as_str();
    let statuses = Status::ALL.into_iter().zip(figures.totals());
    let shares = statuses.map(|(status, n)| Share {
        glyph: tone::glyph(Some(status)),
        tone: Tone::of(Some(status)).class(),
        ..Share::new(
            tone::status_text(Some(status)).to_owned(),
            format!("/calls?status={}&period={period}", status.as_str()),
            n,
            total,
        )
    });
    shares.collect()
}

/// The share of each failure reason in the failed calls, and the share of all reasons that are not listed.
fn reason_shares(figures: &Figures, numbers: Numbers) -> (Vec<Share>, Option<Share>) {
    let period = figures.window.as_str();
    let shares = figures.reasons.iter().map(|(reason, n)| {
        let query = form_urlencoded::Serializer::new(String::new()).append_pair("reason", reason).finish();
        let shown = format::sender_text(reason, numbers);
        // A link would reveal a telephone number that is masked in the text.
        let href = if shown == *reason { format!("/calls?{query}&period={period}") } else { String::new() };
        Share::new(shown, href, *n, figures.failed)
    });
    let listed: u64 = figures.reasons.iter().map(|(_, n)| n).sum();
    let rest = figures.failed.saturating_sub(listed);
    let others =
        (rest > 0).then(|| Share::new("all other reasons".to_owned(), String::new(), rest, figures.failed));
    (shares.collect(), others)
}

/// `n` as a percentage of `whole`.
fn percent(n: u64, whole: u64) -> String {
    if whole == 0 {
        return "0 %".to_owned();
    }
    let percent = chart::count(n) / chart::count(whole) * 100.0;
    if percent > 0.0 && percent < 1.0 { format!("{percent:.1} %") } else { format!("{percent:.0} %") }
}

/// The figures about webhooks. `None`: there is no sample yet.
pub(super) fn webhook_figures(samples: &[Sample]) -> Option<WebhookFigures> {
    let last = samples.last()?;
    let values: Vec<_> = samples.iter().map(|sample| sample.per_second).collect();
    let rate = |rate: f64| if rate < 10.0 { format!("{rate:.1}") } else { format!("{rate:.0}") };
    Some(WebhookFigures {
        per_second: rate(last.per_second),
        max_per_second: rate(values.iter().copied().fold(0.0, f64::max)),
        points: chart::sparkline(&values),
        waiting: format::count(last.waiting),
        lag: if last.waiting == 0 { "none".to_owned() } else { format::delay(last.lag) },
    })
}
