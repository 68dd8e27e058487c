//! Model calls with reqwest on rustls, as users' programs make them.
//!
//! Jobs come as JSON on standard input, one per line; the jobs of a list are done concurrently, each by a client (and so on a connection) of
//! its own. One JSON line goes out per job, in order: what the client saw. The clients, and so the connections, stay open between lines. The
//! program ends when its input ends. A job may name another `port`. `TLS_VERSION=1.2` and `CIPHER=chacha20` choose what is spoken.

use std::{env, error::Error, net::SocketAddr, sync::Arc};

use futures_util::StreamExt as _;
use reqwest::Client;
use rustls::{
    ClientConfig, RootCertStore,
    crypto::CryptoProvider,
    pki_types::{CertificateDer, pem::PemObject as _},
};
use serde_json::{Value, json};
use tokio::io::{AsyncBufReadExt as _, BufReader};

const HOST: &str = "api.openai.com";

#[cfg(feature = "aws-lc")]
fn provider() -> CryptoProvider {
    rustls::crypto::aws_lc_rs::default_provider()
}

#[cfg(not(feature = "aws-lc"))]
fn provider() -> CryptoProvider {
    rustls::crypto::ring::default_provider()
}

#[tokio::main(worker_threads = 4)]
async fn main() -> Result<(), Box<dyn Error>> {
    let port: u16 = env::var("STAND_IN_PORT")?.parse()?;
    let config = config()?;
    let mut clients: Vec<Client> = Vec::new();
    let mut lines = BufReader::new(tokio::io::stdin()).lines();
    while let Some(line) = lines.next_line().await? {
        let jobs = match serde_json::from_str(&line)? {
            Value::Array(jobs) => jobs,
            job => vec![job],
        };
        while clients.len() < jobs.len() {
            clients.push(client(&config, port)?);
        }
        let tasks: Vec<_> = jobs.into_iter().zip(&clients).map(|(job, client)| tokio::spawn(call(client.clone(), port, job))).collect();
        for task in tasks {
            println!("{}", task.await?.unwrap_or_else(|error| json!({"error": error.to_string()})));
        }
    }
    Ok(())
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

fn client(config: &ClientConfig, port: u16) -> reqwest::Result<Client> {
    let here = SocketAddr::from(([127, 0, 0, 1], port));
    Client::builder().tls_backend_preconfigured(config.clone()).http1_only().no_proxy().resolve(HOST, here).build()
}

type Failure = Box<dyn Error + Send + Sync>;

async fn call(client: Client, port: u16, job: Value) -> Result<Value, Failure> {
    let stream = job.get("stream") == Some(&Value::Bool(true));
    let prompt = job.get("prompt").and_then(Value::as_str).unwrap_or("Say hello in one short sentence.");
    let mut body = json!({"model": "gpt-4o-mini", "messages": [{"role": "user", "content": prompt}]});
    if stream && let Some(body) = body.as_object_mut() {
        body.insert("stream".to_owned(), json!(true));
        body.insert("stream_options".to_owned(), json!({"include_usage": true}));
    }
    let port = job.get("port").and_then(Value::as_u64).unwrap_or_else(|| port.into());
    let mut request = client.post(format!("https://{HOST}:{port}/v1/chat/completions"));
    for (name, value) in job.get("headers").and_then(Value::as_object).into_iter().flatten() {
        request = request.header(name, value.as_str().unwrap_or_default());
    }
    let request = request.header("content-type", "application/json").header("authorization", "Bearer sk-test-not-a-real-key");
    let answer = request.body(body.to_string()).send().await?;
    let mut whole = Vec::new();
    let mut pieces = answer.bytes_stream();
    while let Some(piece) = pieces.next().await {
        whole.extend_from_slice(&piece?);
    }
    let text = String::from_utf8(whole)?;
    let first = text.lines().find_map(|line| line.strip_prefix("data: ")).unwrap_or(&text);
    let first: Value = serde_json::from_str(first)?;
    Ok(json!({"id": first.get("id"), "bytes": text.len()}))
}
