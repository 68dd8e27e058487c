//! The PEM files of an endpoint.

use std::{fs, path::Path};

use rustls::{
    ClientConfig, RootCertStore,
    pki_types::{CertificateDer, PrivateKeyDer, pem::PemObject as _},
};

use super::ClientError;
use crate::config::Endpoint;

/// rustls with ring: the host's roots, or the configured ones in their place.
pub(super) fn client_config(endpoint: &Endpoint) -> Result<ClientConfig, ClientError> {
    let provider = std::sync::Arc::new(rustls::crypto::ring::default_provider());
    let builder =
        ClientConfig::builder_with_provider(provider).with_safe_default_protocol_versions().map_err(|e| ClientError::Tls(e.to_string()))?;
    let builder = match &endpoint.certificate {
        Some(path) => {
            let mut roots = RootCertStore::empty();
            roots.add_parsable_certificates(certificates(path)?);
            builder.with_root_certificates(roots)
        }
        None => hyper_rustls::ConfigBuilderExt::with_native_roots(builder).map_err(|e| ClientError::Tls(e.to_string()))?,
    };
    match (&endpoint.client_certificate, &endpoint.client_key) {
        (Some(certificate), Some(key)) => {
            let key_der =
                PrivateKeyDer::from_pem_slice(&read(key)?).map_err(|_| ClientError::Pem { path: key.clone(), what: "private key" })?;
            builder.with_client_auth_cert(certificates(certificate)?, key_der).map_err(|e| ClientError::Tls(e.to_string()))
        }
        _ => Ok(builder.with_no_client_auth()),
    }
}

fn certificates(path: &Path) -> Result<Vec<CertificateDer<'static>>, ClientError> {
    let pem = read(path)?;
    let list: Vec<_> = CertificateDer::pem_slice_iter(&pem).filter_map(Result::ok).collect();
    if list.is_empty() { Err(ClientError::Pem { path: path.to_owned(), what: "certificate" }) } else { Ok(list) }
}

pub(super) fn read(path: &Path) -> Result<Vec<u8>, ClientError> {
    fs::read(path).map_err(|source| ClientError::File { path: path.to_owned(), source })
}
