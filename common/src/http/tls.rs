//! TLS of a listener, its certificate replaceable while it serves.
//!
//! Invariant: a certificate that cannot be used changes nothing.

use std::{
    io,
    path::{Path, PathBuf},
    sync::{Arc, PoisonError, RwLock},
};

use rustls::{
    ServerConfig,
    crypto::ring,
    pki_types::{CertificateDer, PrivateKeyDer, pem::PemObject as _},
};
use tokio::net::TcpStream;
use tokio_rustls::{TlsAcceptor, server::TlsStream};
use x509_parser::{certificate::X509Certificate, prelude::FromDer as _};

use crate::config::ConfigError;

/// The variable that names the file of the certificate.
pub const CERTIFICATE: &str = "TLS_CERT_FILE";
/// The variable that names the file of its key.
pub const KEY: &str = "TLS_KEY_FILE";

/// A certificate with its key, as configured for a server of HTTP/1.1 (TLS 1.2 and 1.3). Cheap to
/// clone, all clones see the same.
#[derive(Clone, Debug)]
pub struct Tls(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    certificate: PathBuf,
    key: PathBuf,
    current: RwLock<Current>,
}

#[derive(Clone, Debug)]
struct Current {
    config: Arc<ServerConfig>,
    /// Unix seconds.
    expires: i64,
}

impl Tls {
    /// Reads both files: PEM, the server's certificate first, then those up to its authority's.
    pub fn read(certificate: &Path, key: &Path) -> Result<Self, ConfigError> {
        let current = RwLock::new(load(certificate, key)?);
        Ok(Self(Arc::new(Inner { certificate: certificate.to_owned(), key: key.to_owned(), current })))
    }

    /// Reads both files again. Connections from now on get what is there; open ones keep what they have.
    pub fn reload(&self) -> Result<(), ConfigError> {
        let fresh = load(&self.0.certificate, &self.0.key)?;
        *self.0.current.write().unwrap_or_else(PoisonError::into_inner) = fresh;
        Ok(())
    }

    /// Unix time, seconds, from which on nobody accepts the certificate any more.
    pub fn expires(&self) -> i64 {
        self.0.current.read().unwrap_or_else(PoisonError::into_inner).expires
    }

    /// Shakes hands.
    pub(super) async fn accept(&self, socket: TcpStream) -> io::Result<TlsStream<TcpStream>> {
        let config = self.0.current.read().unwrap_or_else(PoisonError::into_inner).config.clone();
        TlsAcceptor::from(config).accept(socket).await
    }
}

fn load(certificate: &Path, key: &Path) -> Result<Current, ConfigError> {
    let unreadable = |variable: &'static str, path: &Path| {
        let path = path.display().to_string();
        move |error: rustls::pki_types::pem::Error| {
            ConfigError::new(variable, format!("'{path}' cannot be read: {error}"))
        }
    };
    let chain = CertificateDer::pem_file_iter(certificate)
        .and_then(Iterator::collect::<Result<Vec<_>, _>>)
        .map_err(unreadable(CERTIFICATE, certificate))?;
    if chain.is_empty() {
        let reason = format!("'{}' holds no certificate in PEM form", certificate.display());
        return Err(ConfigError::new(CERTIFICATE, reason));
    }
    let (_, parsed) = X509Certificate::from_der(&chain[0]).map_err(|error| {
        let reason = format!("'{}' holds no certificate that can be read: {error}", certificate.display());
        ConfigError::new(CERTIFICATE, reason)
    })?;
    let expires = parsed.validity().not_after.timestamp();
    let key = PrivateKeyDer::from_pem_file(key).map_err(unreadable(KEY, key))?;
    let unusable = |error: rustls::Error| ConfigError::new(CERTIFICATE, format!("cannot be used: {error}"));
    let mut config = ServerConfig::builder_with_provider(Arc::new(ring::default_provider()))
        .with_safe_default_protocol_versions()
        .map_err(unusable)?
        .with_no_client_auth()
        .with_single_cert(chain, key)
        .map_err(unusable)?;
    config.alpn_protocols = vec![b"http/1.1".to_vec()];
    Ok(Current { config: Arc::new(config), expires })
}
