//! The pages of the console, one file for each address.

pub mod audio;
pub mod audit;
pub mod batch;
pub mod call;
pub mod calls;
pub mod dead_letters;
pub mod deliveries;
pub mod endpoints;
pub mod events;
pub mod export;
pub mod login;
pub mod notes;
pub mod overview;
pub mod payload;
pub mod shell;
pub mod test_call;
