//! The words of the filter that are not words of a call. Pure.

/// The names of the filters that have several values.
pub const LISTS: [&str; 2] = ["outcome", "status"];

/// The words of `outcome` for calls in progress and for stuck calls.
pub const GOING: &str = "going";
pub const STUCK: &str = "stuck";

/// ElevenLabs' judgements: word in the database and in the URL, name on the page.
pub const EVALUATIONS: [(&str, &str); 3] =
    [("success", "successful"), ("failure", "not successful"), ("unknown", "undecided")];

/// A period that ends now.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Period {
    /// Value of the period in the URL.
    pub word: &'static str,
    /// Name of the period on the page.
    pub name: &'static str,
    /// Its length.
    pub hours: u64,
}

/// The periods that the form offers.
pub const PERIODS: [Period; 4] = [
    Period { word: "1h", name: "last hour", hours: 1 },
    Period { word: "24h", name: "last 24 hours", hours: 24 },
    Period { word: "7d", name: "last 7 days", hours: 7 * 24 },
    Period { word: "30d", name: "last 30 days", hours: 30 * 24 },
];
