//! Decides whether a request is accepted: by its source address, token, signature, and the size, encoding and
//! format of its body.

pub mod access;
pub mod body;
pub mod checks;
pub mod form;
pub mod json;
pub mod provider;
pub mod reload;
pub mod signature;
pub mod source_ip;
pub mod webhook_id;
