//! Changes while pages are open. Each change is collected and rendered once for all viewers.

pub mod broadcast;
pub mod broker_samples;
pub mod call_updates;
pub mod choices;
pub mod figures;
pub mod frame;
pub mod letter_work;
