//! Login: with the link that is printed at the start, or with a form. Works without scripts.

mod form;
mod link;

pub use self::{
    form::{form, is_asset, is_browser, is_public, log_in, log_in_by_link, log_out, refuse, refuse_unnamed},
    link::{Link, return_address},
};
