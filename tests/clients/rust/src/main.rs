//! Model calls with reqwest on rustls or native-tls, as users' programs make them.
//!
//! Jobs come as JSON on standard input, one per line; the jobs of a list are done concurrently, each by a client (and so on a connection) of
//! its own. One JSON line goes out per job, in order: what the client saw. The clients, and so the connections, stay open between lines. The
//! program ends when its input ends. A job may name another `port`. `TLS_VERSION=1.2` and, of rustls, `CIPHER=chacha20` choose what is
//! spoken.

#[cfg(feature = "native-tls")]
mod native_tls;
#[cfg(feature = "rustls")]
mod rustls;

use std::{env, error::Error, net::SocketAddr};

use futures_util::StreamExt as _;
use reqwest::Client;
use serde_json::{Value, json};
use tokio::io::{AsyncBufReadExt as _, BufReader};

const HOST: &str = "api.openai.com";

#[cfg(feature = "native-tls")]
use self::native_tls::builder;
#[cfg(feature = "rustls")]
use self::rustls::builder;

#[tokio::main(worker_threads = 4)]
async fn main() -> Result<(), Box<dyn Error>> {
    let port: u16 = env::var("STAND_IN_PORT")?.parse()?;
    let mut clients: Vec<Client> = Vec::new();
    let mut lines = BufReader::new(tokio::io::stdin()).lines();
    while let Some(line) = lines.next_line().await? {
        let jobs = match serde_json::from_str(&line)? {
            Value::Array(jobs) => jobs,
            job => vec![job],
        };
        while clients.len() < jobs.len() {
            clients.push(client(port)?);
        }
        let tasks: Vec<_> = jobs.into_iter().zip(&clients).map(|(job, client)| tokio::spawn(call(client.clone(), port, job))).collect();
        for task in tasks {
            println!("{}", task.await?.unwrap_or_else(|error| json!({"error": error.to_string()})));
        }
    }
    Ok(())
}

fn client(port: u16) -> Result<Client, Box<dyn Error>> {
    let here = SocketAddr::from(([127, 0, 0, 1], port));
    Ok(builder()?.http1_only().no_proxy().resolve(HOST, here).build()?)
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
