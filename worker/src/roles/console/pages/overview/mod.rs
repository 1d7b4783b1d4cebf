//! The overview.

mod attention;
mod figures;
mod groups;
mod page;

pub use self::page::{SECTION, show};
