//! `GET /overview`: calls in numbers.

use std::sync::Arc;

use aftercall_common::phone_numbers::Numbers;
use askama::Template;
use axum::{
    extract::{RawQuery, State},
    http::StatusCode,
    response::Response,
};

use super::{
    Console,
    broker::Sample,
    chart::{self, Bars, HEIGHT, WIDTH},
    format::{self, Tone},
    page::{self, Shell},
};
use crate::{
    domain::call::Status,
    store::views::{Figures, Window},
};

#[derive(Template)]
#[template(path = "overview.html")]
struct Overview {
    shell: Shell,
    window: Window,
    counted: Option<Counted>,
    webhooks: Option<Webhooks>,
}

impl Overview {
    fn windows() -> [(Window, &'static str); 3] {
        Window::ALL.map(|window| (window, name(window)))
    }

    fn window_name(&self) -> String {
        name(self.window).to_lowercase()
    }
}

fn name(window: Window) -> &'static str {
    match window {
        Window::Hour => "Last hour",
        Window::Day => "Last 24 hours",
        Window::Week => "Last 7 days",
    }
}

/// What was counted, in words.
struct Counted {
    total: String,
    answer_rate: Option<String>,
    wait: Option<(String, String)>,
    waits: usize,
    bars: Bars,
    tones: Vec<(Tone, String)>,
    statuses: Vec<Share>,
    reasons: Vec<Share>,
    others: Option<Share>,
    table: Vec<(String, [String; 4])>,
    at: String,
}

/// A line with a bar.
struct Share {
    name: String,
    href: String,
    glyph: &'static str,
    tone: &'static str,
    count: String,
    percent: String,
    /// Length of its bar, of 100.
    length: f64,
}

/// The broker's part, in words.
struct Webhooks {
    now: String,
    most: String,
    points: String,
    waiting: String,
    lag: String,
}

/// `GET /overview?window=`
pub async fn show(State(console): State<Arc<Console>>, RawQuery(query): RawQuery) -> Response {
    let query = query.unwrap_or_default();
    let window = query.strip_prefix("window=").and_then(Window::from_word).unwrap_or(Window::Day);
    let figures = console.figures.get(&console, window).await;
    let template = Overview {
        shell: Shell::new(&console, "/overview"),
        window,
        counted: figures.map(|figures| counted(&figures, console.numbers)),
        webhooks: webhooks(&console.broker.all()),
    };
    page::page(StatusCode::OK, &template)
}

fn counted(figures: &Figures, numbers: Numbers) -> Counted {
    let totals = figures.totals();
    let total: u64 = totals.iter().sum();
    let of = |statuses: &[Status]| -> u64 {
        Status::ALL.iter().zip(totals).filter(|(status, _)| statuses.contains(status)).map(|(_, n)| n).sum()
    };
    let answered = of(&[Status::Answered, Status::Completed, Status::Ended]);
    let decided = total - of(&[Status::Initiated, Status::Ringing]);
    let period = figures.window.as_str();
    let share = |name: String, href: String, n: u64, whole: u64| Share {
        name,
        href,
        glyph: "",
        tone: "failed",
        count: format::count(n),
        percent: percent(n, whole),
        length: if whole == 0 { 0.0 } else { chart::count(n) / chart::count(whole) * 100.0 },
    };
    let statuses = Status::ALL.into_iter().zip(totals).map(|(status, n)| Share {
        glyph: format::glyph(Some(status)),
        tone: Tone::of(Some(status)).class(),
        ..share(
            format::status(Some(status)).to_owned(),
            format!("/calls?status={}&period={period}", status.as_str()),
            n,
            total,
        )
    });
    let reasons: Vec<_> = figures
        .reasons
        .iter()
        .map(|(reason, n)| {
            let query =
                form_urlencoded::Serializer::new(String::new()).append_pair("reason", reason).finish();
            let shown = format::sent(reason, numbers);
            // What is hidden in the text is not said in its link either.
            let href =
                if shown == *reason { format!("/calls?{query}&period={period}") } else { String::new() };
            share(shown, href, *n, figures.failed)
        })
        .collect();
    let rest = figures.failed.saturating_sub(figures.reasons.iter().map(|(_, n)| n).sum());
    let quantile = |share| chart::quantile(&figures.waits, share).map(format::wait);
    Counted {
        total: format::count(total),
        answer_rate: (decided > 0).then(|| percent(answered, decided)),
        wait: quantile(0.5).zip(quantile(0.95)),
        waits: figures.waits.len(),
        bars: Bars::new(figures),
        tones: Tone::ALL.into_iter().zip(chart::by_tone(&totals).map(format::count)).collect(),
        statuses: statuses.collect(),
        reasons,
        others: (rest > 0)
            .then(|| share("all other reasons".to_owned(), String::new(), rest, figures.failed)),
        table: figures
            .buckets
            .iter()
            .map(|bucket| {
                (chart::time(bucket.at, figures.window), chart::by_tone(&bucket.calls).map(format::count))
            })
            .collect(),
        at: format::clock(figures.at),
    }
}

fn percent(n: u64, whole: u64) -> String {
    if whole == 0 {
        return "0 %".to_owned();
    }
    let percent = chart::count(n) / chart::count(whole) * 100.0;
    if percent > 0.0 && percent < 1.0 { format!("{percent:.1} %") } else { format!("{percent:.0} %") }
}

fn webhooks(samples: &[Sample]) -> Option<Webhooks> {
    let last = samples.last()?;
    let values: Vec<_> = samples.iter().map(|sample| sample.per_second).collect();
    let rate = |rate: f64| if rate < 10.0 { format!("{rate:.1}") } else { format!("{rate:.0}") };
    Some(Webhooks {
        now: rate(last.per_second),
        most: rate(values.iter().copied().fold(0.0, f64::max)),
        points: chart::spark(&values),
        waiting: format::count(last.waiting),
        lag: if last.waiting == 0 { "none".to_owned() } else { format::wait(last.lag) },
    })
}
