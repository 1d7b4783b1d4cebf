//! Command line options for the faults of the simulated APIs.

use std::time::Duration;

use crate::{
    config::Config,
    simulator::{Faults, Options, Twilio},
};

/// Duration of a phase of a simulated call. It is long enough to be watched in the console.
const PACE: Duration = Duration::from_secs(2);

/// Faults of the simulated ElevenLabs API. Shares are probabilities from 0 to 1.
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
    /// The options of a simulator with these faults.
    ///
    /// `gateway` is the base URL that receives webhooks. `config` holds the key of Twilio's signatures.
    pub fn options(self, gateway: Option<&str>, config: &Config) -> Options {
        let share = |share: f64| share.clamp(0.0, 1.0);
        let route = |provider: &str| format!("/api/webhooks/{provider}/call-status");
        let at = |provider: &str| gateway.map(|base| format!("{base}{}", route(provider)));
        let token = config.twilio_auth_token.as_ref().and_then(|tokens| tokens.expose().split(',').next());
        let public_url = config.public_url.as_ref().map(|base| base.trim_end_matches('/'));
        let twilio = |url| Twilio {
            url,
            auth_token: token.map(|token| token.trim().to_owned()),
            public_url: public_url.map(|base| format!("{base}{}", route("twilio"))),
        };
        Options {
            seed: rand::random(),
            pace: PACE,
            webhook_url: at("elevenlabs"),
            twilio: at("twilio").map(twilio),
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

    /// The command line arguments of these faults, for the process of the simulator.
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
