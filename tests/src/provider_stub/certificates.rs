//! A certificate authority made at start, and one server certificate for every name the stand-in answers to.

use std::{fs, path::Path, sync::Arc};

use rcgen::{
    BasicConstraints, CertificateParams, CertifiedIssuer, DistinguishedName, DnType, ExtendedKeyUsagePurpose, IsCa, KeyPair,
    KeyUsagePurpose,
};
use rustls::{
    ServerConfig,
    pki_types::{PrivateKeyDer, PrivatePkcs8KeyDer},
};

/// Names in the server certificate.
pub const NAMES: [&str; 6] = [
    "api.openai.com",
    "api.anthropic.com",
    "bedrock-runtime.us-east-1.amazonaws.com",
    "generativelanguage.googleapis.com",
    "localhost",
    "127.0.0.1",
];

/// Makes the authority, writes its certificate to `ca_file`, and returns the server's side.
pub(super) fn server_config(ca_file: &Path, http2: bool) -> Arc<ServerConfig> {
    let mut authority = CertificateParams::new(Vec::new()).expect("no names are valid names");
    authority.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    authority.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
    authority.distinguished_name = common_name("a11i test authority");
    let authority = CertifiedIssuer::self_signed(authority, KeyPair::generate().expect("a key")).expect("a CA certificate");
    fs::write(ca_file, authority.pem()).expect("the CA file is writable");

    let mut server = CertificateParams::new(NAMES.map(str::to_owned)).expect("the names are valid");
    server.key_usages = vec![KeyUsagePurpose::DigitalSignature];
    server.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth];
    server.use_authority_key_identifier_extension = true; // Python 3.13 is strict about it
    server.distinguished_name = common_name("a11i provider stand-in");
    let key = KeyPair::generate().expect("a key");
    let certificate = server.signed_by(&key, &authority).expect("a server certificate");

    let mut config = ServerConfig::builder_with_provider(Arc::new(rustls::crypto::ring::default_provider()))
        .with_safe_default_protocol_versions()
        .expect("ring has the default versions")
        .with_no_client_auth()
        .with_single_cert(vec![certificate.der().clone()], PrivateKeyDer::Pkcs8(PrivatePkcs8KeyDer::from(key.serialize_der())))
        .expect("the certificate fits its key");
    config.alpn_protocols = if http2 { vec![b"h2".to_vec(), b"http/1.1".to_vec()] } else { vec![b"http/1.1".to_vec()] };
    Arc::new(config)
}

fn common_name(name: &str) -> DistinguishedName {
    let mut distinguished = DistinguishedName::new();
    distinguished.push(DnType::CommonName, name);
    distinguished
}
