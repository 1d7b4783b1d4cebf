//! Values as pages show them: texts, links, charts. Pure.

pub mod activities;
pub mod address;
pub mod chart;
pub mod filter;
pub mod format;
pub mod row;
pub mod timeline;
pub mod tone;
pub mod transcript;
