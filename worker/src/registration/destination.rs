//! A webhook as operators know it: its name, its id and the host of its URL. Pure.

use std::fmt;

use reqwest::Url;

use crate::elevenlabs::Webhook;

/// Longest name that is shown, in characters.
const MAX_NAME: usize = 60;

/// A webhook that receives events. The rest of its URL is not kept, because it may hold a token.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Destination {
    /// The id of the webhook.
    pub id: String,
    /// Its name. `None`: the webhook is not in the list of webhooks.
    pub name: Option<String>,
    /// The host of its URL.
    pub host: Option<String>,
}

impl Destination {
    /// The webhook `id`, which `webhook` describes if it is listed.
    pub(super) fn new(id: &str, webhook: Option<&Webhook>) -> Self {
        let url = webhook.and_then(|webhook| Url::parse(&webhook.url).ok());
        Self {
            id: id.to_owned(),
            name: webhook.map(|webhook| webhook.name.chars().take(MAX_NAME).collect()),
            host: url.and_then(|url| url.host_str().map(str::to_owned)),
        }
    }
}

impl fmt::Display for Destination {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match (&self.name, &self.host) {
            (Some(name), Some(host)) => write!(f, "{name:?} ({}, host {host})", self.id),
            (Some(name), None) => write!(f, "{name:?} ({})", self.id),
            (None, _) => write!(f, "{} (not in the list of webhooks)", self.id),
        }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn a_destination_shows_name_and_host_but_no_path_and_no_control_characters() {
        let webhook = |name: &str, url: &str| {
            let webhook = json!({ "webhook_id": "wh_1", "name": name, "webhook_url": url });
            serde_json::from_value::<Webhook>(webhook).unwrap()
        };
        let shown = |webhook: Option<&Webhook>| Destination::new("wh_1", webhook).to_string();
        let n8n = webhook("n8n\u{1b}[2J", "https://me:pa55@n8n.example.com:8443/webhook/t0ken?x=t0ken");
        assert_eq!(shown(Some(&n8n)), r#""n8n\u{1b}[2J" (wh_1, host n8n.example.com)"#);
        assert_eq!(shown(Some(&webhook("crm", "nonsense"))), r#""crm" (wh_1)"#);
        assert_eq!(shown(None), "wh_1 (not in the list of webhooks)");
        let long = webhook(&"x".repeat(5000), "https://a.example");
        assert!(shown(Some(&long)).len() < 120);
    }
}
