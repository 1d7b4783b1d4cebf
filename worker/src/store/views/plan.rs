//! The conditions of a list of calls, and the index that answers them. Pure.
//!
//! Invariant: a plan gives the calls in the order of the list from one index. The fields of the index come
//! before the time, and the query names every value of each of them, so the server merges ordered scans and
//! sorts nothing. [`Plan::rest`] has the conditions that the index does not cover.

use jiff::Timestamp;
use mongodb::bson::{Bson, Document, doc, oid::ObjectId};

use super::{last_digits::LastDigits, length::Length};
use crate::{
    domain::call::{Outcome, Status},
    store::convert::{bson_date, date},
};

/// The values of the field `direction`.
pub const DIRECTIONS: [&str; 2] = ["inbound", "outbound"];
/// The internal field with the caller's own texts: see [`MetadataText`].
pub(in crate::store) const METADATA: &str = "_metadata";

/// The internal field with the last digits of the numbers: see [`crate::domain::call::NumberSuffixes`].
pub(in crate::store) const NUMBER_SUFFIXES: &str = "_numberSuffixes";

/// One of the caller's own texts, as lists find it: `name=value`. A name contains no `=`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct MetadataText(String);

impl MetadataText {
    /// The text `value` under `name`.
    pub fn new(name: &str, value: impl AsRef<str>) -> Self {
        Self(format!("{name}={}", value.as_ref()))
    }

    /// The text in the database.
    pub(in crate::store) fn into_stored(self) -> String {
        self.0
    }
}

/// The position of a call in the list. A page begins directly after this position, or ends directly before
/// it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Cursor {
    /// When the call was created.
    pub at: Timestamp,
    /// The `_id` of its document.
    pub id: ObjectId,
}

impl Cursor {
    /// The position of a stored call.
    pub(in crate::store) fn of(call: &Document) -> Option<Self> {
        Some(Self { at: date(call, "createdAt")?, id: call.get_object_id("_id").ok()? })
    }

    /// A condition: a call of the same time on one side of the position.
    fn same_time(self, side: &str) -> Document {
        doc! { "createdAt": bson_date(self.at), "_id": { side: self.id } }
    }
}

/// The side of the cursor on which a page lies.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Direction {
    /// Behind the cursor: calls that were created earlier.
    Older,
    /// Before the cursor: calls that were created later.
    Newer,
}

/// The part of the list in which a page lies.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(in crate::store) struct Range {
    /// Only calls on this side of this position.
    pub from: Option<(Cursor, Direction)>,
    /// Only calls that are not older than this position.
    pub oldest: Option<Cursor>,
    /// Only calls that are not newer than this position.
    pub newest: Option<Cursor>,
}

impl Range {
    /// The side of its beginning on which the range lies.
    pub fn direction(self) -> Direction {
        self.from.map_or(Direction::Older, |(_, direction)| direction)
    }

    /// The same range, which ends at `end`.
    pub fn ending_at(self, end: Option<Cursor>) -> Self {
        match self.direction() {
            Direction::Older => Self { oldest: end, ..self },
            Direction::Newer => Self { newest: end, ..self },
        }
    }
}

/// A condition: the field has one of the values.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(in crate::store) struct Condition {
    field: &'static str,
    values: Vec<Bson>,
}

/// The conditions of a list. The list has the calls that meet all of them.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Conditions {
    fields: Vec<Condition>,
    /// Only calls of these lengths. No index covers it.
    pub length: Option<Length>,
    /// Only calls with a number that ends with these digits.
    last_digits: Option<LastDigits>,
    /// Only calls that were created at this time or later.
    pub since: Option<Timestamp>,
    /// Only calls that were created at this time or earlier.
    pub until: Option<Timestamp>,
}

/// How the server finds the calls of a list.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(in crate::store) struct Plan {
    /// The index.
    pub index: Document,
    /// A condition for every field of the index before the time.
    bounds: Vec<Condition>,
    /// The conditions that the index does not cover.
    pub rest: Vec<Condition>,
    length: Option<Length>,
    /// The digits, if the index does not have all of them.
    last_digits: Option<LastDigits>,
    since: Option<Timestamp>,
    until: Option<Timestamp>,
}

/// Most ordered scans that the server merges. With more, it sorts the calls.
const MAX_SCANS: usize = 200;

/// The fields of each index before the time. If several indexes can answer a list, an earlier one is
/// preferred.
const INDEXES: [&[&str]; 11] = [
    &["toNumber"],
    &[METADATA],
    &[NUMBER_SUFFIXES],
    &["batchCallId"],
    &["campaignId"],
    &["sipCode"],
    &["fromNumber"],
    &["failureReason", "status"],
    &["agentId", "direction", "outcome"],
    &["status"],
    &["outcome", "direction"],
];

impl Conditions {
    /// Only calls that were created from `since` to `until`.
    pub fn created(since: Option<Timestamp>, until: Option<Timestamp>) -> Self {
        Self { since, until, ..Self::default() }
    }

    /// Adds a condition: `field` has one of `values`.
    pub fn with<V: Into<Bson>>(&mut self, field: &'static str, values: impl IntoIterator<Item = V>) {
        self.fields.push(Condition { field, values: values.into_iter().map(Into::into).collect() });
    }

    /// Adds a condition: the caller gave this text.
    pub fn with_metadata(&mut self, text: MetadataText) {
        self.with(METADATA, [text.into_stored()]);
    }

    /// Adds a condition: the number of the caller or of the callee ends with these digits.
    pub fn with_last_digits(&mut self, digits: LastDigits) {
        self.with(NUMBER_SUFFIXES, [digits.suffix()]);
        self.last_digits = Some(digits).filter(LastDigits::is_beyond_index);
    }

    /// The plans for these conditions, the preferred one first. There is at least one. If an index covers all
    /// conditions besides the length and further digits, its plan is the only one.
    pub(in crate::store) fn plans(&self) -> Vec<Plan> {
        if self.fields.is_empty() {
            return vec![self.plan(&[], None)];
        }
        let mut plans = Vec::new();
        for index in INDEXES {
            let led = (0..self.fields.len()).filter(|&n| self.fields[n].field == index[0]);
            let before = plans.len();
            plans.extend(led.map(|n| self.plan(index, Some(n))));
            let has_other = self.fields.iter().any(|condition| index[1..].contains(&condition.field));
            if plans.len() == before && has_other && has_few_values(index[0]) {
                plans.push(self.plan(index, None));
            }
        }
        if plans.is_empty() {
            plans.push(self.plan(&[], None));
        }
        match plans.iter().position(|plan| plan.rest.is_empty()) {
            Some(exact) => vec![plans.swap_remove(exact)],
            None => plans,
        }
    }

    /// The plan for all calls that meet these conditions: the one that is likely to leave out the most calls, if
    /// the server can merge its scans.
    pub(in crate::store) fn plan_of_all(&self) -> Plan {
        let merged = self.plans().into_iter().find(|plan| plan.scans() <= MAX_SCANS);
        merged.unwrap_or_else(|| self.plan(&[], None))
    }

    /// The plan with the index of these fields. `first` is the condition for its first field. `None`: any value.
    fn plan(&self, index: &[&'static str], first: Option<usize>) -> Plan {
        let mut used: Vec<usize> = first.into_iter().collect();
        let mut bounds: Vec<Condition> = first.into_iter().map(|n| self.fields[n].clone()).collect();
        for field in index.iter().skip(bounds.len()) {
            match self.fields.iter().position(|condition| condition.field == *field) {
                Some(n) => {
                    used.push(n);
                    bounds.push(self.fields[n].clone());
                }
                None => bounds.push(Condition { field, values: all_values(field) }),
            }
        }
        let rest = (0..self.fields.len()).filter(|n| !used.contains(n));
        let rest = rest.map(|n| self.fields[n].clone()).collect();
        let index = if index.is_empty() { time_index() } else { list_index(index) };
        Plan {
            index,
            bounds,
            rest,
            length: self.length,
            last_digits: self.last_digits.clone(),
            since: self.since,
            until: self.until,
        }
    }
}

impl Plan {
    /// Whether the index covers all conditions.
    pub fn is_exact(&self) -> bool {
        self.rest.is_empty() && self.length.is_none() && self.last_digits.is_none()
    }

    /// The number of ordered scans that the server merges. A null is two values for the server.
    fn scans(&self) -> usize {
        let of = |condition: &Condition| {
            condition.values.iter().map(|value| if *value == Bson::Null { 2 } else { 1 }).sum::<usize>()
        };
        self.bounds.iter().map(of).product()
    }

    /// The query for the calls in `range` that meet the conditions of the index.
    pub fn bounds(&self, range: Range) -> Document {
        let mut query: Document = self.bounds.iter().map(Condition::query).collect();
        let (mut earliest, mut latest) = (self.since, self.until);
        // With the bounds on the time, the server can use the index. Calls of the same millisecond that lie on
        // the other side are left out by `$nor`: the server could answer an `$or` by scans that it has to sort.
        let mut others = Vec::new();
        match range.from {
            Some((cursor, Direction::Older)) => {
                latest = Some(latest.map_or(cursor.at, |latest| latest.min(cursor.at)));
                others.push(cursor.same_time("$gte"));
            }
            Some((cursor, Direction::Newer)) => {
                earliest = Some(earliest.map_or(cursor.at, |earliest| earliest.max(cursor.at)));
                others.push(cursor.same_time("$lte"));
            }
            None => {}
        }
        if let Some(cursor) = range.oldest {
            earliest = Some(earliest.map_or(cursor.at, |earliest| earliest.max(cursor.at)));
            others.push(cursor.same_time("$lt"));
        }
        if let Some(cursor) = range.newest {
            latest = Some(latest.map_or(cursor.at, |latest| latest.min(cursor.at)));
            others.push(cursor.same_time("$gt"));
        }
        let mut created = Document::new();
        created.extend(earliest.map(|at| ("$gte".to_owned(), bson_date(at).into())));
        created.extend(latest.map(|at| ("$lte".to_owned(), bson_date(at).into())));
        if !created.is_empty() {
            query.insert("createdAt", created);
        }
        if !others.is_empty() {
            query.insert("$nor", others);
        }
        query
    }

    /// An expression: whether a call that meets the conditions of the index meets the others as well.
    pub fn rest_expression(&self) -> Bson {
        let meets = self.rest.iter().map(|condition| {
            let values: Vec<_> = condition.values.iter().map(|value| doc! { "$literal": value }).collect();
            let field = format!("${}", condition.field);
            if !is_array(condition.field) {
                return doc! { "$in": [field, values] };
            }
            let common = doc! { "$setIntersection": [{ "$ifNull": [field, []] }, values] };
            doc! { "$ne": [common, []] }
        });
        let meets = meets.chain(self.length.map(Length::expression));
        let meets: Vec<_> = meets.chain(self.last_digits.as_ref().map(LastDigits::expression)).collect();
        if meets.is_empty() { true.into() } else { doc! { "$and": meets }.into() }
    }

    /// The query for the calls in `range` that meet all conditions.
    pub fn query(&self, range: Range) -> Document {
        let mut query = self.bounds(range);
        let rest = self.rest.iter().map(|condition| Document::from_iter([condition.query()]));
        let rest = rest.chain(self.length.map(Length::query));
        let rest: Vec<_> = rest.chain(self.last_digits.as_ref().map(LastDigits::query)).collect();
        if !rest.is_empty() {
            query.insert("$and", rest);
        }
        query
    }
}

impl Condition {
    fn query(&self) -> (String, Bson) {
        let value = match self.values.as_slice() {
            [value] => value.clone(),
            values => doc! { "$in": values }.into(),
        };
        (self.field.to_owned(), value)
    }
}

/// Whether a query can name every value of a field.
fn has_few_values(field: &str) -> bool {
    matches!(field, "status" | "outcome" | "direction")
}

/// Whether a field has several values. A call meets a condition if one of them does.
fn is_array(field: &str) -> bool {
    matches!(field, METADATA | NUMBER_SUFFIXES)
}

/// Every value of a field that has few values.
fn all_values(field: &str) -> Vec<Bson> {
    match field {
        "status" => Status::ALL.map(|status| status.as_str().into()).to_vec(),
        "outcome" => {
            let words = Outcome::ALL.map(|outcome| outcome.as_str().into());
            [Bson::Null].into_iter().chain(words).collect()
        }
        "direction" => [Bson::Null].into_iter().chain(DIRECTIONS.map(Bson::from)).collect(),
        _ => unreachable!("only the first field of an index has any number of values"),
    }
}

/// The order of a page: the newest call first, or the reverse for a page of newer calls.
pub(in crate::store) fn order(direction: Direction) -> Document {
    match direction {
        Direction::Older => doc! { "createdAt": -1, "_id": -1 },
        Direction::Newer => doc! { "createdAt": 1, "_id": 1 },
    }
}

/// Calls by outcome, direction and time.
pub(in crate::store) fn outcome_index() -> Document {
    list_index(&["outcome", "direction"])
}

/// Calls of each agent.
pub(in crate::store) fn agent_index() -> Document {
    list_index(&["agentId", "direction", "outcome"])
}

/// Calls of each value of `field`, which is the only field of its index before the time.
pub(in crate::store) fn index_of(field: &str) -> Document {
    list_index(&[field])
}

/// All calls by time. The status at the end lets the server count the statuses of a day from the keys alone.
pub(in crate::store) fn time_index() -> Document {
    doc! { "createdAt": -1, "_id": -1, "status": 1 }
}

/// Failed calls by reason, status and time.
pub(in crate::store) fn reason_index() -> Document {
    list_index(&["failureReason", "status"])
}

/// The indexes of lists besides [`time_index`]: the keys, and the field that a call in the index has. `None`:
/// every call is in the index.
pub(in crate::store) fn list_indexes() -> impl Iterator<Item = (Document, Option<&'static str>)> {
    INDEXES.into_iter().map(|fields| {
        let is_optional = !has_few_values(fields[0]);
        (list_index(fields), is_optional.then_some(fields[0]))
    })
}

fn list_index(fields: &[&str]) -> Document {
    let mut keys: Document = fields.iter().map(|field| ((*field).to_owned(), Bson::Int32(1))).collect();
    keys.extend(doc! { "createdAt": -1, "_id": -1 });
    keys
}

#[cfg(test)]
mod tests;
