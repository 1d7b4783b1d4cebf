//! An authority that vouches for servers, of a test's own.

use std::{fs, path::PathBuf};

use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, IsCa, KeyPair, date_time_ymd};
use tempfile::TempDir;

use super::PATIENCE;

/// An authority, and files with what it has signed for 127.0.0.1.
pub struct Authority {
    issuer: CertifiedIssuer<'static, KeyPair>,
    folder: TempDir,
    /// Its certificates expire on 4 May of it.
    year: i32,
}

impl Authority {
    pub fn new(year: i32) -> Self {
        let mut params = CertificateParams::default();
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        let issuer = CertifiedIssuer::self_signed(params, KeyPair::generate().unwrap()).unwrap();
        let folder = tempfile::tempdir().unwrap();
        fs::write(folder.path().join("authority.pem"), issuer.pem()).unwrap();
        Self { issuer, folder, year }
    }

    /// A file in its folder. `authority.pem` is its own certificate.
    pub fn file(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    /// Certificate and key for 127.0.0.1, in PEM.
    pub fn sign(&self) -> (String, String) {
        let key = KeyPair::generate().unwrap();
        let mut params = CertificateParams::new(["127.0.0.1".to_owned(), "localhost".to_owned()]).unwrap();
        params.not_after = date_time_ymd(self.year, 5, 4);
        (params.signed_by(&key, &self.issuer).unwrap().pem(), key.serialize_pem())
    }

    /// Writes a certificate and its key; their files.
    pub fn issue(&self) -> (PathBuf, PathBuf) {
        let (certificate, key) = self.sign();
        let files = (self.file("server.pem"), self.file("server.key"));
        fs::write(&files.0, certificate).unwrap();
        fs::write(&files.1, key).unwrap();
        files
    }

    /// Its own certificate.
    pub fn root(&self) -> reqwest::Certificate {
        reqwest::Certificate::from_pem(self.issuer.pem().as_bytes()).unwrap()
    }

    /// A client that trusts this authority and nobody else, and opens a connection for each request.
    pub fn client(&self) -> reqwest::Client {
        aftercall_local::http_client_builder(PATIENCE)
            .tls_certs_only([self.root()])
            .pool_max_idle_per_host(0)
            .build()
            .unwrap()
    }
}
