//! The filter of deliveries, as its form and its address write it. Pure.

use jiff::Timestamp;

use crate::{
    domain::{
        delivery::{DeliveryState, EndpointId},
        time::{read_moment, rfc3339},
    },
    roles::console::view::format,
    store::DeliveryFilter,
};

/// Most characters of the name of an unknown field that are shown.
const MAX_NAME: usize = 40;

/// The fields of the filter, as they were entered. Empty fields select everything.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Params {
    pub endpoint: String,
    pub state: String,
    pub call: String,
    pub since: String,
    pub until: String,
    /// The page begins after the delivery with this id.
    pub before: String,
    /// Number of messages that were sent again by the form before.
    pub sent: u64,
    /// The name of a field that is not known.
    pub unknown: Option<String>,
    /// The name of a field that is given twice.
    pub repeated: Option<String>,
}

/// A field that cannot be read: its name, and why.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Problem {
    pub field: &'static str,
    pub text: String,
}

impl Params {
    /// The filter for all deliveries to `endpoint`.
    pub fn of_endpoint(endpoint: &EndpointId) -> Self {
        Self { endpoint: endpoint.to_string(), ..Self::default() }
    }

    /// Reads a query or a submitted form.
    pub fn read(query: &[u8]) -> Self {
        let mut params = Self::default();
        for (name, value) in form_urlencoded::parse(query) {
            let field = match &*name {
                "endpoint" => &mut params.endpoint,
                "state" => &mut params.state,
                "call" => &mut params.call,
                "since" => &mut params.since,
                "until" => &mut params.until,
                "before" => &mut params.before,
                "sent" => {
                    params.sent = value.parse().unwrap_or(0);
                    continue;
                }
                _ => {
                    params.unknown.get_or_insert_with(|| format::cut(&name, MAX_NAME));
                    continue;
                }
            };
            if !field.is_empty() {
                params.repeated.get_or_insert_with(|| name.into_owned());
            }
            value.trim().clone_into(field);
        }
        params
    }

    /// What the fields select at the time `now`.
    ///
    /// # Errors
    /// A field cannot be read, or is not known.
    pub fn filter(&self, now: Timestamp) -> Result<DeliveryFilter, Problem> {
        let problem = |field, text: &str| Problem { field, text: text.to_owned() };
        if let Some(name) = &self.unknown {
            let known = "endpoint, state, call, since and until";
            return Err(problem("", &format!("There is no filter “{name}”. The filters are {known}.")));
        }
        if let Some(name) = &self.repeated {
            return Err(problem("", &format!("The filter {name} is given twice.")));
        }
        let set = |text: &String| Some(text.clone()).filter(|text| !text.is_empty());
        let moment = |field, text: &String| {
            let read = set(text).map(|text| read_moment(&text, now)).transpose();
            read.map_err(|error| Problem { field, text: format!("The time {error}.") })
        };
        let state = set(&self.state).map(|state| DeliveryState::parse(&state).ok_or(())).transpose();
        let endpoint = set(&self.endpoint).map(|id| EndpointId::parse(&id)).transpose();
        Ok(DeliveryFilter {
            endpoint: endpoint
                .map_err(|_error| problem("endpoint", "This is not the id of an endpoint."))?
                .map(|id| id.to_string()),
            state: state.map_err(|()| problem("state", "A state is waiting, delivered or failed."))?,
            call: set(&self.call),
            since: moment("since", &self.since)?,
            until: moment("until", &self.until)?,
        })
    }

    /// The same fields with times that do not move: a duration before `now` becomes a time.
    pub fn fixed(&self, now: Timestamp) -> Self {
        let fixed = |text: &String| read_moment(text, now).map_or_else(|_error| text.clone(), rfc3339);
        Self { since: fixed(&self.since), until: fixed(&self.until), ..self.clone() }
    }

    /// Whether the fields select deliveries that can be sent again together: those of an endpoint or of a call.
    pub fn is_replayable(&self) -> bool {
        !self.endpoint.is_empty() || !self.call.is_empty()
    }

    /// The fields that select deliveries, with their values. Empty ones are left out.
    pub fn fields(&self) -> impl Iterator<Item = (&'static str, &str)> {
        let fields = [
            ("endpoint", &self.endpoint),
            ("state", &self.state),
            ("call", &self.call),
            ("since", &self.since),
            ("until", &self.until),
        ];
        fields.into_iter().map(|(name, value)| (name, value.as_str())).filter(|(_, value)| !value.is_empty())
    }

    /// The address of the list from the beginning.
    pub fn address(&self) -> String {
        self.address_before("")
    }

    /// The address of the page of the list after the delivery `before`.
    pub fn address_before(&self, before: &str) -> String {
        let before = Some(("before", before)).filter(|(_, id)| !id.is_empty());
        let query = form_urlencoded::Serializer::new(String::new())
            .extend_pairs(self.fields().chain(before))
            .finish();
        if query.is_empty() { "/deliveries".to_owned() } else { format!("/deliveries?{query}") }
    }

    /// The states: word, and whether it is selected.
    pub fn states(&self) -> impl Iterator<Item = (&'static str, bool)> {
        DeliveryState::ALL.into_iter().map(|state| (state.as_str(), state.as_str() == self.state))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_address_of_a_filter_is_read_as_the_filter() {
        let params = Params {
            endpoint: "ep_0123456789abcdef".to_owned(),
            state: "failed".to_owned(),
            since: "24h".to_owned(),
            ..Params::default()
        };
        let address = params.address_before("a:b&c");
        assert_eq!(
            address,
            "/deliveries?endpoint=ep_0123456789abcdef&state=failed&since=24h&before=a%3Ab%26c"
        );
        let read = Params::read(address.split_once('?').unwrap().1.as_bytes());
        assert_eq!(read, Params { before: "a:b&c".to_owned(), ..params });
        assert_eq!(Params::default().address(), "/deliveries");
    }

    #[test]
    fn a_duration_is_fixed_when_the_list_is_shown() {
        let now: Timestamp = "2026-11-28T10:00:00Z".parse().unwrap();
        let params = Params { since: "24h".to_owned(), ..Params::default() };
        let fixed = params.fixed(now);
        assert_eq!(fixed.since, "2026-11-27T10:00:00.000Z");
        assert_eq!((fixed.until.as_str(), fixed.is_replayable()), ("", false));
        assert_eq!(params.filter(now).unwrap().since, Some("2026-11-27T10:00:00Z".parse().unwrap()));
    }

    #[test]
    fn a_field_that_cannot_be_read_is_named() {
        for (query, field) in [
            ("endpoint=ep_1", "endpoint"),
            ("state=lost", "state"),
            ("since=soon", "since"),
            ("until=x", "until"),
            ("call=a&call=b", ""),
            ("calls=a", ""),
        ] {
            let problem = Params::read(query.as_bytes()).filter(Timestamp::UNIX_EPOCH).unwrap_err();
            assert_eq!(problem.field, field, "{}", problem.text);
        }
    }
}
