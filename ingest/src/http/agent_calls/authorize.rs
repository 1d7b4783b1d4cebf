//! The access of a request about calls.

use crate::{
    admission::{
        access::{self, Access},
        checks::AuthenticityError,
    },
    http::{rejection::Rejection, request::RequestHead},
};

/// Decides whether the sender of a request has `access`.
pub fn authorize(access: Access, head: &RequestHead) -> Result<(), Rejection> {
    let sender = head.sender.map_err(AuthenticityError::UnknownSender)?;
    Ok(access::authorize(&head.policy, access, &head.parts.headers, sender)?)
}
