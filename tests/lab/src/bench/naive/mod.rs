//! The simplest gateway and worker, with which Aftercall is compared.

pub(crate) mod gateway;
pub(crate) mod worker;
