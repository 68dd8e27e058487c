//! The parts that cargo and its companions do.

use std::process::Command;

use anyhow::Result;

use crate::{
    packages, process,
    test::{
        Setting, counts,
        report::{Counts, Outcome},
    },
    tidy,
};

/// The end-to-end tests are a part of their own: they need a kernel and root.
const EXCEPT_END_TO_END: [&str; 3] = ["--workspace", "--exclude", "a11i-tests"];

pub(super) fn formatting(setting: &Setting<'_>) -> Result<Outcome> {
    let mut workspace = process::cargo(setting.workspace);
    let workspace_is_fine = succeeds(workspace.args(["fmt", "--all", "--check"]))?;
    let mut kernel_half = process::cargo(setting.workspace);
    kernel_half.current_dir(setting.workspace.root.join("a11i-ebpf"));
    let kernel_half_is_fine = succeeds(kernel_half.args(["fmt", "--check"]))?;
    Ok(if workspace_is_fine && kernel_half_is_fine { Outcome::passed() } else { Outcome::failed("`cargo fmt --all` puts it right") })
}

pub(super) fn tidy(setting: &Setting<'_>) -> Result<Outcome> {
    let findings = tidy::check(setting.workspace)?;
    findings.print();
    Ok(match findings.errors() {
        0 => Outcome::passed(),
        errors => Outcome::failed(format!("{errors} findings, listed above")),
    })
}

pub(super) fn unit(setting: &Setting<'_>) -> Result<Outcome> {
    let nextest = process::which("cargo-nextest").is_some();
    let mut cargo = process::cargo(setting.workspace);
    if nextest {
        cargo.args(["nextest", "run", "--color=never", "--no-fail-fast", "--no-tests=pass"]);
    } else {
        cargo.args(["test", "--no-fail-fast", "--lib", "--bins", "--tests"]);
    }
    cargo.arg("--ignore-rust-version").args(EXCEPT_END_TO_END).args(&setting.filters);
    let (succeeded, output) = process::tee(&mut cargo)?;
    let counts = if nextest { counts::of_nextest(&output, !setting.filters.is_empty()) } else { counts::of_libtest(&output) };
    Ok(tests(succeeded, counts))
}

/// The end-to-end tests' own instruments, without a kernel: no nextest, which would compile the end-to-end tests too.
pub(super) fn unit_of_the_test_package(setting: &Setting<'_>) -> Result<Outcome> {
    let mut cargo = process::cargo(setting.workspace);
    cargo.args(["test", "--ignore-rust-version", "--no-fail-fast", "--package", "a11i-tests", "--lib"]).args(&setting.filters);
    let (succeeded, output) = process::tee(&mut cargo)?;
    Ok(possibly_none(succeeded, counts::of_libtest(&output)))
}

/// The fuzz corpora and small changes of their inputs, on this compiler. A workspace of its own.
pub(super) fn fuzz_corpora(setting: &Setting<'_>) -> Result<Outcome> {
    let mut cargo = process::cargo(setting.workspace);
    cargo.current_dir(setting.workspace.root.join("tests/fuzz"));
    cargo.args(["test", "--ignore-rust-version", "--no-fail-fast", "--test", "replay"]).args(&setting.filters);
    let (succeeded, output) = process::tee(&mut cargo)?;
    Ok(possibly_none(succeeded, counts::of_libtest(&output)))
}

pub(super) fn doc_examples(setting: &Setting<'_>) -> Result<Outcome> {
    let mut cargo = process::cargo(setting.workspace);
    cargo.args(["test", "--doc", "--ignore-rust-version"]).args(EXCEPT_END_TO_END).args(&setting.filters);
    let (succeeded, output) = process::tee(&mut cargo)?;
    Ok(possibly_none(succeeded, counts::of_libtest(&output)))
}

/// The pure half must compile without the kernel half, tokio and the rest: that is what keeps it pure, and fuzzing quick.
pub(super) fn pure_half(setting: &Setting<'_>) -> Result<Outcome> {
    for package in ["a11i-common", "a11i-agent"] {
        let mut cargo = process::cargo(setting.workspace);
        cargo.args(["check", "--ignore-rust-version", "--no-default-features", "--lib", "--package", package]);
        if !succeeds(&mut cargo)? {
            return Ok(Outcome::failed(format!("{package} needs its default features")));
        }
    }
    Ok(Outcome::passed())
}

/// Whether the agent compiles for arm64, which nothing here can run. Its C code needs a compiler of that target.
pub(super) fn agent_for_arm64(setting: &Setting<'_>) -> Result<Outcome> {
    const TARGET: &str = "aarch64-unknown-linux-gnu";
    const PACKAGES: [&str; 2] = ["gcc-aarch64-linux-gnu", "libc6-dev-arm64-cross"];
    if process::which("aarch64-linux-gnu-gcc").is_none() {
        if let Err(reason) = packages::usable() {
            return Ok(Outcome::skipped(format!("{} are needed: {reason}", PACKAGES.join(" and "))));
        }
        packages::install(&PACKAGES)?;
    }
    if process::which("rustup").is_none() {
        return Ok(Outcome::skipped(format!("no rustup, which would bring the standard library of {TARGET}")));
    }
    if let Err(error) = process::run(Command::new("rustup").args(["target", "add", TARGET])) {
        return Ok(Outcome::skipped(format!("{error:#}")));
    }
    let mut cargo = process::cargo(setting.workspace);
    cargo.args(["check", "--ignore-rust-version", "--package", "a11i-agent", "--bin", "a11i", "--target", TARGET]);
    Ok(if succeeds(&mut cargo)? { Outcome::passed() } else { Outcome::failed("see the errors above") })
}

pub(super) fn clippy(setting: &Setting<'_>) -> Result<Outcome> {
    if process::which("cargo-clippy").is_none() {
        return Ok(Outcome::skipped("clippy is not installed: rustup component add clippy"));
    }
    let mut cargo = process::cargo(setting.workspace);
    cargo.args(["clippy", "--workspace", "--all-targets", "--ignore-rust-version", "--", "-D", "warnings"]);
    Ok(if succeeds(&mut cargo)? { Outcome::passed() } else { Outcome::failed("see the warnings above") })
}

pub(super) fn deny(setting: &Setting<'_>) -> Result<Outcome> {
    if process::which("cargo-deny").is_none() {
        return Ok(Outcome::skipped("optional; cargo-deny is not installed: cargo install cargo-deny --locked"));
    }
    let mut cargo = process::cargo(setting.workspace);
    // The advisory database is fetched from the network: a new advisory must not fail an unrelated change.
    cargo.args(["deny", "check", "licenses", "sources", "bans"]);
    Ok(if succeeds(&mut cargo)? { Outcome::passed() } else { Outcome::failed("see above; the rules are in deny.toml") })
}

pub(super) fn typos(setting: &Setting<'_>) -> Result<Outcome> {
    if process::which("typos").is_none() {
        return Ok(Outcome::skipped("optional; typos is not installed: cargo install typos-cli --locked"));
    }
    let mut typos = Command::new("typos");
    Ok(if succeeds(typos.current_dir(&setting.workspace.root))? { Outcome::passed() } else { Outcome::failed("see above") })
}

/// Like [`tests`], where it is no mistake that there is none: that it compiled is the result then.
fn possibly_none(succeeded: bool, counts: Counts) -> Outcome {
    if succeeded && counts == Counts::default() { Outcome::passed() } else { tests(succeeded, counts) }
}

/// A test program that failed without naming a failed test could not be compiled or died.
pub(super) fn tests(succeeded: bool, counts: Counts) -> Outcome {
    match (succeeded, counts) {
        (true, Counts { passed: 0, failed: 0, skipped: 0 }) => Outcome::failed("no test was run"),
        (false, Counts { failed: 0, .. }) => {
            Outcome { counts: Counts { failed: 1, ..counts }, remarks: vec!["did not compile or died".to_owned()] }
        }
        (_, counts) => Outcome { counts, remarks: Vec::new() },
    }
}

fn succeeds(command: &mut Command) -> Result<bool> {
    Ok(process::tee(command)?.0)
}
