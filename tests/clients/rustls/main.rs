//! A TLS client with nothing in it but rustls and one provider of cryptography, in source that every version of rustls since 0.22 compiles:
//! the same program in many builds, for the finder of rustls and for calls through what it found.
//!
//! Each line of standard input is a job in JSON; one line of JSON goes out for it, with the answer's id. All calls are made on one connection.
//! `TLS_VERSION=1.2` chooses the older protocol. Manifests are made where it is built: a manifest knows one version of a crate.

use std::{
    env,
    error::Error,
    io::{self, BufRead as _, Read, Write},
    net::TcpStream,
    sync::Arc,
};

#[cfg(not(feature = "dev"))]
use rustls::ClientConfig;
use rustls::{
    RootCertStore,
    pki_types::{CertificateDer, pem::PemObject as _},
};

#[cfg(feature = "dev")]
mod dev;

const HOST: &str = "api.openai.com";

fn main() -> Result<(), Box<dyn Error>> {
    let port: u16 = env::var("STAND_IN_PORT")?.parse()?;
    let mut roots = RootCertStore::empty();
    for certificate in CertificateDer::pem_file_iter(env::var("SSL_CERT_FILE")?)? {
        roots.add(certificate?)?;
    }
    let old = env::var("TLS_VERSION").is_ok_and(|version| version == "1.2");
    let config = Arc::new(config(roots, old)?);
    let mut lines = io::stdin().lock().lines();
    let Some(mut line) = lines.next().transpose()? else { return Ok(()) };
    let mut stream = connect(config, HOST, TcpStream::connect(("127.0.0.1", port))?)?;
    loop {
        println!("{}", call(&mut stream, &line)?);
        match lines.next().transpose()? {
            Some(next) => line = next,
            None => return Ok(()),
        }
    }
}

#[cfg(feature = "dev")]
use dev::{config, connect};

#[cfg(not(feature = "dev"))]
fn config(roots: RootCertStore, old: bool) -> Result<ClientConfig, rustls::Error> {
    #[cfg(feature = "aws-lc")]
    use rustls::crypto::aws_lc_rs::default_provider;
    #[cfg(feature = "ring")]
    use rustls::crypto::ring::default_provider;

    let versions: &[_] = if old { &[&rustls::version::TLS12] } else { &[&rustls::version::TLS13] };
    let builder = ClientConfig::builder_with_provider(Arc::new(default_provider())).with_protocol_versions(versions)?;
    Ok(builder.with_root_certificates(roots).with_no_client_auth())
}

#[cfg(not(feature = "dev"))]
fn connect(config: Arc<ClientConfig>, host: &'static str, socket: TcpStream) -> Result<impl Read + Write, Box<dyn Error>> {
    let connection = rustls::ClientConnection::new(config, rustls::pki_types::ServerName::try_from(host)?)?;
    Ok(rustls::StreamOwned::new(connection, socket))
}

fn call(stream: &mut (impl Read + Write), job: &str) -> Result<String, Box<dyn Error>> {
    let is_streamed = job.contains("\"stream\":true");
    let prompt = text(job, "\"prompt\":\"").unwrap_or("Say hello in one short sentence.");
    let options = if is_streamed { r#","stream":true,"stream_options":{"include_usage":true}"# } else { "" };
    let body = format!(r#"{{"model":"gpt-4o-mini","messages":[{{"role":"user","content":"{prompt}"}}]{options}}}"#);
    let wishes = ["x-stub-chunks", "x-stub-input-tokens"].map(|name| {
        let value = text(job, &format!("\"{name}\":\""));
        value.map(|value| format!("{name}: {value}\r\n")).unwrap_or_default()
    });
    let head = format!(
        "POST /v1/chat/completions HTTP/1.1\r\nhost: {HOST}\r\ncontent-type: application/json\r\nauthorization: Bearer sk-test\r\n{}\
         content-length: {}\r\n\r\n",
        wishes.concat(),
        body.len()
    );
    stream.write_all(head.as_bytes())?;
    stream.write_all(body.as_bytes())?;
    stream.flush()?;
    let answer = answer(stream)?;
    Ok(format!(r#"{{"id":"{}"}}"#, text(&answer, "\"id\":\"").unwrap_or_default()))
}

/// A whole answer, of a stated length or in chunks.
fn answer(stream: &mut impl Read) -> Result<String, Box<dyn Error>> {
    let (mut seen, mut piece) = (Vec::new(), [0; 4096]);
    loop {
        let n = stream.read(&mut piece)?;
        if n == 0 {
            return Err("the answer was cut".into());
        }
        seen.extend_from_slice(&piece[..n]);
        let text = String::from_utf8_lossy(&seen);
        let Some((head, body)) = text.split_once("\r\n\r\n") else { continue };
        let length = head.lines().filter_map(|line| line.split_once(": ")).find(|(name, _)| name.eq_ignore_ascii_case("content-length"));
        let is_whole = match length {
            Some((_, length)) => body.len() >= length.parse()?,
            None => body.ends_with("\r\n0\r\n\r\n"),
        };
        if is_whole {
            return Ok(text.into_owned());
        }
    }
}

/// What stands between this and the next quotation mark.
fn text<'a>(all: &'a str, before: &str) -> Option<&'a str> {
    all.split_once(before)?.1.split('"').next()
}
