//! A minimal HTTP/1.1 client for services on the local network: the monitoring endpoint of the broker, and a
//! collector of traces.
//!
//! It has no TLS and follows no redirects. Each request uses a new connection. [`Bounds`] limit its time and the size of the
//! answer.

use std::time::Duration;

use bytes::Bytes;
use http_body_util::{BodyExt as _, Full, Limited};
use hyper::{
    Request, Response, Uri,
    client::conn::http1,
    header::{HOST, HeaderValue},
    http::uri::Authority,
};
use hyper_util::rt::TokioIo;
use tokio::net::TcpStream;

/// Bounds of a request.
#[derive(Clone, Copy, Debug)]
pub struct Bounds {
    /// Time for the whole request.
    pub time: Duration,
    /// Largest body of the answer, in bytes.
    pub bytes: usize,
}

/// The reason why there is no answer.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The URL is not `http://host[:port]/…`.
    #[error("not a plain http:// URL")]
    Url,
    /// There was no answer in time.
    #[error("no answer in time")]
    Late,
    /// The connection failed, or the answer cannot be read.
    #[error("{0}")]
    Failed(Box<dyn std::error::Error + Send + Sync>),
}

impl Error {
    fn failed(error: impl Into<Box<dyn std::error::Error + Send + Sync>>) -> Self {
        Self::Failed(error.into())
    }
}

/// Host and port of a plain HTTP URL. Fails if the URL has another scheme, no host, or an invalid port.
pub fn address(url: &Uri) -> Result<(&str, u16), Error> {
    match (url.scheme_str(), url.authority()) {
        (Some("http"), Some(authority)) if !authority.host().is_empty() => {
            Ok((authority.host().trim_matches(['[', ']']), port(authority, 80)?))
        }
        _ => Err(Error::Url),
    }
}

/// The port of `authority`, or `usual` if it names none. `http` takes every text after the colon.
///
/// # Errors
/// The text after the colon is no port.
pub fn port(authority: &Authority, usual: u16) -> Result<u16, Error> {
    match authority.port_u16() {
        Some(port) => Ok(port),
        None if authority.as_str().rsplit('@').next() == Some(authority.host()) => Ok(usual),
        None => Err(Error::Url),
    }
}

/// Sends `request`, which must have an absolute URL, and reads the answer.
pub async fn send(mut request: Request<Full<Bytes>>, bounds: Bounds) -> Result<Response<Bytes>, Error> {
    let url = std::mem::take(request.uri_mut());
    let (host, port) = address(&url)?;
    let authority = url.authority().map_or("", |authority| authority.as_str());
    let host_header = authority.rsplit_once('@').map_or(authority, |(_, host)| host);
    request.headers_mut().insert(HOST, HeaderValue::from_str(host_header).map_err(Error::failed)?);
    let path = url.path_and_query().map_or("/", |path| path.as_str());
    *request.uri_mut() = path.parse().map_err(Error::failed)?;
    let exchange = async {
        let socket = TcpStream::connect((host, port)).await.map_err(Error::failed)?;
        let (mut sender, connection) = http1::handshake(TokioIo::new(socket)).await.map_err(Error::failed)?;
        let read_answer = async {
            let (parts, body) = sender.send_request(request).await.map_err(Error::failed)?.into_parts();
            let body = Limited::new(body, bounds.bytes).collect().await.map_err(Error::failed)?;
            Ok(Response::from_parts(parts, body.to_bytes()))
        };
        tokio::select! {
            answer = read_answer => answer,
            // A connection that ends without an error disables this branch, and the other one ends by itself.
            Err(error) = connection => Err(Error::failed(error)),
        }
    };
    tokio::time::timeout(bounds.time, exchange).await.unwrap_or(Err(Error::Late))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_plain_http_urls_are_accepted() {
        #[rustfmt::skip]
        let table = [
            ("http://localhost:8222",       Some(("localhost", 8222))),
            ("http://10.0.0.1/x",           Some(("10.0.0.1", 80))),
            ("http://localhost:82220",      None),
            ("http://localhost:x",          None),
            ("http://localhost:",           None),
            ("http://1:999991",             None),
            ("http://user:secret@host",     Some(("host", 80))),
            ("http://[::1]:4318/v1/traces", Some(("::1", 4318))),
            ("https://localhost",           None),
            ("localhost:8222",              None),
            ("/x",                          None),
        ];
        for (url, expected) in table {
            assert_eq!(address(&url.parse().unwrap()).ok(), expected, "{url}");
        }
    }
}
