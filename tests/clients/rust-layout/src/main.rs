//! Calls on one connection by rustls alone and in one thread, one for each line of standard input. Prints what `rust-client` prints, a line
//! for each call. Every other request is one record of two slices, those between are two records of one.

use std::{
    env,
    error::Error,
    io::{BufRead as _, IoSlice, Read as _, Write as _},
    net::TcpStream,
    sync::Arc,
};

use rustls::{
    ClientConfig, ClientConnection, RootCertStore, Stream,
    crypto::ring::default_provider,
    pki_types::{CertificateDer, ServerName, pem::PemObject as _},
};
use serde_json::{Value, json};

const HOST: &str = "api.openai.com";

fn main() -> Result<(), Box<dyn Error>> {
    let port: u16 = env::var("STAND_IN_PORT")?.parse()?;
    let mut roots = RootCertStore::empty();
    for certificate in CertificateDer::pem_file_iter(env::var("SSL_CERT_FILE")?)? {
        roots.add(certificate?)?;
    }
    let versions: &[_] =
        if env::var("TLS_VERSION").is_ok_and(|version| version == "1.2") { &[&rustls::version::TLS12] } else { &[&rustls::version::TLS13] };
    let builder = ClientConfig::builder_with_provider(Arc::new(default_provider())).with_protocol_versions(versions)?;
    let config = Arc::new(builder.with_root_certificates(roots).with_no_client_auth());
    let mut open = None;
    for (call, line) in std::io::stdin().lock().lines().enumerate() {
        line?;
        let (connection, socket) = match &mut open {
            Some(open) => open,
            None => open.insert((
                ClientConnection::new(Arc::clone(&config), ServerName::try_from(HOST)?)?,
                TcpStream::connect(("127.0.0.1", port))?,
            )),
        };
        let body = json!({"model": "gpt-4o-mini", "messages": [{"role": "user", "content": format!("call {call}")}]}).to_string();
        let head = format!(
            "POST /v1/chat/completions HTTP/1.1\r\nhost: {HOST}\r\ncontent-type: application/json\r\nauthorization: Bearer sk-test\r\ncontent-length: {}\r\n\r\n",
            body.len()
        );
        let mut stream = Stream::new(connection, socket);
        if call % 2 == 0 {
            let written = stream.write_vectored(&[IoSlice::new(head.as_bytes()), IoSlice::new(body.as_bytes())])?;
            if written != head.len() + body.len() {
                return Err("the request is no record".into());
            }
        } else {
            stream.write_all(head.as_bytes())?;
            stream.write_all(body.as_bytes())?;
        }
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
