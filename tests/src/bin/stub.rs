//! The provider stand-in by hand: `cargo run -p a11i-tests --bin stub [PORT] [http2]`.
//!
//! Says where it listens and how to call it, then every exchange as it happens, until Ctrl-C.

use std::{process::ExitCode, time::Duration};

use a11i_tests::provider_stub::{End, Exchange, Options, ProviderStub};

/// How often new exchanges are looked for.
const LOOK_AGAIN: Duration = Duration::from_millis(100);

#[tokio::main(flavor = "current_thread")]
async fn main() -> ExitCode {
    let mut options = Options::default();
    for argument in std::env::args().skip(1) {
        match (argument.as_str(), argument.parse()) {
            ("http2", _) => options.http2 = true,
            (_, Ok(port)) => options.port = port,
            (_, Err(_)) => {
                eprintln!("stub: {argument} is neither a port nor `http2`");
                return ExitCode::FAILURE;
            }
        }
    }
    let stub = ProviderStub::start_with(options);
    let mut out = std::io::stdout();
    let end = tokio::select! {
        result = show(&stub, &mut out) => result,
        result = tokio::signal::ctrl_c() => result,
    };
    drop(stub);
    if end.is_ok() { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}

async fn show(stub: &ProviderStub, out: &mut impl std::io::Write) -> std::io::Result<()> {
    let (port, ca) = (stub.port(), stub.ca_file().display());
    writeln!(
        out,
        r#"port {port}
CA   {ca}

curl --http1.1 --cacert {ca} --connect-to api.openai.com:443:127.0.0.1:{port} https://api.openai.com/v1/chat/completions \
  -H 'content-type: application/json' -d '{{"model":"gpt-4o-mini","messages":[{{"role":"user","content":"hello"}}]}}'

curl --http1.1 -N --cacert {ca} --connect-to api.anthropic.com:443:127.0.0.1:{port} https://api.anthropic.com/v1/messages \
  -H 'content-type: application/json' -H 'x-stub-chunks: 20' -H 'x-stub-pace-ms: 100' \
  -d '{{"model":"claude-haiku-4-5","max_tokens":64,"stream":true,"messages":[{{"role":"user","content":"hello"}}]}}'

SSL_CERT_FILE={ca} STAND_IN_PORT={port} python tests/clients/python/openai_sync.py <<< '{{"api":"chat","stream":true}}'
"#
    )?;
    let mut shown = 0;
    loop {
        let exchanges = stub.exchanges();
        while let Some(exchange) = exchanges.get(shown).filter(|exchange| exchange.end != End::Open) {
            line(exchange, out)?;
            shown = shown.saturating_add(1);
        }
        tokio::time::sleep(LOOK_AGAIN).await;
    }
}

fn line(exchange: &Exchange, out: &mut impl std::io::Write) -> std::io::Result<()> {
    let Exchange { connection, method, path, request_bytes, expected, end } = exchange;
    write!(out, "connection {connection}: {method} {path} ({request_bytes} bytes)")?;
    if let Some(expected) = expected {
        write!(out, " -> {} {}", expected.status, expected.response_id.as_deref().unwrap_or("no id"))?;
        if let Some(usage) = expected.usage {
            write!(out, ", {} tokens in, {} out", usage.input, usage.output)?;
        }
    }
    writeln!(out, ", {end:?}")?;
    out.flush()
}
