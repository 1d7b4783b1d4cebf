//! The filter of the list of calls, as it is written in a URL. Pure.
//!
//! Invariant: every view has exactly one address ([`Params::query`]), so that people can bookmark a view,
//! share it, and return to it.

use std::{borrow::Cow, collections::BTreeSet};

use aftercall_common::phone_numbers::Numbers;
use jiff::Timestamp;
use mongodb::bson::oid::ObjectId;

use self::{
    problem::MAX_TEXT,
    search::{reasons, search},
    words::LISTS,
};
pub use self::{
    problem::Problem,
    words::{EVALUATIONS, GOING, PERIODS, Period, STUCK},
};
use super::length;
use crate::{
    domain::call::{Outcome, Status, is_sip_failure},
    store::views::{CallRow, Cursor, DIRECTIONS, Direction, Filter, Length, ResultFilter, Search},
};

mod moment;
mod problem;
mod search;
mod words;

/// The parameters of the URL.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Params {
    /// An id, the first characters of an id, a telephone number, or its last digits.
    pub q: String,
    /// How the calls turned out. `None`: any call.
    pub result: Option<ResultChoice>,
    /// Statuses, in the order of [`Status::ALL`].
    pub statuses: Vec<Status>,
    /// The id of an agent. Empty: any agent.
    pub agent: String,
    /// The id of a batch. Empty: any batch.
    pub batch: String,
    /// The id of a campaign. Empty: any campaign.
    pub campaign: String,
    /// One of [`DIRECTIONS`].
    pub direction: Option<&'static str>,
    /// One of [`EVALUATIONS`].
    pub evaluation: Option<&'static str>,
    /// Lengths of calls.
    pub length: Option<Length>,
    /// A part of a failure reason.
    pub reason: String,
    /// The SIP response code of a failure. Empty: any code, or none.
    pub sip: String,
    /// A period that ends now, such as `24h`.
    pub period: Option<Period>,
    /// Earliest creation time, in whole seconds.
    pub since: Option<Timestamp>,
    /// Latest creation time, in whole seconds. A whole minute includes all of its seconds, because the field of the
    /// form has none.
    pub until: Option<Timestamp>,
    /// The page shows the calls that are older or newer than this call. `None`: it shows the newest calls.
    pub cursor: Option<(Cursor, Direction)>,
}

/// How calls turned out, as the parameter `outcome` names it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ResultChoice {
    /// Outcomes, in the order of [`Outcome::ALL`].
    Over(Vec<Outcome>),
    /// The calls are in progress.
    Going,
    /// No event ended the calls in time.
    Stuck,
}

impl Params {
    /// Reads the query of a URL: the parameters that can be read, and what is wrong with the first other one.
    pub fn read(query: &str) -> (Self, Option<Problem>) {
        Self::read_pairs(form_urlencoded::parse(query.as_bytes()))
    }

    /// Reads parameters as [`Params::read`], for all calls of a list. A position in the list is a problem.
    pub fn read_whole<'a>(
        pairs: impl Iterator<Item = (Cow<'a, str>, Cow<'a, str>)>,
    ) -> (Self, Option<Problem>) {
        let (params, problem) = Self::read_pairs(pairs);
        let problem = problem.or(params.cursor.map(|_| Problem::position()));
        (params, problem)
    }

    fn read_pairs<'a>(pairs: impl Iterator<Item = (Cow<'a, str>, Cow<'a, str>)>) -> (Self, Option<Problem>) {
        let (mut params, mut problem) = (Self::default(), None);
        let (mut results, mut seen) = (Vec::new(), BTreeSet::new());
        for (name, value) in pairs {
            let value = value.trim();
            if value.is_empty() && problem::is_filter(&name) {
                continue; // A form sends each of its fields.
            }
            // The fields with boxes come once for each box.
            let is_twice = !LISTS.contains(&name.as_ref()) && !seen.insert(name.clone());
            if is_twice {
                problem.get_or_insert_with(|| Problem::twice(&name));
            } else if !params.take(&name, value, &mut results) {
                problem.get_or_insert_with(|| Problem::new(&name));
            }
        }
        if seen.contains("older") && seen.contains("newer") {
            problem.get_or_insert_with(|| Problem::twice("older"));
        }
        params.statuses = Status::ALL.into_iter().filter(|status| params.statuses.contains(status)).collect();
        match ResultChoice::read(&results) {
            Ok(result) => params.result = result,
            Err(mixed) => problem = problem.or(Some(mixed)),
        }
        (params, problem)
    }

    /// Takes the value of a parameter, and adds the words of an outcome to `results`. Returns whether it can be read.
    /// A value that cannot be read changes nothing.
    fn take(&mut self, name: &str, value: &str, results: &mut Vec<String>) -> bool {
        // The parser puts the replacement character for bytes that are no text.
        if value.chars().count() > MAX_TEXT || value.contains(char::REPLACEMENT_CHARACTER) {
            return false;
        }
        match name {
            "q" => value.clone_into(&mut self.q),
            "agent" => value.clone_into(&mut self.agent),
            "batch" => value.clone_into(&mut self.batch),
            "campaign" => value.clone_into(&mut self.campaign),
            "reason" => value.clone_into(&mut self.reason),
            "sip" if is_sip_failure(value) => value.clone_into(&mut self.sip),
            "since" => return set(&mut self.since, moment::read(value)),
            "until" => return set(&mut self.until, moment::read(value)),
            "outcome" if value.split(',').all(ResultChoice::is_word) => {
                results.extend(value.split(',').map(str::to_owned));
            }
            "status" => {
                let statuses: Option<Vec<_>> = value.split(',').map(Status::from_word).collect();
                let is_readable = statuses.is_some();
                self.statuses.extend(statuses.into_iter().flatten());
                return is_readable;
            }
            "direction" => {
                return set(&mut self.direction, DIRECTIONS.into_iter().find(|word| *word == value));
            }
            "evaluation" => {
                let mut words = EVALUATIONS.iter().map(|(word, _)| *word);
                return set(&mut self.evaluation, words.find(|word| *word == value));
            }
            "duration" => return set(&mut self.length, length::read(value)),
            "period" => {
                return set(&mut self.period, PERIODS.into_iter().find(|period| period.word == value));
            }
            "older" => return set(&mut self.cursor, cursor(value).map(|cursor| (cursor, Direction::Older))),
            "newer" => return set(&mut self.cursor, cursor(value).map(|cursor| (cursor, Direction::Newer))),
            _ => return false,
        }
        true
    }

    /// The query that [`Params::read`] turns into these parameters.
    pub fn query(&self) -> String {
        let mut query = form_urlencoded::Serializer::new(String::new());
        let statuses: Vec<_> = self.statuses.iter().map(|status| status.as_str()).collect();
        let results = self.result.as_ref().map(ResultChoice::words).unwrap_or_default();
        let duration = self.length.map(length::text).unwrap_or_default();
        let [since, until] = self.since_and_until();
        for (name, value) in [
            ("q", self.q.as_str()),
            ("outcome", &results.join(",")),
            ("status", &statuses.join(",")),
            ("agent", &self.agent),
            ("batch", &self.batch),
            ("campaign", &self.campaign),
            ("direction", self.direction.unwrap_or_default()),
            ("evaluation", self.evaluation.unwrap_or_default()),
            ("duration", &duration),
            ("reason", &self.reason),
            ("sip", &self.sip),
            ("period", self.period.map_or("", |period| period.word)),
            ("since", &since),
            ("until", &until),
        ] {
            if !value.is_empty() {
                query.append_pair(name, value);
            }
        }
        if let Some((cursor, direction)) = self.cursor {
            let name = if direction == Direction::Older { "older" } else { "newer" };
            query.append_pair(name, &cursor_text(cursor));
        }
        query.finish()
    }

    /// The address of the list with this filter.
    pub fn address(&self) -> String {
        self.address_at("/calls")
    }

    /// The address of the table of all calls with this filter.
    pub fn csv_address(&self) -> String {
        self.page_at(None).address_at("/calls.csv")
    }

    /// The address of the page at `path` with this filter.
    fn address_at(&self, path: &str) -> String {
        let query = self.query();
        if query.is_empty() { path.to_owned() } else { format!("{path}?{query}") }
    }

    /// The same filter, on another page of the list.
    pub fn page_at(&self, cursor: Option<(Cursor, Direction)>) -> Self {
        Self { cursor, ..self.clone() }
    }

    /// Whether the filter leaves out any calls.
    pub fn is_filtered(&self) -> bool {
        *self != Self { cursor: self.cursor, ..Self::default() }
    }

    /// Whether the text searched for is an id.
    pub fn searches_id(&self, numbers: Numbers) -> bool {
        matches!(search(&self.q, numbers), Some(Search::Id(_)))
    }

    /// Whether the text searched for is a number, or a part of one, that pages do not show.
    pub fn searches_hidden_number(&self, numbers: Numbers) -> bool {
        let is_number = matches!(search(&self.q, numbers), Some(Search::Number(_) | Search::LastDigits(_)));
        is_number && numbers == Numbers::Masked
    }

    /// The earliest and the latest creation time, as the fields of the form take them. Empty: no limit.
    pub fn since_and_until(&self) -> [String; 2] {
        [self.since, self.until].map(|at| at.map(moment::text).unwrap_or_default())
    }

    /// Whether a list leaves out calls, because more reasons match than one filter has, or not all are known.
    pub fn searches_some_reasons(&self, known: &[String], numbers: Numbers) -> bool {
        !self.reason.is_empty() && reasons(&self.reason, known, numbers).is_partial
    }

    /// Whether `word` is chosen as an outcome.
    pub fn has_result(&self, word: &str) -> bool {
        self.result.as_ref().is_some_and(|result| result.words().contains(&word))
    }

    /// Whether the list shows `row` at `now`. `known`: the failure reasons that were known before.
    pub fn shows(&self, row: &CallRow, known: &[String], numbers: Numbers, now: Timestamp) -> bool {
        let mut reasons = Vec::new();
        if !self.reason.is_empty() {
            reasons.extend(known.iter().chain(&row.failure_reason).cloned());
        }
        self.filter(&reasons, numbers, now).shows(row)
    }

    /// The filter for the database. It contains the `known` failure reasons that match the reason searched
    /// for.
    pub fn filter(&self, known: &[String], numbers: Numbers, now: Timestamp) -> Filter {
        let period = self.period.map(|period| {
            now.checked_sub(std::time::Duration::from_hours(period.hours)).unwrap_or(Timestamp::MIN)
        });
        let text = |text: &String| Some(text.clone()).filter(|text| !text.is_empty());
        Filter {
            search: search(&self.q, numbers),
            result: self.result.as_ref().map(|result| match result {
                ResultChoice::Over(outcomes) => ResultFilter::Over(outcomes.clone()),
                ResultChoice::Going => ResultFilter::Going(now),
                ResultChoice::Stuck => ResultFilter::Stuck(now),
            }),
            statuses: self.statuses.clone(),
            agent: text(&self.agent),
            batch: text(&self.batch),
            campaign: text(&self.campaign),
            direction: self.direction,
            evaluation: self.evaluation,
            length: self.length,
            reasons: (!self.reason.is_empty()).then(|| reasons(&self.reason, known, numbers).found),
            sip_code: text(&self.sip),
            since: [period, self.since].into_iter().flatten().max(),
            until: self.until.map(moment::end),
        }
    }
}

/// Sets `field` if there is a value. Returns whether there is one.
fn set<T>(field: &mut Option<T>, value: Option<T>) -> bool {
    let is_readable = value.is_some();
    if is_readable {
        *field = value;
    }
    is_readable
}

impl ResultChoice {
    /// Whether `word` is one of the words that a choice has.
    fn is_word(word: &str) -> bool {
        [GOING, STUCK].contains(&word) || Outcome::from_word(word).is_some()
    }

    /// The choice with these words; none without words. Calls in progress and stuck calls are a choice of their own,
    /// because no index serves them together with outcomes.
    fn read(words: &[String]) -> Result<Option<Self>, Problem> {
        let has = |word: &str| words.iter().any(|other| other == word);
        let outcomes: Vec<_> = Outcome::ALL.into_iter().filter(|outcome| has(outcome.as_str())).collect();
        match (has(GOING), has(STUCK), outcomes.is_empty()) {
            (false, false, true) => Ok(None),
            (false, false, false) => Ok(Some(Self::Over(outcomes))),
            (true, false, true) => Ok(Some(Self::Going)),
            (false, true, true) => Ok(Some(Self::Stuck)),
            _ => Err(Problem::new("outcome")),
        }
    }

    /// The words in the URL.
    pub fn words(&self) -> Vec<&'static str> {
        match self {
            Self::Over(outcomes) => outcomes.iter().map(|outcome| outcome.as_str()).collect(),
            Self::Going => vec![GOING],
            Self::Stuck => vec![STUCK],
        }
    }
}

/// A position in a list, as addresses write it.
pub fn cursor_text(cursor: Cursor) -> String {
    format!("{}.{}", cursor.at.as_millisecond(), cursor.id.to_hex())
}

/// The position that [`cursor_text`] wrote.
pub fn cursor(text: &str) -> Option<Cursor> {
    let (at, id) = text.split_once('.')?;
    let at = Timestamp::from_millisecond(at.parse().ok()?).ok()?;
    Some(Cursor { at, id: ObjectId::parse_str(id).ok()? })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn second(n: i64) -> Timestamp {
        Timestamp::from_second(n).unwrap()
    }

    #[test]
    fn every_view_has_one_address() {
        #[rustfmt::skip]
        let table = [ // query as a form sends it, query in the address
            ("q=&outcome=&status=&agent=&reason=+&period=&since=&until=", ""),
            ("q=+CA1+&period=24h",                              "q=CA1&period=24h"),
            ("status=busy&status=initiated&status=busy",        "status=initiated%2Cbusy"),
            ("outcome=busy&outcome=answered",                   "outcome=answered%2Cbusy"),
            ("outcome=busy%2Clost&status=busy%2Clost",          ""),
            ("outcome=stuck&outcome=stuck",                     "outcome=stuck"),
            ("outcome=busy&outcome=stuck",                      ""),
            ("batch=b&agent=a&direction=inbound",               "agent=a&batch=b&direction=inbound"),
            ("direction=up&evaluation=good&campaign=c",         "campaign=c"),
            ("evaluation=failure",                              "evaluation=failure"),
            ("reason=a&duration=0-10",                          "duration=-10&reason=a"),
            ("duration=&reason=a",                              "reason=a"),
            ("sip=486&q=&reason=a",                             "reason=a&sip=486"),
            ("sip=200",                                         ""),
            ("status=sold&period=1y&since=soon&older=x.y",      ""),
            ("since=2026-11-25T14%3A00",                        "since=2026-11-25T14%3A00"),
            ("since=2026-11-25T14%3A00%2B02%3A00",              "since=2026-11-25T12%3A00"),
            ("until=2026-11-25T14%3A00%3A30Z",                  "until=2026-11-25T14%3A00%3A30"),
            ("older=1790000000000.507f1f77bcf86cd799439011",    "older=1790000000000.507f1f77bcf86cd799439011"),
            ("reason=a%26b&other=1",                            "reason=a%26b"),
        ];
        for (sent, address) in table {
            let params = Params::read(sent).0;
            assert_eq!(params.query(), address, "{sent}");
            assert_eq!(Params::read(address).0, params, "{sent}");
        }
    }

    #[test]
    fn what_cannot_be_read_is_named_with_what_is_taken() {
        #[rustfmt::skip]
        let table = [
            ("q=a&sip=486&duration=-10&outcome=busy,failed&period=", None),
            ("outcome=busy,going", Some("The filter outcome takes answered, voicemail, busy,")),
            ("agent=a&agent=b",  Some("The filter agent is given twice.")),
            ("older=1.507f1f77bcf86cd799439011&newer=1.507f1f77bcf86cd799439011", Some("The filter older is given twice, or with newer.")),
            ("other=",           Some("There is no filter with the name “other”.")),
            ("agent=a%ff",       Some("The filter agent takes a text of at most 500 characters.")),
            ("duration=%2B10-60", Some("The filter duration takes ")),
            ("sip=200",          Some("The filter sip takes the SIP response code of a failure, 400 to 699.")),
            ("outcome=busy,lost", Some("The filter outcome takes answered, voicemail, busy,")),
            ("status=sold",      Some("The filter status takes initiated, ")),
            ("direction=up",     Some("The filter direction takes inbound, outbound.")),
            ("evaluation=good",  Some("The filter evaluation takes success, failure, unknown.")),
            ("duration=10",      Some("The filter duration takes seconds, such as 10-60, 300- or -10.")),
            ("period=1y",        Some("The filter period takes 1h, 24h, 7d, 30d.")),
            ("until=soon",       Some("The filter until takes a time, such as 2026-11-25T14:00 (in UTC) or 2026-11-25T14:00-05:00.")),
            ("older=x.y",        Some("The filter older takes a position in the list, as its links have it.")),
            ("agnet=a&sip=1",    Some("There is no filter with the name “agnet”.")),
            ("agent_id=1&sip=1", Some("There is no filter with the name “agent_id”.")),
            ("1=1",              Some("There is no filter with the name “1”.")),
            ("%2B6580000001%00<a>=1", Some("There is no filter with the name “+65••••••01<a>”.")),
        ];
        for (query, expected) in table {
            let problem = Params::read(query).1.map(|problem| problem.text);
            match expected {
                Some(text) => assert!(problem.as_ref().unwrap().starts_with(text), "{query}: {problem:?}"),
                None => assert_eq!(problem, None, "{query}"),
            }
        }
        let (longest, too_long) = ("x".repeat(MAX_TEXT), "x".repeat(MAX_TEXT + 1));
        for name in ["q", "agent", "batch", "campaign", "reason"] {
            assert_eq!(Params::read(&format!("{name}={longest}")).1, None, "{name}");
            let problem = Params::read(&format!("{name}={too_long}")).1.unwrap();
            assert_eq!(
                problem.text,
                format!("The filter {name} takes a text of at most {MAX_TEXT} characters.")
            );
        }
    }

    #[test]
    fn the_filter_has_the_later_begin_and_the_whole_last_minute() {
        let (params, _) = Params::read("period=1h&since=1970-01-01T00:01&until=1970-01-01T00:02");
        let filter = params.filter(&[], Numbers::Masked, second(90));
        assert_eq!(filter.since, Some(second(60)), "the later of period and since");
        assert_eq!(filter.until.unwrap().as_millisecond(), 179_999);
    }
}
