//! Plots as geometry: the templates draw them as SVG. Pure.
//!
//! Told apart by pattern and by order, not by colour alone; every plot has its numbers in words beside it.

use std::time::Duration;

use jiff::Timestamp;

use super::format::{self, Tone};
use crate::{
    domain::call::Status,
    store::views::{Bucket, Figures, Window},
};

/// Size of the plot of calls over time, in its own units.
pub const WIDTH: f64 = 960.0;
pub const HEIGHT: f64 = 180.0;
/// Share of its place that a bar takes.
const BAR: f64 = 0.76;

/// A part of a bar.
#[derive(Debug, PartialEq)]
pub struct Part {
    pub tone: Tone,
    pub y: f64,
    pub height: f64,
}

/// Calls of one step of time.
#[derive(Debug, PartialEq)]
pub struct Bar {
    pub x: f64,
    pub width: f64,
    pub parts: Vec<Part>,
    pub title: String,
}

/// Calls over time, stacked by tone.
pub struct Bars {
    pub columns: Vec<Bar>,
    /// Lines across, with their words.
    pub lines: Vec<(f64, String)>,
    /// Times below, with their places.
    pub times: Vec<(f64, String)>,
}

/// Calls by tone.
pub fn by_tone(calls: &[u64; 12]) -> [u64; 4] {
    Tone::ALL.map(|tone| {
        let of = Status::ALL.iter().zip(calls).filter(|(status, _)| Tone::of(Some(**status)) == tone);
        of.map(|(_, calls)| calls).sum()
    })
}

impl Bars {
    /// The plot of `figures`.
    pub fn new(figures: &Figures) -> Self {
        let buckets = &figures.buckets;
        let top = top(buckets.iter().map(|bucket| bucket.calls.iter().sum()).max().unwrap_or(0));
        let place = WIDTH / count(buckets.len().max(1) as u64);
        let scale = HEIGHT / count(top);
        let bars = buckets.iter().enumerate().map(|(n, bucket)| {
            let mut y = HEIGHT;
            let parts = Tone::ALL.into_iter().zip(by_tone(&bucket.calls)).filter(|(_, calls)| *calls > 0);
            let parts = parts.map(|(tone, calls)| {
                let height = count(calls) * scale;
                y -= height;
                Part { tone, y: round(y), height: round(height) }
            });
            Bar {
                x: round((count(n as u64) + (1.0 - BAR) / 2.0) * place),
                width: round(place * BAR),
                parts: parts.collect(),
                title: title(bucket, figures.window),
            }
        });
        let lines = [top, top / 2].into_iter().filter(|line| *line > 0);
        Self {
            columns: bars.collect(),
            lines: lines.map(|line| (round(HEIGHT - count(line) * scale), format::count(line))).collect(),
            times: times(buckets, figures.window),
        }
    }
}

fn title(bucket: &Bucket, window: Window) -> String {
    let total: u64 = bucket.calls.iter().sum();
    let parts = Tone::ALL.into_iter().zip(by_tone(&bucket.calls)).filter(|(_, calls)| *calls > 0);
    let parts: Vec<_> =
        parts.map(|(tone, calls)| format!("{} {}", format::count(calls), tone.name())).collect();
    let parts = if parts.is_empty() { String::new() } else { format!(": {}", parts.join(", ")) };
    format!("{}, {} calls{parts}", time(bucket.at, window), format::count(total))
}

/// A time as it stands below a plot.
pub fn time(at: Timestamp, window: Window) -> String {
    let format = if window == Window::Week { "%a %H:%M" } else { "%H:%M" };
    at.strftime(format).to_string()
}

/// Four times below the plot, at the middle of their bars.
fn times(buckets: &[Bucket], window: Window) -> Vec<(f64, String)> {
    let place = 100.0 / count(buckets.len().max(1) as u64);
    let step = (buckets.len() / 4).max(1);
    let chosen = buckets.iter().enumerate().filter(|(n, _)| n % step == step / 2);
    chosen.map(|(n, bucket)| (round((count(n as u64) + 0.5) * place), time(bucket.at, window))).collect()
}

/// The round number at or above `most`: 1, 2 or 5 times a power of ten, and even, so that it can be halved.
fn top(most: u64) -> u64 {
    let mut power = 1_u64;
    loop {
        for factor in [1, 2, 5] {
            let top = power.saturating_mul(factor);
            if top >= most.max(2) && top.is_multiple_of(2) {
                return top;
            }
        }
        if power > u64::MAX / 10 {
            return most;
        }
        power *= 10;
    }
}

/// A line through values, as the points of an SVG polyline in a box of 240 by 48.
pub fn spark(values: &[f64]) -> String {
    let most = values.iter().copied().fold(0.0, f64::max).max(1.0);
    let step = 240.0 / count((values.len().max(2) - 1) as u64);
    let point = |(n, value): (usize, &f64)| {
        format!("{:.1},{:.1}", count(n as u64) * step, 47.0 - value / most * 46.0)
    };
    values.iter().enumerate().map(point).collect::<Vec<_>>().join(" ")
}

/// The value at a share of a sorted list.
pub fn quantile(sorted: &[Duration], share: f64) -> Option<Duration> {
    #[expect(
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        clippy::cast_precision_loss,
        reason = "an index of a short list"
    )]
    let n = ((sorted.len().checked_sub(1)?) as f64 * share).round() as usize;
    sorted.get(n).copied()
}

#[expect(clippy::cast_precision_loss, reason = "counts of calls, drawn")]
pub fn count(n: u64) -> f64 {
    n as f64
}

fn round(value: f64) -> f64 {
    (value * 100.0).round() / 100.0
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_plot_ends_at_a_round_number_above_its_highest_bar() {
        let cases = [(0, 2), (1, 2), (2, 2), (3, 10), (11, 20), (21, 50), (99, 100), (1001, 2000)];
        for (most, expected) in cases {
            assert_eq!(top(most), expected, "{most}");
        }
        assert_eq!(top(u64::MAX), u64::MAX);
    }

    #[test]
    fn bars_stack_to_their_sum_and_stay_in_the_plot() {
        let mut calls = [0; 12];
        (calls[0], calls[4], calls[6]) = (3, 5, 2);
        let at = Timestamp::from_second(1_790_000_000).unwrap();
        let figures = Figures {
            at,
            window: Window::Hour,
            buckets: vec![Bucket { at, calls }, Bucket { at, calls: [0; 12] }],
            reasons: Vec::new(),
            failed: 2,
            waits: Vec::new(),
        };
        let plot = Bars::new(&figures);
        let bar = &plot.columns[0];
        let height: f64 = bar.parts.iter().map(|part| part.height).sum();
        assert!((height - HEIGHT).abs() < 0.1, "ten of ten: {height}");
        assert_eq!(
            bar.parts.iter().map(|part| part.tone).collect::<Vec<_>>(),
            [Tone::Done, Tone::Going, Tone::Missed]
        );
        assert!(bar.title.ends_with("10 calls: 5 held, 3 under way, 2 not reached"), "{}", bar.title);
        assert!(plot.columns[1].parts.is_empty());
    }

    #[test]
    fn the_median_is_in_the_middle() {
        let waits: Vec<_> = (1..=5).map(Duration::from_secs).collect();
        assert_eq!(quantile(&waits, 0.5), Some(Duration::from_secs(3)));
        assert_eq!(quantile(&waits, 0.95), Some(Duration::from_secs(5)));
        assert_eq!(quantile(&[], 0.5), None);
    }
}
