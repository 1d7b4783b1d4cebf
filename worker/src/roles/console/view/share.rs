//! Shares in a whole, each as a row with a bar. Pure.

use super::{
    chart,
    filter::{Params, ResultChoice},
    format,
    tone::{self, Tone},
};
use crate::domain::call::{Disposition, Outcome};

/// A row with a bar.
pub struct Share {
    pub name: String,
    /// Address of the calls. Empty: no link.
    pub href: String,
    pub glyph: &'static str,
    pub tone: &'static str,
    pub count: String,
    pub percent: String,
    /// Length of the bar, from 0 to 100, which is the longest bar of its list.
    pub length: f64,
}

impl Share {
    /// The share of `n` in `whole`, in the colour of failures.
    pub fn new(name: String, href: String, n: u64, whole: u64) -> Self {
        Self {
            name,
            href,
            glyph: "",
            tone: Tone::Failed.class(),
            count: format::count(n),
            percent: percent(n, whole),
            length: chart::count(n),
        }
    }

    /// The share of the calls with an outcome.
    pub fn of_outcome(outcome: Outcome, href: String, n: u64, whole: u64) -> Self {
        Self::of_disposition(Disposition::Over(outcome), href, n, whole)
    }

    /// The share of the calls that stand like this.
    pub fn of_disposition(disposition: Disposition, href: String, n: u64, whole: u64) -> Self {
        Self {
            glyph: tone::disposition_glyph(disposition),
            tone: Tone::of_disposition(disposition).class(),
            ..Self::new(tone::disposition_text(disposition).to_owned(), href, n, whole)
        }
    }
}

/// The calls that nobody answered.
pub struct Missed {
    /// How many they are, as a sentence without its end.
    pub sentence: String,
    /// Address of their list.
    pub href: String,
    /// Address of their table.
    pub csv: String,
}

impl Missed {
    /// The calls among those of `filter` that nobody answered. `n` gives the number of calls with an outcome, and
    /// `whole` is the number of all calls. `None`: there are none.
    pub fn new(n: impl Fn(Outcome) -> u64, filter: Params, whole: u64) -> Option<Self> {
        let outcomes = Tone::Missed.outcomes();
        let missed = outcomes.iter().map(|outcome| n(*outcome)).sum();
        let calls = match missed {
            0 => return None,
            1 => "1 call was".to_owned(),
            _ => format!("{} calls were", format::count(missed)),
        };
        let filter = Params { result: Some(ResultChoice::Over(outcomes)), ..filter };
        Some(Self {
            sentence: format!("{calls} {} ({})", Tone::Missed.name(), percent(missed, whole)),
            href: filter.address(),
            csv: filter.csv_address(),
        })
    }
}

/// Scales the bars of a list to the longest one.
pub fn scaled(mut shares: Vec<Share>) -> Vec<Share> {
    let longest = shares.iter().map(|share| share.length).fold(1.0, f64::max);
    for share in &mut shares {
        share.length = share.length / longest * 100.0;
    }
    shares
}

/// `n` as a percentage of `whole`.
pub fn percent(n: u64, whole: u64) -> String {
    if whole == 0 {
        return "0 %".to_owned();
    }
    let percent = chart::count(n) / chart::count(whole) * 100.0;
    if percent > 0.0 && percent < 1.0 { format!("{percent:.1} %") } else { format!("{percent:.0} %") }
}
