//! Calls on one connection whose traffic keys change between them, by rustls alone and in one thread: what no HTTP client does on purpose.
//!
//! `key-update CALLS`: before each call but the first, this side asks for new keys of both directions (RFC 8446 section 4.6.3). Prints what
//! `rust-client` prints, a line for each call; waits for a line of standard input first.

use std::{
    env,
    error::Error,
    io::{BufRead as _, Read as _, Write as _},
    net::TcpStream,
    sync::Arc,
};

use rustls::{
    ClientConfig, ClientConnection, RootCertStore, Stream,
    pki_types::{CertificateDer, ServerName, pem::PemObject as _},
};
use serde_json::{Value, json};

const HOST: &str = "api.openai.com";

#[cfg(feature = "aws-lc")]
use rustls::crypto::aws_lc_rs::default_provider;
#[cfg(not(feature = "aws-lc"))]
use rustls::crypto::ring::default_provider;

fn main() -> Result<(), Box<dyn Error>> {
    let calls: u32 = env::args().nth(1).ok_or("how many calls?")?.parse()?;
    let port: u16 = env::var("STAND_IN_PORT")?.parse()?;
    let mut roots = RootCertStore::empty();
    for certificate in CertificateDer::pem_file_iter(env::var("SSL_CERT_FILE")?)? {
        roots.add(certificate?)?;
    }
    let builder = ClientConfig::builder_with_provider(Arc::new(default_provider())).with_safe_default_protocol_versions()?;
    let config = builder.with_root_certificates(roots).with_no_client_auth();
    std::io::stdin().lock().read_line(&mut String::new())?;
    let mut socket = TcpStream::connect(("127.0.0.1", port))?;
    let mut connection = ClientConnection::new(Arc::new(config), ServerName::try_from(HOST)?)?;
    for call in 0..calls {
        if call > 0 {
            connection.refresh_traffic_keys()?;
        }
        let body = json!({"model": "gpt-4o-mini", "messages": [{"role": "user", "content": format!("call {call}")}]}).to_string();
        let head = format!(
            "POST /v1/chat/completions HTTP/1.1\r\nhost: {HOST}\r\ncontent-type: application/json\r\nauthorization: Bearer sk-test\r\ncontent-length: {}\r\n\r\n",
            body.len()
        );
        let mut stream = Stream::new(&mut connection, &mut socket);
        stream.write_all(head.as_bytes())?;
        stream.write_all(body.as_bytes())?;
        println!("{}", answer(&mut stream)?);
    }
    Ok(())
}

/// Reads one answer with a stated length.
fn answer(stream: &mut Stream<'_, ClientConnection, TcpStream>) -> Result<Value, Box<dyn Error>> {
    let (mut seen, mut piece) = (Vec::new(), [0; 4096]);
    loop {
        let n = stream.read(&mut piece)?;
        if n == 0 {
            return Err("the answer was cut".into());
        }
        seen.extend_from_slice(piece.get(..n).unwrap_or_default());
        let text = String::from_utf8_lossy(&seen);
        let Some((head, body)) = text.split_once("\r\n\r\n") else { continue };
        let length = head.lines().filter_map(|line| line.split_once(": ")).find(|(name, _)| name.eq_ignore_ascii_case("content-length"));
        let length: usize = length.ok_or("an answer without length")?.1.parse()?;
        if body.len() >= length {
            let body: Value = serde_json::from_str(body)?;
            return Ok(json!({"id": body.get("id")}));
        }
    }
}
