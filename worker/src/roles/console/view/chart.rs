//! The geometry of charts, which the templates draw as SVG. Pure.
//!
//! Parts of a chart differ in pattern and order, not only in colour, and each chart has its numbers as text
//! beside it, so people who cannot see colours or charts can read them.

use std::time::Duration;

use jiff::Timestamp;

use super::{format, tone::Tone};
use crate::{
    domain::call::Outcome,
    store::views::{Bucket, Figures, Window},
};

/// Size of the chart of calls over time, in units of its `viewBox`.
pub const WIDTH: f64 = 960.0;
pub const HEIGHT: f64 = 180.0;
/// Width of a bar, as a fraction of its column.
const BAR_WIDTH: f64 = 0.76;
/// Width and height of the box of a [`sparkline`].
const SPARKLINE_WIDTH: f64 = 240.0;
const SPARKLINE_HEIGHT: f64 = 48.0;

/// The part of a bar for one tone.
#[derive(Debug, PartialEq)]
pub struct Part {
    pub tone: Tone,
    pub y: f64,
    pub height: f64,
}

/// The bar for the calls of one bucket.
#[derive(Debug, PartialEq)]
pub struct Bar {
    pub x: f64,
    pub width: f64,
    pub parts: Vec<Part>,
    pub title: String,
}

/// The chart of calls over time, stacked by tone.
pub struct BarChart {
    pub bars: Vec<Bar>,
    /// Horizontal lines: height and label.
    pub lines: Vec<(f64, String)>,
    /// Labels below the chart: horizontal position in percent, and time.
    pub times: Vec<(f64, String)>,
}

/// Number of calls of each tone.
pub fn by_tone(calls: &Bucket) -> [u64; 4] {
    Tone::ALL.map(|tone| {
        let of = Outcome::ALL.iter().zip(calls.outcomes);
        let of = of.filter(|(outcome, _)| Tone::of_outcome(**outcome) == tone);
        let open = if tone == Tone::Going { calls.open } else { 0 };
        of.map(|(_, calls)| calls).sum::<u64>() + open
    })
}

impl BarChart {
    /// The chart of `figures`.
    pub fn new(figures: &Figures) -> Self {
        let buckets = &figures.buckets;
        let top = top(buckets.iter().map(Bucket::calls).max().unwrap_or(0));
        let column = WIDTH / count(buckets.len().max(1) as u64);
        let scale = HEIGHT / count(top);
        let bars = buckets.iter().enumerate().map(|(n, bucket)| {
            let mut y = HEIGHT;
            let parts = Tone::ALL.into_iter().zip(by_tone(bucket)).filter(|(_, calls)| *calls > 0);
            let parts = parts.map(|(tone, calls)| {
                let height = count(calls) * scale;
                y -= height;
                Part { tone, y: round(y), height: round(height) }
            });
            Bar {
                x: round((count(n as u64) + (1.0 - BAR_WIDTH) / 2.0) * column),
                width: round(column * BAR_WIDTH),
                parts: parts.collect(),
                title: title(bucket, figures.window),
            }
        });
        let lines = [top, top / 2].into_iter().filter(|line| *line > 0);
        Self {
            bars: bars.collect(),
            lines: lines.map(|line| (round(HEIGHT - count(line) * scale), format::count(line))).collect(),
            times: times(buckets, figures.window),
        }
    }
}

fn title(bucket: &Bucket, window: Window) -> String {
    let total = bucket.calls();
    let parts = Tone::ALL.into_iter().zip(by_tone(bucket)).filter(|(_, calls)| *calls > 0);
    let parts: Vec<_> =
        parts.map(|(tone, calls)| format!("{} {}", format::count(calls), tone.name())).collect();
    let parts = if parts.is_empty() { String::new() } else { format!(": {}", parts.join(", ")) };
    format!("{}, {} calls{parts}", time(bucket.at, window), format::count(total))
}

/// The label of a time below the chart.
pub fn time(at: Timestamp, window: Window) -> String {
    let format = if window == Window::Week { "%a %H:%M" } else { "%H:%M" };
    at.strftime(format).to_string()
}

/// About four labels below the chart, each in the middle of its bar.
fn times(buckets: &[Bucket], window: Window) -> Vec<(f64, String)> {
    let column = 100.0 / count(buckets.len().max(1) as u64);
    let step = (buckets.len() / 4).max(1);
    let chosen = buckets.iter().enumerate().filter(|(n, _)| n % step == step / 2);
    chosen.map(|(n, bucket)| (round((count(n as u64) + 0.5) * column), time(bucket.at, window))).collect()
}

/// The upper end of the scale: the smallest even number of the form 1, 2 or 5 times a power of ten that is
/// at least `max`. It is even because the line in the middle is labelled with its half.
fn top(max: u64) -> u64 {
    let mut power = 1_u64;
    loop {
        for factor in [1, 2, 5] {
            let top = power.saturating_mul(factor);
            if top >= max.max(2) && top.is_multiple_of(2) {
                return top;
            }
        }
        if power > u64::MAX / 10 {
            return max;
        }
        power *= 10;
    }
}

/// A line through `values`, as the points of an SVG polyline. The line keeps 1 unit of distance from the
/// edges.
pub fn sparkline(values: &[f64]) -> String {
    let max = values.iter().copied().fold(0.0, f64::max).max(1.0);
    let step = SPARKLINE_WIDTH / count((values.len().max(2) - 1) as u64);
    let point = |(n, value): (usize, &f64)| {
        let y = SPARKLINE_HEIGHT - 1.0 - value / max * (SPARKLINE_HEIGHT - 2.0);
        format!("{:.1},{y:.1}", count(n as u64) * step)
    };
    values.iter().enumerate().map(point).collect::<Vec<_>>().join(" ")
}

/// The quantile `fraction` (from 0 to 1) of a sorted list. `None`: the list is empty.
pub fn quantile(sorted: &[Duration], fraction: f64) -> Option<Duration> {
    #[expect(
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        clippy::cast_precision_loss,
        reason = "an index of a short list"
    )]
    let n = ((sorted.len().checked_sub(1)?) as f64 * fraction).round() as usize;
    sorted.get(n).copied()
}

/// A number of calls as a coordinate.
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
    fn a_scale_ends_at_a_round_number_above_the_highest_bar() {
        let cases = [(0, 2), (1, 2), (2, 2), (3, 10), (11, 20), (21, 50), (99, 100), (1001, 2000)];
        for (max, expected) in cases {
            assert_eq!(top(max), expected, "{max}");
        }
        assert_eq!(top(u64::MAX), u64::MAX);
    }

    #[test]
    fn parts_of_a_bar_add_up_and_stay_inside_the_chart() {
        let mut outcomes = [0; Outcome::ALL.len()];
        (outcomes[0], outcomes[1]) = (5, 2);
        let at = Timestamp::from_second(1_790_000_000).unwrap();
        let figures = Figures {
            at,
            window: Window::Hour,
            buckets: vec![
                Bucket { at, outcomes, open: 3 },
                Bucket { at, outcomes: [0; Outcome::ALL.len()], open: 0 },
            ],
            reasons: Vec::new(),
            failed: 2,
            sip_codes: Vec::new(),
            failed_by_sip: 0,
            waits: Vec::new(),
        };
        let chart = BarChart::new(&figures);
        let bar = &chart.bars[0];
        let height: f64 = bar.parts.iter().map(|part| part.height).sum();
        assert!((height - HEIGHT).abs() < 0.1, "ten of ten calls fill the chart: {height}");
        assert_eq!(
            bar.parts.iter().map(|part| part.tone).collect::<Vec<_>>(),
            [Tone::Done, Tone::Going, Tone::Missed]
        );
        assert!(
            bar.title.ends_with("10 calls: 5 answered, 3 no outcome yet, 2 not answered"),
            "{}",
            bar.title
        );
        assert!(chart.bars[1].parts.is_empty());
    }

    #[test]
    fn a_quantile_is_taken_from_the_sorted_list() {
        let waits: Vec<_> = (1..=5).map(Duration::from_secs).collect();
        assert_eq!(quantile(&waits, 0.5), Some(Duration::from_secs(3)));
        assert_eq!(quantile(&waits, 0.95), Some(Duration::from_secs(5)));
        assert_eq!(quantile(&[], 0.5), None);
    }
}
