//! How the simulated provider of `cargo local up` behaves.

use std::time::Duration;

use crate::simulator::{Faults, Options, Twilio};

/// One phase of a simulated call: slow enough to be watched.
const PACE: Duration = Duration::from_secs(2);

/// What goes wrong at the simulated ElevenLabs API. Shares are from 0 to 1.
#[derive(Clone, Copy, Debug, Default, clap::Args)]
#[command(next_help_heading = "Simulated ElevenLabs API")]
pub struct Behaviour {
    /// Share of webhooks that are never sent
    #[arg(long, value_name = "SHARE", default_value_t = 0.0)]
    lose: f64,
    /// Share of webhooks that are sent twice
    #[arg(long, value_name = "SHARE", default_value_t = 0.0)]
    repeat: f64,
    /// Seconds by which webhooks are late at most, and so out of order
    #[arg(long, value_name = "SECONDS", default_value_t = 0.0)]
    late: f64,
    /// Share of placed calls whose answer never comes
    #[arg(long, value_name = "SHARE", default_value_t = 0.0)]
    hang: f64,
    /// Share of requests answered 500
    #[arg(long, value_name = "SHARE", default_value_t = 0.0)]
    fail: f64,
    /// Share of requests answered 429
    #[arg(long, value_name = "SHARE", default_value_t = 0.0)]
    limit: f64,
}

impl Behaviour {
    /// The simulator's options; its webhooks go to `gateway`, a base URL.
    pub fn options(self, gateway: Option<&str>) -> Options {
        let share = |share: f64| share.clamp(0.0, 1.0);
        let at = |path: &str| gateway.map(|base| format!("{base}/api/webhooks/{path}/call-status"));
        Options {
            seed: rand::random(),
            pace: PACE,
            webhook_url: at("elevenlabs"),
            twilio: at("twilio").map(|url| Twilio { url, auth_token: None, public_url: None }),
            faults: Faults {
                lose: share(self.lose),
                duplicate: share(self.repeat),
                late: Duration::try_from_secs_f64(self.late).unwrap_or_default(),
                hang_after_dial: share(self.hang),
                fail: share(self.fail),
                rate_limit: share(self.limit),
                ..Faults::default()
            },
            ..Options::default()
        }
    }

    /// The same as command line arguments.
    pub fn arguments(self) -> Vec<String> {
        [
            ("--lose", self.lose),
            ("--repeat", self.repeat),
            ("--late", self.late),
            ("--hang", self.hang),
            ("--fail", self.fail),
            ("--limit", self.limit),
        ]
        .into_iter()
        .flat_map(|(name, value)| [name.to_owned(), value.to_string()])
        .collect()
    }
}
