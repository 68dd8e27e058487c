//! On Linux, the system's OpenSSL.

use std::{env, error::Error, fs};

use reqwest::{Certificate, Client, ClientBuilder, tls::Version};

pub(crate) fn builder() -> Result<ClientBuilder, Box<dyn Error>> {
    let mut builder = Client::builder().tls_backend_native();
    for certificate in Certificate::from_pem_bundle(&fs::read(env::var("SSL_CERT_FILE")?)?)? {
        builder = builder.add_root_certificate(certificate);
    }
    if env::var("TLS_VERSION").is_ok_and(|version| version == "1.2") {
        builder = builder.max_tls_version(Version::TLS_1_2);
    }
    Ok(builder)
}
