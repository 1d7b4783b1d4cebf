//! The figures of the overview, as texts and shares. Pure.

use std::{cmp::Reverse, time::Duration};

use aftercall_common::{contract::provider::Provider, phone_numbers::Numbers};
use jiff::Timestamp;

use crate::{
    domain::{call::Outcome, time::between},
    roles::console::{
        live::broker_samples::{INTERVAL, Sample},
        view::{
            address,
            chart::{self, BarChart},
            filter::{PERIODS, Params, ResultChoice},
            format,
            share::{Missed, Share, percent, scaled},
            tone::Tone,
        },
    },
    store::views::{Bucket, Figures, Window},
};

/// Intervals between two calls after which a webhook is late. Calls that come independently of each other are so far apart
/// less than once in a hundred times.
const MAX_INTERVALS: u32 = 5;
/// Silence up to which no webhook is late.
const SHORTEST_SILENCE: Duration = Duration::from_mins(5);
/// Age from which the page says that its figures are old.
const OLD_AFTER: Duration = Duration::from_mins(1);

/// The figures about calls, as texts.
pub(super) struct CallFigures {
    pub total: String,
    /// Share of the calls with an outcome that a person answered. `None`: no call has an outcome.
    pub answer_rate: Option<String>,
    /// Median and 95th percentile of the time until a transcript was saved. `None`: no transcript was
    /// fetched.
    pub transcript_delay: Option<(String, String)>,
    /// Number of transcripts from which `transcript_delay` comes.
    pub transcripts: usize,
    pub chart: BarChart,
    pub tones: Vec<(Tone, String)>,
    pub outcomes: Vec<Share>,
    /// The calls that nobody answered. `None`: none.
    pub missed: Option<Missed>,
    pub reasons: Vec<Share>,
    /// Failed calls with a reason that is not listed. `None`: all reasons are listed.
    pub others: Option<Share>,
    /// Failed calls by SIP code.
    pub sip_codes: Vec<Share>,
    /// The numbers of the chart: time, and calls of each tone.
    pub table: Vec<(String, [String; 4])>,
    /// When the calls were counted: Unix milliseconds, and the age as a text.
    pub counted_at: i64,
    pub age: String,
    /// Whether the figures are much older than usual. They are counted again, unless the database is unavailable.
    pub is_old: bool,
}

/// The figures about webhooks, as texts.
pub(super) struct WebhookFigures {
    /// The latest webhook of each provider: name, Unix milliseconds, age. The latest of all is first.
    pub latest: Vec<(&'static str, i64, String)>,
    pub per_second: String,
    pub max_per_second: String,
    /// Webhooks of all samples, and the time that the samples span.
    pub stored: String,
    /// Points of the line over the samples.
    pub points: String,
    pub waiting: String,
    pub lag: String,
}

/// The figures about calls.
pub(super) fn call_figures(figures: &Figures, numbers: Numbers, now: Timestamp) -> CallFigures {
    let calls = figures.total();
    let total = calls.calls();
    let over: u64 = calls.outcomes.iter().sum();
    let answered = count_of(&calls, Outcome::Answered);
    let quantile = |fraction| chart::quantile(&figures.waits, fraction).map(format::delay);
    let table = figures
        .buckets
        .iter()
        .map(|bucket| (chart::time(bucket.at, figures.window), chart::by_tone(bucket).map(format::count)));
    let (reasons, others) = reason_shares(figures, numbers);
    CallFigures {
        total: format::count(total),
        answer_rate: (over > 0).then(|| percent(answered, over)),
        transcript_delay: quantile(0.5).zip(quantile(0.95)),
        transcripts: figures.waits.len(),
        chart: BarChart::new(figures),
        tones: Tone::ALL.into_iter().zip(chart::by_tone(&calls).map(format::count)).collect(),
        outcomes: outcome_shares(figures.window, &calls),
        missed: Missed::new(|outcome| count_of(&calls, outcome), filter(figures.window), total),
        reasons,
        others,
        sip_codes: sip_shares(figures),
        table: table.collect(),
        counted_at: figures.at.as_millisecond(),
        age: format::age(figures.at, now),
        is_old: between(figures.at, now) > OLD_AFTER,
    }
}

/// Whether webhooks arrive as often as the calls of a window let expect.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Arrival {
    pub text: String,
    pub is_late: bool,
}

/// Compares the age of the latest webhook with the average time between two of `calls`. `None`: there is no webhook, or no
/// call.
pub(super) fn arrival(
    window: Window,
    calls: u64,
    latest: Option<Timestamp>,
    now: Timestamp,
) -> Option<Arrival> {
    let milliseconds = u64::try_from(window.length().as_millis()).ok()?.checked_div(calls)?;
    let interval = Duration::from_millis(milliseconds);
    let longest = SHORTEST_SILENCE.max(interval * MAX_INTERVALS);
    let is_late = between(latest?, now) > longest;
    let verdict = if is_late { "later than usual" } else { "as often as usual" };
    let text = format!(
        "{verdict}: one call every {} on average; a webhook is late after {}",
        format::delay(interval),
        format::delay(longest)
    );
    Some(Arrival { text, is_late })
}

/// The number of calls with this outcome.
fn count_of(calls: &Bucket, outcome: Outcome) -> u64 {
    Outcome::ALL.into_iter().zip(calls.outcomes).find(|(other, _)| *other == outcome).map_or(0, |(_, n)| n)
}

/// The filter of the calls of a window.
fn filter(window: Window) -> Params {
    let period = PERIODS.into_iter().find(|period| period.word == window.as_str());
    Params { period, ..Params::default() }
}

/// The share of each outcome in all calls.
fn outcome_shares(window: Window, calls: &Bucket) -> Vec<Share> {
    let total = calls.calls();
    let over = Outcome::ALL.into_iter().map(|outcome| {
        let result = Some(ResultChoice::Over(vec![outcome]));
        let href = Params { result, ..filter(window) }.address();
        Share::of_outcome(outcome, href, count_of(calls, outcome), total)
    });
    let open = Share {
        glyph: "ringing",
        tone: Tone::Going.class(),
        ..Share::new(Tone::Going.name().to_owned(), String::new(), calls.open, total)
    };
    scaled(over.chain([open]).collect())
}

/// The share of each failure reason in the failed calls, and the share of all reasons that are not listed.
fn reason_shares(figures: &Figures, numbers: Numbers) -> (Vec<Share>, Option<Share>) {
    let period = figures.window.as_str();
    let shares = figures.reasons.iter().map(|(reason, n)| {
        let href = address::of_reason(reason, period, numbers);
        Share::new(format::sender_text(reason, numbers), href, *n, figures.failed)
    });
    let listed: u64 = figures.reasons.iter().map(|(_, n)| n).sum();
    let rest = figures.failed.saturating_sub(listed);
    let others =
        (rest > 0).then(|| Share::new("all other reasons".to_owned(), String::new(), rest, figures.failed));
    let mut shares = scaled(shares.chain(others).collect());
    let others = if rest > 0 { shares.pop() } else { None };
    (shares, others)
}

/// The share of each SIP code in the calls that failed with one.
fn sip_shares(figures: &Figures) -> Vec<Share> {
    let period = figures.window.as_str();
    let shares = figures.sip_codes.iter().map(|(code, n)| {
        let href = format!("/calls?sip={code}&period={period}");
        Share::new(format::sip_code(code), href, *n, figures.failed_by_sip)
    });
    scaled(shares.collect())
}

/// A rate per second. A rate above 0 is never shown as 0.
fn rate(rate: f64) -> String {
    match rate {
        0.0 => "0".to_owned(),
        ..0.05 => "under 0.1".to_owned(),
        ..9.95 => format!("{rate:.1}"),
        _ => format!("{rate:.0}"),
    }
}

/// The figures about webhooks. `latest`: when the latest webhook of each provider was stored. `None`: there is no
/// sample yet.
pub(super) fn webhook_figures(
    samples: &[Sample],
    mut latest: Vec<(Provider, Timestamp)>,
    now: Timestamp,
) -> Option<WebhookFigures> {
    let last = samples.last()?;
    let values: Vec<_> = samples.iter().map(|sample| sample.per_second).collect();
    let stored = samples.iter().map(|sample| sample.stored).sum();
    let span = u32::try_from(samples.len()).unwrap_or(u32::MAX);
    latest.sort_by_key(|(_, at)| Reverse(*at));
    let latest = latest
        .into_iter()
        .map(|(provider, at)| (provider.title(), at.as_millisecond(), format::age(at, now)));
    Some(WebhookFigures {
        latest: latest.collect(),
        stored: format!("{} in {}", format::count(stored), format::duration(INTERVAL * span)),
        per_second: rate(last.per_second),
        max_per_second: rate(values.iter().copied().fold(0.0, f64::max)),
        points: chart::sparkline(&values),
        waiting: format::count(last.waiting),
        lag: if last.waiting == 0 { "none".to_owned() } else { format::delay(last.lag) },
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_rate_above_nothing_is_not_shown_as_nothing() {
        assert_eq!(
            [0.0, 0.01, 0.06, 9.94, 9.96, 250.4].map(rate),
            ["0", "under 0.1", "0.1", "9.9", "10", "250"]
        );
    }

    #[test]
    fn a_webhook_is_late_after_five_average_intervals() {
        let now = Timestamp::from_second(1_000_000).unwrap();
        let late = |calls, minutes: u64| {
            let latest = crate::domain::time::before(now, Duration::from_mins(minutes));
            arrival(Window::Day, calls, Some(latest), now).map(|arrival| arrival.is_late)
        };
        let table = [
            (0, 99, None),
            (144, 50, Some(false)),
            (144, 51, Some(true)),
            (9000, 5, Some(false)),
            (9000, 6, Some(true)),
        ];
        for (calls, minutes, expected) in table {
            assert_eq!(late(calls, minutes), expected, "{calls} calls, {minutes} min");
        }
        let Arrival { text, .. } = arrival(Window::Day, 144, Some(now), now).unwrap();
        assert_eq!(
            text,
            "as often as usual: one call every 10 min on average; a webhook is late after 50 min"
        );
        assert_eq!(arrival(Window::Day, 144, None, now), None);
    }

    #[test]
    fn a_count_leads_to_its_calls_in_the_same_window() {
        for window in Window::ALL {
            assert_eq!(filter(window).address(), format!("/calls?period={}", window.as_str()));
        }
    }

    #[test]
    fn the_latest_webhook_of_all_is_first() {
        let at = |second| Timestamp::from_second(second).unwrap();
        let sample = |stored| Sample { stored, per_second: 0.2, waiting: 0, lag: Duration::ZERO };
        let latest = vec![(Provider::ElevenLabs, at(10)), (Provider::Twilio, at(70))];
        let shown = webhook_figures(&[sample(1), sample(2)], latest, at(80)).unwrap();
        let named: Vec<_> = shown.latest.iter().map(|(name, _, age)| (*name, age.as_str())).collect();
        assert_eq!(named, [("Twilio", "10 s"), ("ElevenLabs", "1 min")]);
        assert_eq!(shown.stored, "3 in 10 s");
        assert!(webhook_figures(&[], Vec::new(), at(0)).is_none());
    }
}
