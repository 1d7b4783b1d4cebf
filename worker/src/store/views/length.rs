//! A condition on the length of calls. Pure.

use mongodb::bson::{Document, doc};

/// The field with the length of a call in whole seconds, as all sources together state it.
pub(super) const LENGTH: &str = "durationSecs";

/// Lengths of calls in seconds. A call without a known length has none of them.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Length {
    /// The shortest one.
    pub from: u32,
    /// The first one that is too long. `None`: no length is too long.
    pub below: Option<u32>,
}

impl Length {
    /// Whether a call of this length is meant.
    pub fn contains(self, seconds: u64) -> bool {
        seconds >= self.from.into() && self.below.is_none_or(|below| seconds < below.into())
    }

    /// The condition as a query.
    pub(super) fn query(self) -> Document {
        let mut bounds = doc! { "$gte": i64::from(self.from) };
        bounds.extend(self.below.map(|below| ("$lt".to_owned(), i64::from(below).into())));
        doc! { LENGTH: bounds }
    }

    /// The condition as an expression. An absent value is less than any number.
    pub(super) fn expression(self) -> Document {
        let field = format!("${LENGTH}");
        let mut all = vec![doc! { "$gte": [&field, i64::from(self.from)] }];
        all.extend(self.below.map(|below| doc! { "$lt": [&field, i64::from(below)] }));
        doc! { "$and": all }
    }
}
