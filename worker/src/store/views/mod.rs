//! Reads calls for the console and for the API, and endpoints for the console. Nothing here writes.
//!
//! Each of the two has connections of its own, few and bounded in time, so that its queries do not delay the
//! processing of webhooks. A query waits for a free slot, then for its answer, and ends after a short time.

mod audio;
mod audit;
mod batch;
mod calls;
mod choices;
mod connection;
mod content;
mod detail;
mod endpoints;
mod figures;
mod filter;
mod id_prefix;
mod last_digits;
mod length;
mod list;
mod matches;
mod notes;
mod period;
mod plan;
mod rising;
mod row;
mod trends;
mod watch;
mod window;

pub(super) use self::plan::{METADATA, NUMBER_SUFFIXES, Plan, Range, list_indexes, order, time_index};
pub(super) use self::row::beginning;
pub use self::{
    audio::AudioFile,
    audit::AuditPage,
    batch::{BatchFigures, Recipients},
    calls::CallPage,
    choices::{Agent, Choices, MAX_KNOWN_REASONS},
    connection::{Reader, Views},
    content::{Content, Part},
    detail::{Detail, RAW_FIELDS, TURNS_A_PAGE},
    endpoints::DeliveryPage,
    figures::{Bucket, Figures},
    filter::{Filter, MAX_REASONS, ResultFilter, Search},
    id_prefix::IdPrefix,
    last_digits::LastDigits,
    length::Length,
    list::{Listed, PAGE},
    matches::Matches,
    period::{Compared, PeriodFigures},
    plan::{Conditions, Cursor, DIRECTIONS, Direction, MetadataText},
    rising::RisingReason,
    row::CallRow,
    watch::{Change, Changes},
    window::Window,
};
