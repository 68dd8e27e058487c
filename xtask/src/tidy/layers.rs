//! Who may name whom: the purity of the middle of the pipeline, and the one direction in which stages know each other.

use std::path::{Component, Path};

use crate::tidy::{
    Finding,
    paths::{self, NamedPath},
    source,
};

/// Bytes and time in, values out: no I/O, clock, lock or environment.
const PURE: [&str; 7] = ["flow", "http", "provider", "call", "tokens", "cost", "redaction"];
/// The stages in the order of the data; each may name those before it.
const STAGES: [&str; 9] = ["capture", "flow", "http", "provider", "tokens", "cost", "redaction", "sampling", "export"];
/// They set up the kernel side; what becomes of the bytes is none of their business.
const SET_UP: [&str; 2] = ["discovery", "attach"];
/// What a stage may name besides: the record of a call, who made it, and the causes of loss. They themselves name no stage.
const VOCABULARIES: [&str; 2] = ["call", "owner"];
const VOCABULARY_FILES: [&[&str]; 1] = [&["telemetry", "drop_reason"]];
/// What pure code may not name; `std`, `core` and `alloc` count as one.
const IMPURE: [&[&str]; 16] = [
    &["tokio"],
    &["aya"],
    &["std", "fs"],
    &["std", "net"],
    &["std", "env"],
    &["std", "process"],
    &["std", "thread"],
    &["std", "os"],
    &["std", "time", "Instant"],
    &["std", "time", "SystemTime"],
    &["std", "sync", "Mutex"],
    &["std", "sync", "RwLock"],
    &["std", "sync", "Condvar"],
    &["std", "io", "stdin"],
    &["std", "io", "stdout"],
    &["std", "io", "stderr"],
];
/// Of those, what is a value: addresses.
const VALUES: [&[&str]; 4] =
    [&["std", "net", "SocketAddr"], &["std", "net", "IpAddr"], &["std", "net", "Ipv4Addr"], &["std", "net", "Ipv6Addr"]];
/// The places in the agent that talk to the kernel through aya.
const KERNEL_SIDE: [&[&str]; 4] = [&["capture"], &["attach", "links"], &["attach", "error"], &["cli", "doctor"]];

/// Findings in one file of Rust source; `name` is relative to the root of the tree.
pub(super) fn check(name: &Path, text: &str) -> Vec<Finding> {
    let Some(module) = agent_module(name) else { return Vec::new() };
    if module.iter().any(|part| part == "tests") {
        return Vec::new();
    }
    let source = source::without_tests(&source::without_comments_and_literals(text));
    let paths = paths::of_source(&source);
    let mut reported: Vec<Vec<String>> = Vec::new();
    let mut findings = Vec::new();
    for path in &paths {
        let segments = absolute(&module, path);
        // What an import brought in is complained about once, at the import.
        if reported.iter().any(|before| segments.starts_with(before)) {
            continue;
        }
        if let Some(complaint) = complaint(&module, &segments) {
            findings.push(Finding {
                file: name.to_owned(),
                line: path.line,
                text: format!("`{}`: {complaint}", segments.join("::")),
                is_error: true,
            });
            reported.push(segments);
        }
    }
    findings
}

/// `a11i-agent/src/http/h1/mod.rs` → `["http", "h1"]`; `None` outside the agent's library.
fn agent_module(name: &Path) -> Option<Vec<String>> {
    let inside = name.strip_prefix("a11i-agent/src").ok()?.with_extension("");
    let mut parts: Vec<String> = inside
        .components()
        .filter_map(|component| if let Component::Normal(part) = component { part.to_str().map(str::to_owned) } else { None })
        .collect();
    if parts.last().is_some_and(|last| last == "mod") {
        parts.pop();
    }
    Some(parts)
}

/// The path seen from the crate: `super::x` in `http::h1` is `crate::http::x`, and `core` is `std`.
fn absolute(module: &[String], path: &NamedPath) -> Vec<String> {
    let mut segments: &[String] = &path.segments;
    let Some(first) = segments.first() else { return Vec::new() };
    match first.as_str() {
        "core" | "alloc" => {
            let rest = segments.iter().skip(1).cloned();
            std::iter::once("std".to_owned()).chain(rest).collect()
        }
        "self" | "super" => {
            let mut base = module;
            while let Some((first, rest)) = segments.split_first() {
                match first.as_str() {
                    "self" => {}
                    "super" => base = base.split_last().map_or(&[], |(_, parents)| parents),
                    _ => break,
                }
                segments = rest;
            }
            std::iter::once("crate".to_owned()).chain(base.iter().cloned()).chain(segments.iter().cloned()).collect()
        }
        _ => segments.to_vec(),
    }
}

/// What is wrong with `module` naming `path`, if anything.
fn complaint(module: &[String], path: &[String]) -> Option<String> {
    let own = module.first()?.as_str();
    let pure = PURE.contains(&own);
    let is_value = VALUES.iter().any(|value| starts_with(path, value));
    if pure
        && !is_value
        && let Some(impure) = IMPURE.iter().find(|impure| starts_with(path, impure))
    {
        return Some(format!("`{own}` is pure: {} belongs to the rim, and time is an argument", impure.join("::")));
    }
    if starts_with(path, &["aya"]) && !KERNEL_SIDE.iter().any(|place| starts_with(module, place)) {
        return Some("only `capture` and `attach::links` talk to the kernel through aya".to_owned());
    }
    let [krate, other, ..] = path else { return None };
    if krate != "crate" || other == own {
        return None;
    }
    let inside = path.get(1..).unwrap_or_default();
    let position = |name: &str| STAGES.iter().position(|stage| *stage == name);
    let is_vocabulary = VOCABULARIES.contains(&other.as_str()) || VOCABULARY_FILES.iter().any(|file| starts_with(inside, file));
    if VOCABULARIES.contains(&own) {
        let is_stage = position(other).is_some();
        return is_stage.then(|| format!("`{own}` is a vocabulary of all stages and names none of them"));
    }
    if SET_UP.contains(&own) {
        // `capture` holds the loaded programs that they attach.
        let is_stage = position(other).is_some_and(|stage| stage > 0);
        return is_stage.then(|| format!("`{own}` sets up the kernel side and names no stage after `capture`"));
    }
    let mine = position(own)?;
    if is_vocabulary {
        return None;
    }
    match position(other) {
        Some(theirs) if theirs < mine => {
            let crosses_the_rim = pure && !PURE.contains(&other.as_str());
            crosses_the_rim.then(|| format!("`{own}` is pure and `{other}` is not"))
        }
        Some(_) => Some(format!("`{other}` comes after `{own}` in the way of the data: a stage names only those before it")),
        None => pure.then(|| format!("`{own}` is pure: it names stages above it, `call` and `owner` only")),
    }
}

fn starts_with(path: &[String], beginning: &[&str]) -> bool {
    path.len() >= beginning.len() && path.iter().zip(beginning).all(|(have, want)| have == want)
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::check;

    fn complaints(file: &str, text: &str) -> Vec<String> {
        check(Path::new(file), text).into_iter().map(|finding| format!("{}: {}", finding.line, finding.text)).collect()
    }

    #[test]
    fn pure_code_asks_no_time_however_it_is_spelled() {
        for text in [
            "use std::time::Instant;",
            "use std::time::{Duration, Instant};",
            "fn f() { std::time::Instant::now(); }",
            "use std::time;\nfn f() { time::SystemTime::now(); }",
            "use std::time as t;\nfn f() { t::Instant::now(); }",
        ] {
            assert_eq!(complaints("a11i-agent/src/flow/table.rs", text).len(), 1, "{text}");
        }
        assert!(complaints("a11i-agent/src/flow/table.rs", "use std::time::Duration; use std::sync::Arc; use core::fmt;").is_empty());
        assert!(complaints("a11i-agent/src/clock.rs", "use std::time::Instant;").is_empty());
    }

    #[test]
    fn tests_of_pure_code_may_read_files() {
        let text = "fn f() {}\n#[cfg(test)]\nmod tests { use std::fs; }\n";
        assert!(complaints("a11i-agent/src/http/sse.rs", text).is_empty());
        assert!(complaints("a11i-agent/src/http/sse/tests.rs", "use std::fs;").is_empty());
    }

    #[test]
    fn a_stage_names_only_those_above_it() {
        assert!(complaints("a11i-agent/src/http/mod.rs", "use crate::flow::Segment; use crate::call::Usage;").is_empty());
        let found = complaints("a11i-agent/src/http/mod.rs", "use crate::{\n    flow::Segment,\n    provider::Dialect,\n};");
        assert_eq!(found.len(), 1);
        assert!(found.first().is_some_and(|first| first.starts_with("3: `crate::provider::Dialect`")), "{found:?}");
        assert_eq!(complaints("a11i-agent/src/http/h1/head.rs", "use super::super::super::export::Otlp;").len(), 1);
        assert!(complaints("a11i-agent/src/http/h1/head.rs", "use super::super::detect::Kind;").is_empty());
        assert_eq!(complaints("a11i-agent/src/capture/ring.rs", "use crate::flow::Segment;").len(), 1);
        assert!(complaints("a11i-agent/src/export/spans.rs", "use crate::redaction::RedactedCall; use crate::config::Config;").is_empty());
    }

    #[test]
    fn pure_code_knows_nothing_of_the_rim() {
        for text in ["use crate::capture::Loader;", "use crate::config::Config;", "use crate::pipeline::run;"] {
            assert_eq!(complaints("a11i-agent/src/cost/mod.rs", text).len(), 1, "{text}");
        }
        assert!(complaints("a11i-agent/src/flow/mod.rs", "use crate::telemetry::drop_reason::DropReason;").is_empty());
        assert_eq!(complaints("a11i-agent/src/flow/mod.rs", "use crate::telemetry::health::Server;").len(), 1);
    }

    #[test]
    fn vocabularies_and_set_up_name_no_stage() {
        assert_eq!(complaints("a11i-agent/src/call/usage.rs", "use crate::http::Message;").len(), 1);
        assert_eq!(complaints("a11i-agent/src/owner/process.rs", "use crate::flow::Segment;").len(), 1);
        assert!(complaints("a11i-agent/src/owner/process.rs", "use std::fs; use crate::call::Usage;").is_empty());
        assert_eq!(complaints("a11i-agent/src/attach/openssl.rs", "use crate::export::spans;").len(), 1);
        assert!(
            complaints("a11i-agent/src/attach/openssl.rs", "use crate::call::CaptureLibrary; use crate::capture::Programs;").is_empty()
        );
    }

    #[test]
    fn what_an_import_brought_in_is_complained_about_once() {
        let text = "use crate::export::Otlp;\nfn f() { Otlp::new(); Otlp::send(); crate::export::Queue::new(); }";
        assert_eq!(complaints("a11i-agent/src/flow/mod.rs", text).len(), 2);
    }

    #[test]
    fn aya_has_its_places() {
        assert!(complaints("a11i-agent/src/capture/loader.rs", "use aya::Ebpf;").is_empty());
        assert!(complaints("a11i-agent/src/attach/links/kernel.rs", "use aya::Ebpf;").is_empty());
        assert_eq!(complaints("a11i-agent/src/attach/plan.rs", "use aya::Ebpf;").len(), 1);
    }

    #[test]
    fn the_wiring_names_everyone() {
        let text = "use crate::{capture::ring, export::otlp, flow::Table, provider::Dialect};";
        assert!(complaints("a11i-agent/src/pipeline.rs", text).is_empty());
        assert!(complaints("a11i-agent/src/cli.rs", text).is_empty());
        assert!(complaints("xtask/src/main.rs", "use std::fs;").is_empty());
    }
}
