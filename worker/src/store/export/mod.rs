//! All calls of a period that meet some conditions, page by page, for an export.

mod csv;
mod filter;
mod mask;
mod pages;

pub use self::{
    csv::{csv_header, csv_rows},
    filter::ExportFilter,
    mask::mask_numbers,
    pages::{ExportPage, ExportPages},
};
