//! The overview.

mod figures;
mod page;

pub use self::page::show;
