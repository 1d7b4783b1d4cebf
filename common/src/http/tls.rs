//! TLS for a listener, with a certificate that can be replaced while it serves; and trusted authorities for
//! clients.
//!
//! Invariant: a certificate that cannot be used does not replace the current one.

use std::{
    io,
    path::{Path, PathBuf},
    sync::{Arc, PoisonError, RwLock},
};

use rustls::{
    RootCertStore, ServerConfig,
    crypto::ring,
    pki_types::{CertificateDer, PrivateKeyDer, pem::PemObject as _},
};
use tokio::net::TcpStream;
use tokio_rustls::{TlsAcceptor, server::TlsStream};
use x509_parser::{certificate::X509Certificate, prelude::FromDer as _};

use crate::config_error::ConfigError;

/// Variable with the path of the certificate.
pub const CERTIFICATE: &str = "TLS_CERT_FILE";
/// Variable with the path of the certificate's key.
pub const KEY: &str = "TLS_KEY_FILE";

/// A certificate with its key, for an HTTP/1.1 server with TLS 1.2 and 1.3.
///
/// Clones are cheap, and a reload applies to all of them.
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
    /// End of validity, in seconds since 1970.
    expires: i64,
}

impl Tls {
    /// Reads both files. The certificate file (PEM) holds the certificate of the server, then its
    /// intermediates.
    pub fn read(certificate: &Path, key: &Path) -> Result<Self, ConfigError> {
        let current = RwLock::new(load(certificate, key)?);
        Ok(Self(Arc::new(Inner { certificate: certificate.to_owned(), key: key.to_owned(), current })))
    }

    /// Reads both files again. New connections use the new certificate; open ones keep theirs.
    pub fn reload(&self) -> Result<(), ConfigError> {
        let fresh = load(&self.0.certificate, &self.0.key)?;
        *self.0.current.write().unwrap_or_else(PoisonError::into_inner) = fresh;
        Ok(())
    }

    /// End of validity of the certificate, in seconds since 1970.
    pub fn expires(&self) -> i64 {
        self.0.current.read().unwrap_or_else(PoisonError::into_inner).expires
    }

    /// Does the handshake of a connection.
    pub(super) async fn accept(&self, socket: TcpStream) -> io::Result<TlsStream<TcpStream>> {
        let config = self.0.current.read().unwrap_or_else(PoisonError::into_inner).config.clone();
        TlsAcceptor::from(config).accept(socket).await
    }
}

/// Reads the certificates of trusted authorities from `file` (PEM).
///
/// # Errors
/// The reason why the file cannot be used, without its name.
pub fn authorities(file: &Path) -> Result<RootCertStore, String> {
    let mut roots = RootCertStore::empty();
    for certificate in certificates(file)? {
        roots
            .add(certificate)
            .map_err(|error| format!("holds a certificate that cannot be read: {error}"))?;
    }
    Ok(roots)
}

/// Reads the certificates in a PEM file, at least one. The error is the reason without the name of the file.
fn certificates(file: &Path) -> Result<Vec<CertificateDer<'static>>, String> {
    let read = CertificateDer::pem_file_iter(file).and_then(Iterator::collect::<Result<Vec<_>, _>>);
    let certificates = read.map_err(|error| format!("cannot be read: {error}"))?;
    if certificates.is_empty() {
        return Err("holds no certificate in PEM form".to_owned());
    }
    Ok(certificates)
}

fn load(certificate: &Path, key: &Path) -> Result<Current, ConfigError> {
    let wrong = |variable: &'static str, path: &Path, reason: &str| {
        ConfigError::new(variable, format!("'{}' {reason}", path.display()))
    };
    let chain = certificates(certificate).map_err(|reason| wrong(CERTIFICATE, certificate, &reason))?;
    let (_, parsed) = X509Certificate::from_der(&chain[0]).map_err(|error| {
        wrong(CERTIFICATE, certificate, &format!("holds no certificate that can be read: {error}"))
    })?;
    let expires = parsed.validity().not_after.timestamp();
    let key = PrivateKeyDer::from_pem_file(key)
        .map_err(|error| wrong(KEY, key, &format!("cannot be read: {error}")))?;
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
