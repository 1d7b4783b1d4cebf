//! The pages of the console, one file for each address.

pub mod audio;
pub mod call;
pub mod calls;
pub mod dead_letters;
pub mod events;
pub mod login;
pub mod overview;
pub mod payload;
pub mod shell;
pub mod test_call;
