//! The console: a web page on which people follow calls and handle dead letters.
//!
//! The server renders everything: HTML from templates, charts as SVG. Pages work without scripts. With
//! scripts, server-sent events keep them up to date. The console starts before MongoDB and NATS are
//! reachable, and every page says which of them does not answer.
//!
//! - `access`: logins, named people, sessions, limits.
//! - `audit`: records what people do.
//! - `letter_work`: work on many dead letters, in the background.
//! - `view`: values as texts, links and charts. Pure.
//! - `live`: changes, collected once for all viewers.
//! - `pages`: one handler for each address.

mod access;
mod assets;
mod audit;
mod letter_work;
mod live;
mod pages;
mod routes;
mod server;
mod state;
mod view;

pub use self::server::{bind, run};
