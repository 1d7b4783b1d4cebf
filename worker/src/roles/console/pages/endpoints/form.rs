//! The forms that add an endpoint and that change its filter. Pure.

use aftercall_common::contract::provider::Provider;
use jiff::Timestamp;

use crate::{
    domain::{
        delivery::{Endpoint, EndpointId, EndpointUrl, EventType, Filter, Kind},
        time::read_moment,
    },
    endpoints::{EndpointError, NewEndpoint},
};

/// The fields of the form, as they were entered.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct EndpointForm {
    /// Id of the new endpoint, generated when the empty form is shown. A form that is submitted twice has the same id, so it
    /// adds one endpoint.
    pub id: String,
    pub url: String,
    pub kind: String,
    pub types: Vec<String>,
    pub agents: String,
    pub batches: String,
    pub since: String,
}

/// Why a form was refused.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FormError {
    /// The name of the field. Empty: the problem belongs to no field.
    pub field: &'static str,
    /// What is wrong, as a sentence.
    pub text: String,
}

impl FormError {
    fn new(field: &'static str, text: impl Into<String>) -> Self {
        Self { field, text: text.into() }
    }

    /// The problem that `error` describes.
    pub fn of(error: &EndpointError) -> Self {
        let field = match error {
            EndpointError::Url(_) => "url",
            EndpointError::Filter(_) => "types",
            EndpointError::TooMany
            | EndpointError::NoSecret(_)
            | EndpointError::NotRotated(_)
            | EndpointError::Changed(_)
            | EndpointError::Unknown(_)
            | EndpointError::Store(_) => "",
        };
        Self::new(field, format!("{}.", capitalized(&error.to_string())))
    }
}

/// `text` with its first character in upper case.
pub fn capitalized(text: &str) -> String {
    let mut chars = text.chars();
    chars.next().map_or_else(String::new, |first| first.to_uppercase().chain(chars).collect())
}

impl EndpointForm {
    /// Reads a submitted form. A missing field is empty, and an unknown field is ignored. Of a field that is repeated, the
    /// last value counts. Only `type` keeps every value.
    pub fn read(body: &[u8]) -> Self {
        let mut form = Self::default();
        for (name, value) in form_urlencoded::parse(body) {
            let field = match &*name {
                "type" => {
                    form.types.push(value.into_owned());
                    continue;
                }
                "id" => &mut form.id,
                "url" => &mut form.url,
                "kind" => &mut form.kind,
                "agents" => &mut form.agents,
                "batches" => &mut form.batches,
                "since" => &mut form.since,
                _ => continue,
            };
            *field = value.into_owned();
        }
        form
    }

    /// The form, filled with the current filter of `endpoint`.
    pub fn from_endpoint(endpoint: &Endpoint) -> Self {
        let Filter { types, agents, batches } = &endpoint.filter;
        let (agents, batches) = (agents.join(", "), batches.join(", "));
        Self {
            kind: endpoint.kind.as_str().to_owned(),
            types: types.clone(),
            agents,
            batches,
            ..Self::default()
        }
    }

    /// The filter that was entered. It is not checked.
    pub fn filter(&self) -> Filter {
        Filter { types: self.types.clone(), agents: entries(&self.agents), batches: entries(&self.batches) }
    }

    /// The endpoint that the form describes. A `since` such as `24h` is counted back from `now`.
    ///
    /// # Errors
    /// The first field that cannot be read. The filter is not checked.
    pub fn to_new_endpoint(&self, now: Timestamp) -> Result<NewEndpoint, FormError> {
        let id = EndpointId::parse(&self.id);
        let id = id.map_err(|_error| FormError::new("", "The form is incomplete. Load the page again."))?;
        let url = EndpointUrl::parse(&self.url);
        let url = url.map_err(|error| FormError::new("url", format!("The URL {error}.")))?;
        let kind = Kind::parse(&self.kind)
            .ok_or_else(|| FormError::new("kind", "Choose events or raw webhooks."))?;
        let since = Some(self.since.trim()).filter(|since| !since.is_empty());
        let since = since.map(|since| read_moment(since, now)).transpose();
        let since = since.map_err(|error| FormError::new("since", format!("The time {error}.")))?;
        Ok(NewEndpoint { id, url, kind, filter: self.filter(), since })
    }

    /// The types of events: name, and whether it is selected.
    pub fn event_types(&self) -> impl Iterator<Item = (&'static str, bool)> {
        self.selected(EventType::ALL.into_iter().map(EventType::as_str))
    }

    /// The providers of raw webhooks: name, and whether it is selected.
    pub fn providers(&self) -> impl Iterator<Item = (&'static str, bool)> {
        self.selected(Provider::ALL.iter().map(|provider| provider.word()))
    }

    fn selected(
        &self,
        names: impl Iterator<Item = &'static str>,
    ) -> impl Iterator<Item = (&'static str, bool)> {
        names.map(|name| (name, self.types.iter().any(|selected| selected == name)))
    }
}

/// The entries of a list with commas or line breaks between them, without empty ones.
fn entries(list: &str) -> Vec<String> {
    let entries = list.split([',', '\n']).map(str::trim).filter(|entry| !entry.is_empty());
    entries.map(str::to_owned).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::delivery::{Secrets, State, endpoint::ID_BYTES};

    fn read(body: &str) -> EndpointForm {
        EndpointForm::read(body.as_bytes())
    }

    #[test]
    fn submitted_form_becomes_a_new_endpoint() {
        let now: Timestamp = "2026-11-28T10:00:00Z".parse().unwrap();
        let form = read(
            "id=ep_0123456789abcdef&url=https%3A%2F%2Fexample.com%2Fhook&kind=events&type=call.status&type=call.outcome\
             &agents=a%2C+b%0D%0Ac%2C&batches=&since=24h&other=1",
        );
        let new = form.to_new_endpoint(now).unwrap();
        assert_eq!(new.id.as_str(), "ep_0123456789abcdef");
        assert_eq!((new.url.as_str(), new.kind), ("https://example.com/hook", Kind::Events));
        assert_eq!(new.filter.types, ["call.status", "call.outcome"]);
        assert_eq!(new.filter.agents, ["a", "b", "c"]);
        assert_eq!(new.filter.batches, Vec::<String>::new());
        assert_eq!(new.since, Some("2026-11-27T10:00:00Z".parse().unwrap()));
        let selected = form.event_types().filter(|(_, selected)| *selected).map(|(name, _)| name);
        assert_eq!(selected.collect::<Vec<_>>(), ["call.status", "call.outcome"]);
    }

    #[test]
    fn filter_that_the_form_shows_is_read_back_unchanged() {
        let form = EndpointForm {
            agents: "a, b".to_owned(),
            types: vec!["call.status".to_owned()],
            ..EndpointForm::default()
        };
        let filter = form.filter();
        assert_eq!(filter.agents, ["a", "b"]);
        let endpoint = Endpoint {
            id: EndpointId::new([1; ID_BYTES]),
            url: EndpointUrl::parse("https://example.com").unwrap(),
            kind: Kind::Events,
            filter: filter.clone(),
            secrets: Secrets::default(),
            state: State::Active,
            since: Timestamp::UNIX_EPOCH,
            created_at: Timestamp::UNIX_EPOCH,
            failing_since: None,
        };
        assert_eq!(EndpointForm::from_endpoint(&endpoint).filter(), filter);
    }

    #[test]
    fn form_without_an_id_is_refused() {
        let problem =
            read("url=https://example.com&kind=raw").to_new_endpoint(Timestamp::UNIX_EPOCH).unwrap_err();
        assert_eq!(
            (problem.field, problem.text.as_str()),
            ("", "The form is incomplete. Load the page again.")
        );
    }

    #[test]
    fn a_field_that_cannot_be_read_is_named() {
        for (body, field, text) in [
            ("", "url", "The URL is not a URL, such as https://example.com/webhooks."),
            ("url=ftp://example.com", "url", "The URL must begin with https://."),
            ("url=https://example.com&kind=all", "kind", "Choose events or raw webhooks."),
            (
                "url=https://example.com&kind=raw&since=soon",
                "since",
                "The time must be like 2026-11-24T08:00:00Z, or like 24h.",
            ),
        ] {
            let problem = read(&format!("id=ep_0123456789abcdef&{body}"))
                .to_new_endpoint(Timestamp::UNIX_EPOCH)
                .unwrap_err();
            assert_eq!((problem.field, problem.text.as_str()), (field, text), "{body}");
        }
    }
}
