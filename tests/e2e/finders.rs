//! The finders of libraries without symbols, on files alone: neither a kernel half nor root. The few programs that other tests build or fetch
//! anyway; `cargo xtask fixtures` has many builds of them.

use std::{io::Write as _, path::Path, time::Instant};

use a11i_tests::{
    agent,
    fixtures::{Fixture, inspected, judge},
    requirement::{self, Unmet},
    workload::{
        bun::Bun,
        deno::Deno,
        go::{self, GoProgram},
        rust_client::{Provider, RustClient},
    },
};
use serde_json::Value;

/// All that the symbols of the very same code name is found, with every return that a disassembler sees, and nothing else.
async fn is_found_whole(what: &str, make: impl Future<Output = Result<Fixture, Unmet>>) {
    let begun = Instant::now();
    let Some(fixture) = requirement::met(make.await) else { return };
    let there = begun.elapsed();
    let Some(agent) = requirement::met(agent::binary()) else { return };
    let Some(judged) = requirement::met(judge(&agent, &fixture).await) else { return };
    let (functions, returns, took) = (judged.functions, judged.returns, judged.took);
    report(&format!("{what}: {functions} functions and {returns} returns in {took:.2?}; the program was there after {there:.0?}"));
    assert!(judged.is_whole(), "{judged:#?}");
}

/// Past the test harness's capture.
fn report(line: &str) {
    writeln!(std::io::stderr(), "finders: {line}").expect("standard error is writable");
}

#[tokio::test]
async fn rustls_with_ring_is_found_whole() {
    is_found_whole("rustls with ring", async { Ok(RustClient::built(Provider::Ring).await?.fixture()) }).await;
}

#[tokio::test]
async fn rustls_with_aws_lc_is_found_whole() {
    is_found_whole("rustls with aws-lc", async { Ok(RustClient::built(Provider::AwsLc).await?.fixture()) }).await;
}

#[tokio::test]
async fn go_is_found_whole() {
    for (without, with) in [(go::Build::Stripped, go::Build::Plain), (go::Build::StrippedPie, go::Build::Pie)] {
        is_found_whole("Go", GoProgram::fixture(&go::Toolchain::Newest, without, with)).await;
    }
}

async fn has(agent: &Path, program: &Path, library: &str, method: &str, functions: &[&str]) {
    let begun = Instant::now();
    let Some(found) = requirement::met(inspected(agent, program).await) else { return };
    report(&format!("{}: {library} by {method} in {:.2?}", program.display(), begun.elapsed()));
    let says = |library: &&Value, key: &str, value: &str| library.get(key).is_some_and(|said| said == value);
    let libraries = found.get("libraries").and_then(Value::as_array).into_iter().flatten();
    let own = libraries.into_iter().find(|found| says(found, "library", library) && says(found, "method", method));
    let own = own.unwrap_or_else(|| panic!("no {library} by {method} in {found:#}"));
    let probes: Vec<&Value> = own.get("probes").and_then(Value::as_array).into_iter().flatten().collect();
    for function in functions {
        assert!(probes.iter().any(|probe| says(probe, "symbol", function) && says(probe, "kind", "entry")), "no {function} in {own:#}");
    }
}

#[tokio::test]
async fn the_runtimes_of_packages_are_found() {
    let Some(agent) = requirement::met(agent::binary()) else { return };
    if let Some(bun) = requirement::met(Bun::from_its_package().await) {
        has(&agent, bun.path(), "boringssl", "anchor", &["SSL_read", "SSL_write"]).await;
    }
    if let Some(deno) = requirement::met(Deno::from_its_package().await) {
        has(&agent, deno.path(), "rustls", "structure", &["MessageEncrypter::encrypt", "MessageDecrypter::decrypt"]).await;
    }
}
