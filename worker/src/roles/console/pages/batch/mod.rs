//! Pages of batches.
//!
//! - `page`: how a batch goes, and the handler.
//! - `figures`: the texts of the page. Pure.
//! - `retry`: the recipients that may be called again, as a table.

mod figures;
mod page;
mod retry;

pub use self::{page::show, retry::csv as retry};
