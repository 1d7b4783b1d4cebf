//! The filter of the console's list of calls. Pure.

use std::time::Duration;

use jiff::Timestamp;

use super::{id_prefix::IdPrefix, last_digits::LastDigits, length::Length, plan::Conditions, row::CallRow};
use crate::{
    domain::{
        call::{MAX_CALL, Outcome, Status},
        time::{after, before},
    },
    store::export::ExportFilter,
};

/// Most reasons in one filter. The server merges at most 200 ordered scans, and a filter needs twelve scans
/// (one for each status) for a reason.
pub const MAX_REASONS: usize = 16;

/// The conditions of a list of calls. The list shows the calls that meet all of them.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Filter {
    /// Only calls that this search finds.
    pub search: Option<Search>,
    /// Only calls that turned out like this. `None`: any call.
    pub result: Option<ResultFilter>,
    /// Only calls with one of these statuses. Empty: any status.
    pub statuses: Vec<Status>,
    /// Only calls of the agent with this id.
    pub agent: Option<String>,
    /// Only calls of this batch.
    pub batch: Option<String>,
    /// Only calls of this campaign.
    pub campaign: Option<String>,
    /// Only calls in this direction: `inbound` or `outbound`.
    pub direction: Option<&'static str>,
    /// Only calls that ElevenLabs judges like this: `success`, `failure` or `unknown`.
    pub evaluation: Option<&'static str>,
    /// Only calls of these lengths.
    pub length: Option<Length>,
    /// Only calls that failed for one of these reasons, at most [`MAX_REASONS`].
    pub reasons: Option<Vec<String>>,
    /// Only calls that failed with this SIP response code.
    pub sip_code: Option<String>,
    /// Only calls that were created at this time or later.
    pub since: Option<Timestamp>,
    /// Only calls that were created at this time or earlier.
    pub until: Option<Timestamp>,
}

/// A search by identifier.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Search {
    /// The beginning of a call id, a conversation id or the id of a placement.
    Id(IdPrefix),
    /// The callee's number, in all its spellings.
    Number(Vec<String>),
    /// The last digits of the caller's or of the callee's number.
    LastDigits(LastDigits),
}

/// A filter by the state of calls, as people ask for it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ResultFilter {
    /// Calls that are over with one of these outcomes.
    Over(Vec<Outcome>),
    /// Calls in progress at this time.
    Going(Timestamp),
    /// Calls that no event ended, although they began longer ago than a call can last, at this time.
    Stuck(Timestamp),
}

impl Filter {
    /// The latest creation time of a call that is stuck at `now`.
    fn stuck_until(now: Timestamp) -> Timestamp {
        before(before(now, MAX_CALL), Duration::from_millis(1))
    }

    /// The statuses. Empty: any status.
    fn all_statuses(&self) -> Vec<Status> {
        let is_unfinished = matches!(self.result, Some(ResultFilter::Going(_) | ResultFilter::Stuck(_)));
        match (is_unfinished, self.statuses.is_empty()) {
            (false, _) => self.statuses.clone(),
            (true, true) => Status::UNFINISHED.to_vec(),
            (true, false) => self.statuses.iter().copied().filter(|status| !status.is_finished()).collect(),
        }
    }

    /// The earliest creation time.
    fn earliest(&self) -> Option<Timestamp> {
        match self.result {
            Some(ResultFilter::Going(now)) => {
                let going = before(now, MAX_CALL);
                Some(self.since.map_or(going, |since| since.max(going)))
            }
            _ => self.since,
        }
    }

    /// The latest creation time.
    fn latest(&self) -> Option<Timestamp> {
        match self.result {
            Some(ResultFilter::Stuck(now)) => {
                let stuck = Self::stuck_until(now);
                Some(self.until.map_or(stuck, |until| until.min(stuck)))
            }
            _ => self.until,
        }
    }

    /// Names of fields, each with the values of which a call must have one.
    fn fields(&self) -> Vec<(&'static str, Vec<String>)> {
        let mut fields = Vec::new();
        if let Some(Search::Number(numbers)) = &self.search {
            fields.push(("toNumber", numbers.clone()));
        }
        for (field, value) in [
            ("batchCallId", &self.batch),
            ("campaignId", &self.campaign),
            ("sipCode", &self.sip_code),
            ("agentId", &self.agent),
        ] {
            fields.extend(value.iter().map(|value| (field, vec![value.clone()])));
        }
        if let Some(reasons) = &self.reasons {
            fields.push(("failureReason", reasons.clone()));
        }
        let statuses = self.all_statuses();
        if !statuses.is_empty() || self.excludes_all() {
            fields.push(("status", statuses.iter().map(|status| status.as_str().to_owned()).collect()));
        }
        if let Some(ResultFilter::Over(outcomes)) = &self.result {
            let outcomes = outcomes.iter().map(|outcome| outcome.as_str().to_owned());
            fields.push(("outcome", outcomes.collect()));
        }
        for (field, value) in [("direction", self.direction), ("callSuccessful", self.evaluation)] {
            fields.extend(value.map(|value| (field, vec![value.to_owned()])));
        }
        fields
    }

    /// Whether the chosen statuses exclude the chosen result, so that no call matches.
    fn excludes_all(&self) -> bool {
        !self.statuses.is_empty() && self.all_statuses().is_empty()
    }

    /// The conditions for the database. They do not contain [`Search::Id`], because ids are looked up
    /// separately.
    pub(super) fn conditions(&self) -> Conditions {
        let mut conditions = Conditions::created(self.earliest(), self.latest());
        conditions.length = self.length;
        for (field, values) in self.fields() {
            conditions.with(field, values);
        }
        if let Some(digits) = self.last_digits() {
            conditions.with_last_digits(digits.clone());
        }
        conditions
    }

    fn last_digits(&self) -> Option<&LastDigits> {
        match &self.search {
            Some(Search::LastDigits(digits)) => Some(digits),
            _ => None,
        }
    }

    /// The export of the calls that the list shows at `now`. `None`: the list is a search for an id, which is
    /// not exported.
    pub fn export(&self, now: Timestamp) -> Option<ExportFilter> {
        if matches!(self.search, Some(Search::Id(_))) {
            return None;
        }
        let until = self.latest().map_or(now, |latest| after(latest, Duration::from_millis(1)).min(now));
        Some(ExportFilter {
            since: self.earliest(),
            until,
            length: self.length,
            last_digits: self.last_digits().cloned(),
            fields: self.fields(),
        })
    }

    /// Whether the list shows `call`. Agrees with the query.
    pub fn shows(&self, call: &CallRow) -> bool {
        let is_named = match &self.search {
            None => true,
            Some(Search::Number(numbers)) => {
                call.to_number.as_ref().is_some_and(|number| numbers.contains(number))
            }
            Some(Search::LastDigits(digits)) => {
                let numbers = [&call.to_number, &call.from_number];
                call.number_suffixes.iter().any(|suffix| suffix == digits.suffix())
                    && (!digits.is_beyond_index()
                        || numbers.into_iter().flatten().any(|number| digits.is_end_of(number)))
            }
            Some(Search::Id(id)) => {
                [&call.call_id, &call.shared_call_id, &call.conversation_id, &call.placement_id]
                    .into_iter()
                    .flatten()
                    .any(|own| id.finds(own))
            }
        };
        is_named
            && self.earliest().is_none_or(|earliest| call.created_at >= earliest)
            && self.latest().is_none_or(|latest| call.created_at <= latest)
            && self.length.is_none_or(|length| call.stated_length.is_some_and(|own| length.contains(own)))
            && self.fields().iter().all(|(field, values)| {
                *field == "toNumber" || value(call, field).is_some_and(|own| values.iter().any(|v| v == own))
            })
    }
}

/// The value of a field that a filter names.
fn value<'a>(call: &'a CallRow, field: &str) -> Option<&'a str> {
    match field {
        "batchCallId" => call.batch.as_deref(),
        "campaignId" => call.campaign.as_deref(),
        "agentId" => call.agent_id.as_deref(),
        "sipCode" => call.sip_code.as_deref(),
        "failureReason" => call.failure_reason.as_deref(),
        "status" => call.status.map(Status::as_str),
        "outcome" => call.outcome.map(Outcome::as_str),
        "direction" => call.direction.as_deref(),
        "callSuccessful" => call.evaluation.as_deref(),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use aftercall_common::phone_numbers::Numbers;

    use super::*;

    fn second(n: i64) -> Timestamp {
        Timestamp::from_second(n).unwrap()
    }

    #[test]
    fn a_changed_call_is_shown_if_the_query_would_find_it() {
        let call = CallRow {
            call_id: Some("CA1".to_owned()),
            to_number: Some("+65".to_owned()),
            from_number: Some("+12025550199".to_owned()),
            number_suffixes: vec!["0199".to_owned()],
            status: Some(Status::Busy),
            outcome: Some(Outcome::Busy),
            agent_id: Some("agent_1".to_owned()),
            batch: Some("btc_1".to_owned()),
            direction: Some("outbound".to_owned()),
            failure_reason: Some("busy".to_owned()),
            sip_code: Some("486".to_owned()),
            created_at: second(50),
            stated_length: Some(10),
            ..CallRow::empty()
        };
        let search = |search| Filter { search: Some(search), ..Filter::default() };
        let result = |result| Filter { result: Some(result), ..Filter::default() };
        let text = |text: &str| Some(text.to_owned());
        #[rustfmt::skip]
        let table = [
            (Filter::default(), true),
            (search(Search::Id(IdPrefix::new("CA", Numbers::Masked))), true),
            (search(Search::Id(IdPrefix::new("A1", Numbers::Masked))), false),
            (search(Search::Number(vec!["+65".to_owned()])), true),
            (search(Search::Number(vec!["+6".to_owned()])), false),
            (search(Search::LastDigits(LastDigits::new("0199").unwrap())), true),
            (search(Search::LastDigits(LastDigits::new("50199").unwrap())), true),
            (search(Search::LastDigits(LastDigits::new("10199").unwrap())), false),
            (result(ResultFilter::Over(vec![Outcome::Answered, Outcome::Busy])), true),
            (result(ResultFilter::Over(vec![Outcome::Answered])), false),
            (result(ResultFilter::Going(second(60))), false),
            (Filter { statuses: vec![Status::Busy], ..Filter::default() }, true),
            (Filter { statuses: vec![Status::Ended], ..Filter::default() }, false),
            (Filter { agent: text("agent_1"), batch: text("btc_1"), ..Filter::default() }, true),
            (Filter { agent: text("agent_1"), batch: text("btc_2"), ..Filter::default() }, false),
            (Filter { sip_code: text("486"), ..Filter::default() }, true),
            (Filter { sip_code: text("603"), ..Filter::default() }, false),
            (Filter { campaign: text("btc_1"), ..Filter::default() }, false),
            (Filter { direction: Some("outbound"), ..Filter::default() }, true),
            (Filter { evaluation: Some("failure"), ..Filter::default() }, false),
            (Filter { reasons: Some(vec!["busy".to_owned()]), ..Filter::default() }, true),
            (Filter { reasons: Some(vec![]), ..Filter::default() }, false),
            (Filter { length: Some(Length { from: 10, below: Some(11) }), ..Filter::default() }, true),
            (Filter { length: Some(Length { from: 0, below: Some(10) }), ..Filter::default() }, false),
            (Filter { length: Some(Length { from: 11, below: None }), ..Filter::default() }, false),
            (Filter { since: Some(second(51)), ..Filter::default() }, false),
            (Filter { until: Some(second(50)), ..Filter::default() }, true),
        ];
        for (filter, shown) in table {
            assert_eq!(filter.shows(&call), shown, "{filter:?}");
        }
        let any_known = Filter { length: Some(Length { from: 0, below: Some(10) }), ..Filter::default() };
        assert!(!any_known.shows(&CallRow::empty()), "the length of this call is unknown");
    }

    #[test]
    fn an_unfinished_call_is_either_in_progress_or_stuck() {
        let now = second(1_790_000_000);
        let calls = [before(now, MAX_CALL), before(before(now, MAX_CALL), Duration::from_millis(1))]
            .map(|created_at| CallRow { status: Some(Status::Ringing), created_at, ..CallRow::empty() });
        let shows = |result: ResultFilter, statuses: Vec<Status>| {
            let filter = Filter { result: Some(result), statuses, ..Filter::default() };
            calls.each_ref().map(|call| filter.shows(call))
        };
        assert_eq!(shows(ResultFilter::Going(now), vec![]), [true, false]);
        assert_eq!(shows(ResultFilter::Stuck(now), vec![]), [false, true]);
        assert_eq!(shows(ResultFilter::Stuck(now), vec![Status::Busy]), [false, false]);
    }

    #[test]
    fn an_export_has_the_calls_of_the_list() {
        let now = second(1_790_000_000);
        let filter = Filter { result: Some(ResultFilter::Stuck(now)), ..Filter::default() };
        let export = filter.export(now).unwrap();
        assert_eq!(export.until, before(now, MAX_CALL), "the end of an export is not part of it");
        assert_eq!(
            export.fields,
            [("status", ["initiated", "ringing", "answered"].map(str::to_owned).to_vec())]
        );
        let search =
            Filter { search: Some(Search::Id(IdPrefix::new("CA1", Numbers::Masked))), ..Filter::default() };
        assert_eq!(search.export(now), None);
    }
}
