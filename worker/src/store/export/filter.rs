//! The conditions of an export. Pure.

use std::time::Duration;

use jiff::Timestamp;

use crate::{
    domain::time::before,
    store::views::{Conditions, LastDigits, Length, Plan},
};

/// The conditions of an export. It contains the calls that meet all of them.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ExportFilter {
    /// Only calls that were created at this time or later.
    pub since: Option<Timestamp>,
    /// Only calls that were created before this time.
    pub until: Timestamp,
    /// Only calls of these lengths.
    pub length: Option<Length>,
    /// Only calls with a number that ends with these digits.
    pub last_digits: Option<LastDigits>,
    /// Names of fields, each with the values of which a call must have one.
    pub fields: Vec<(&'static str, Vec<String>)>,
}

impl ExportFilter {
    /// The query and the index.
    pub(super) fn plan(&self) -> Plan {
        let last = before(self.until, Duration::from_millis(1));
        let mut conditions = Conditions::created(self.since, Some(last));
        conditions.length = self.length;
        for (field, values) in &self.fields {
            conditions.with(field, values.iter().map(String::as_str));
        }
        if let Some(digits) = &self.last_digits {
            conditions.with_last_digits(digits.clone());
        }
        conditions.plan_of_all()
    }
}
