//! Whether a request may enter: source address, token, signature, size, encoding and form of its body.

pub mod access;
pub mod body;
pub mod form;
pub mod json;
pub mod policy;
pub mod provider;
pub(crate) mod reload;
pub mod signature;
pub mod source_ip;
