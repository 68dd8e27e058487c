//! libcurl on GnuTLS, whose sockets do not block.

use a11i_tests::workload::libcurl_gnutls::start;
use serde_json::json;

use super::{both, new_by, running_by};

#[tokio::test]
async fn a_new_program() {
    new_by("gnutls", start, &both("libcurl")).await;
}

#[tokio::test]
async fn a_running_program() {
    running_by("gnutls", start, &both("libcurl")).await;
}

#[tokio::test]
async fn a_large_prompt_whose_sends_are_repeated() {
    let pause = json!({"x-stub-read-pause-ms": "200"});
    new_by("gnutls", start, &[json!({"prompt": "tokens ".repeat(600_000), "headers": pause})]).await;
}
