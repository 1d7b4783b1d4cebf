//! The providers of webhooks. Gateway and worker share this list.
//!
//! A row of `providers!` names a provider and its outside names. Paths, subjects and labels follow from them.
//! Gateway and worker match on [`Provider`] without a wildcard, so the code compiles only when a new provider has
//! rules for its signature and a parser.

/// Declares [`Provider`] from one row for each provider. A row has its name, the segment of its path and
/// subject, the header of its signature, and the variable of the gateway that holds its secrets.
macro_rules! providers {
    ($($(#[$doc:meta])+ $name:ident: $segment:literal, $signature_header:literal, $secret:literal;)+) => {
        /// A service that posts webhooks to the gateway.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
        pub enum Provider {
            $($(#[$doc])+ $name,)+
        }

        impl Provider {
            /// Every provider.
            pub const ALL: &'static [Self] = &[$(Self::$name),+];

            /// The name for people.
            pub const fn title(self) -> &'static str {
                match self { $(Self::$name => stringify!($name),)+ }
            }

            /// The value of `origin` in the history of a call.
            pub const fn word(self) -> &'static str {
                match self { $(Self::$name => $segment,)+ }
            }

            /// The path that its webhooks are posted to.
            pub const fn path(self) -> &'static str {
                match self { $(Self::$name => concat!("/api/webhooks/", $segment, "/call-status"),)+ }
            }

            /// The subject that its webhooks are published to.
            pub const fn subject(self) -> &'static str {
                match self { $(Self::$name => concat!("webhooks.", $segment, ".call-status"),)+ }
            }

            /// The header that carries its signature.
            pub const fn signature_header(self) -> &'static str {
                match self { $(Self::$name => $signature_header,)+ }
            }

            /// The variable of the gateway that holds the secrets for its signature.
            pub const fn secret_variable(self) -> &'static str {
                match self { $(Self::$name => $secret,)+ }
            }

            /// The value of the label `route` in metrics and logs.
            pub const fn route_label(self) -> &'static str {
                match self { $(Self::$name => concat!($segment, "_call_status"),)+ }
            }

            /// The name of the span of a request that brings a webhook.
            pub const fn request_span(self) -> &'static str {
                match self { $(Self::$name => concat!("POST /api/webhooks/", $segment, "/call-status"),)+ }
            }

            /// The name of the span of a publish.
            pub const fn publish_span(self) -> &'static str {
                match self { $(Self::$name => concat!("send webhooks.", $segment, ".call-status"),)+ }
            }
        }
    };
}

providers! {
    /// ElevenLabs. Its webhooks are JSON.
    ElevenLabs: "elevenlabs", "ElevenLabs-Signature", "ELEVENLABS_WEBHOOK_SECRET";
    /// Twilio. Its status callbacks are forms.
    Twilio: "twilio", "X-Twilio-Signature", "TWILIO_AUTH_TOKEN";
}

#[cfg(test)]
mod tests {
    use super::Provider::{self, ElevenLabs, Twilio};

    #[test]
    fn outside_names_follow_the_contract() {
        #[rustfmt::skip]
        let table = [
            (ElevenLabs.path(),             "/api/webhooks/elevenlabs/call-status"),
            (ElevenLabs.subject(),          "webhooks.elevenlabs.call-status"),
            (ElevenLabs.signature_header(), "ElevenLabs-Signature"),
            (ElevenLabs.route_label(),      "elevenlabs_call_status"),
            (ElevenLabs.secret_variable(),  "ELEVENLABS_WEBHOOK_SECRET"),
            (ElevenLabs.word(),             "elevenlabs"),
            (Twilio.path(),                 "/api/webhooks/twilio/call-status"),
            (Twilio.subject(),              "webhooks.twilio.call-status"),
            (Twilio.signature_header(),     "X-Twilio-Signature"),
            (Twilio.route_label(),          "twilio_call_status"),
            (Twilio.secret_variable(),      "TWILIO_AUTH_TOKEN"),
            (Twilio.word(),                 "twilio"),
            (Twilio.request_span(),         "POST /api/webhooks/twilio/call-status"),
            (Twilio.publish_span(),         "send webhooks.twilio.call-status"),
        ];
        for (name, expected) in table {
            assert_eq!(name, expected);
        }
        assert_eq!(Provider::ALL, [ElevenLabs, Twilio]);
    }
}
