//! What most would write first: the twins that Aftercall is compared with.

pub(crate) mod gateway;
pub(crate) mod worker;
