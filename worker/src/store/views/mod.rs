//! Reads calls for the console. Nothing here writes.
//!
//! The console has connections of its own, few and bounded in time, so that its queries do not delay the
//! processing of webhooks. A query waits for a free slot, then for its answer, and ends after a short time.

mod audio;
mod connection;
mod detail;
mod figures;
mod filter;
mod list;
mod row;
mod watch;
mod window;

pub(super) use self::filter::{batch_index, number_index, reason_index, status_index, time_index};
pub(super) use self::row::beginning;
pub use self::{
    audio::{AudioFile, Chunks},
    connection::Views,
    detail::{Detail, RAW_FIELDS, TURNS_A_PAGE},
    figures::{Bucket, Figures},
    filter::{Cursor, Direction, Filter, MAX_REASONS, Search},
    list::{Listed, PAGE},
    row::CallRow,
    watch::{Change, Changes},
    window::Window,
};
