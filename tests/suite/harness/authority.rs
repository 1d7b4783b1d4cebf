//! A certificate authority for one test.

use std::{fs, path::PathBuf};

use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, IsCa, KeyPair, date_time_ymd};
use tempfile::TempDir;

use super::timeouts::test_timeout;

/// A certificate authority, and a folder for its certificates.
pub struct Authority {
    issuer: CertifiedIssuer<'static, KeyPair>,
    folder: TempDir,
    /// Certificates expire on 4 May of this year.
    year: i32,
}

impl Authority {
    /// A new authority whose certificates expire on 4 May of `year`.
    pub fn new(year: i32) -> Self {
        let mut params = CertificateParams::default();
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        let issuer = CertifiedIssuer::self_signed(params, KeyPair::generate().unwrap()).unwrap();
        let folder = tempfile::tempdir().unwrap();
        fs::write(folder.path().join("authority.pem"), issuer.pem()).unwrap();
        Self { issuer, folder, year }
    }

    /// The path of a file in the folder. `authority.pem` is the certificate of the authority.
    pub fn file(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    /// Signs a certificate for 127.0.0.1. Returns certificate and key in PEM.
    pub fn sign(&self) -> (String, String) {
        let key = KeyPair::generate().unwrap();
        let mut params = CertificateParams::new(["127.0.0.1".to_owned(), "localhost".to_owned()]).unwrap();
        params.not_after = date_time_ymd(self.year, 5, 4);
        (params.signed_by(&key, &self.issuer).unwrap().pem(), key.serialize_pem())
    }

    /// Signs a certificate for 127.0.0.1 and writes it. Returns the files of certificate and key.
    pub fn issue(&self) -> (PathBuf, PathBuf) {
        let (certificate, key) = self.sign();
        let files = (self.file("server.pem"), self.file("server.key"));
        fs::write(&files.0, certificate).unwrap();
        fs::write(&files.1, key).unwrap();
        files
    }

    /// The certificate of the authority.
    pub fn root(&self) -> reqwest::Certificate {
        reqwest::Certificate::from_pem(self.issuer.pem().as_bytes()).unwrap()
    }

    /// A client that trusts this authority only, and opens a connection for each request.
    pub fn client(&self) -> reqwest::Client {
        aftercall_local::http_client_builder(test_timeout())
            .tls_certs_only([self.root()])
            .pool_max_idle_per_host(0)
            .build()
            .unwrap()
    }
}
