//! What changes while pages are open. One task collects it for all viewers.

pub mod broadcast;
pub mod broker_samples;
pub mod call_updates;
pub mod figures;
pub mod frame;
pub mod reasons;
