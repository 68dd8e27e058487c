//! With the provider of cryptography that was chosen.

use std::{env, error::Error, sync::Arc};

use reqwest::{Client, ClientBuilder};
use rustls::{
    ClientConfig, RootCertStore,
    crypto::CryptoProvider,
    pki_types::{CertificateDer, pem::PemObject as _},
};

pub(crate) fn builder() -> Result<ClientBuilder, Box<dyn Error>> {
    Ok(Client::builder().tls_backend_preconfigured(config()?))
}

fn config() -> Result<ClientConfig, Box<dyn Error>> {
    let mut roots = RootCertStore::empty();
    for certificate in CertificateDer::pem_file_iter(env::var("SSL_CERT_FILE")?)? {
        roots.add(certificate?)?;
    }
    let mut provider = provider();
    if env::var("CIPHER").is_ok_and(|cipher| cipher == "chacha20") {
        provider.cipher_suites.retain(|suite| format!("{:?}", suite.suite()).contains("CHACHA20"));
    }
    let versions: &[_] =
        if env::var("TLS_VERSION").is_ok_and(|version| version == "1.2") { &[&rustls::version::TLS12] } else { &[&rustls::version::TLS13] };
    let builder = ClientConfig::builder_with_provider(Arc::new(provider)).with_protocol_versions(versions)?;
    Ok(builder.with_root_certificates(roots).with_no_client_auth())
}

#[cfg(feature = "aws-lc")]
fn provider() -> CryptoProvider {
    rustls::crypto::aws_lc_rs::default_provider()
}

#[cfg(not(feature = "aws-lc"))]
fn provider() -> CryptoProvider {
    rustls::crypto::ring::default_provider()
}
