//! Values as pages show them: texts, links, charts. Pure.

pub mod activities;
pub mod address;
pub mod analysis;
pub mod chart;
pub mod chips;
pub mod choices;
pub mod endpoint;
pub mod filter;
pub mod format;
pub mod length;
pub mod row;
pub mod sentence;
pub mod share;
pub mod timeline;
pub mod tone;
pub mod tools;
pub mod transcript;
