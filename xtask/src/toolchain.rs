//! The compiler for the kernel half: one that may use unstable flags and has the sources of `core`.
//!
//! Two kinds work and are told apart by what is installed: a rustup nightly with `rust-src`, and Debian's `rustc-web`.

use std::{path::Path, process::Command};

use anyhow::{Context as _, Result};

use crate::{packages, process};

/// The nightly that is installed where none is: its LLVM is 22, for which `bpf-linker` can be had; later ones move on.
pub(crate) const PINNED_NIGHTLY: &str = "nightly-2026-05-20";
/// The packages of Debian's second Rust compiler, kept current for browsers.
pub(crate) const DEBIAN_PACKAGES: [&str; 3] = ["rustc-web", "cargo-web", "rust-web-src"];
/// The oldest rustc 1.x with which the kernel half was built.
const OLDEST_MINOR: u32 = 96;

/// Settings meant for the agent's compiler, without meaning for this one.
const OF_THE_OTHER_COMPILER: [&str; 7] =
    ["CARGO", "RUSTC", "RUSTDOC", "RUSTC_WORKSPACE_WRAPPER", "RUSTFLAGS", "CARGO_ENCODED_RUSTFLAGS", "RUSTUP_TOOLCHAIN"];

/// A compiler that can build the kernel half.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct KernelToolchain {
    kind: Kind,
    /// What `rustc --version` says.
    pub(crate) version: String,
    /// The major version of the LLVM inside: `bpf-linker` must not be older.
    pub(crate) llvm: u32,
}

#[derive(Debug, Clone, PartialEq, Eq)]
enum Kind {
    Rustup(String),
    Debian,
}

impl KernelToolchain {
    /// `cargo` of this toolchain, free of what the surrounding cargo set.
    pub(crate) fn cargo(&self) -> Command {
        self.tool("cargo")
    }

    pub(crate) fn name(&self) -> String {
        match &self.kind {
            Kind::Rustup(toolchain) => format!("rustup's {toolchain} ({})", self.version),
            Kind::Debian => format!("Debian's rustc-web ({})", self.version),
        }
    }

    fn tool(&self, program: &str) -> Command {
        self.kind.tool(program)
    }
}

impl Kind {
    fn tool(&self, program: &str) -> Command {
        let mut command = match self {
            Self::Rustup(toolchain) => {
                let mut command = Command::new("rustup");
                command.args(["run", toolchain, program]);
                command
            }
            Self::Debian => Command::new(Path::new("/usr/bin").join(program)),
        };
        process::without_cargo_run_variables(&mut command);
        for name in OF_THE_OTHER_COMPILER {
            command.env_remove(name);
        }
        command.env("RUSTC_WRAPPER", "");
        if *self == Self::Debian {
            command.env("RUSTC", "/usr/bin/rustc").env("RUSTC_BOOTSTRAP", "1");
        }
        command
    }

    /// The toolchain when it is there, recent enough and has the sources of `core`.
    fn examine(self) -> Option<KernelToolchain> {
        let (version, minor, llvm) = parse_version(&process::output(self.tool("rustc").arg("-vV"))?)?;
        let sysroot = process::output(self.tool("rustc").args(["--print", "sysroot"]))?;
        let sources = Path::new(sysroot.trim()).join("lib/rustlib/src/rust/library/core/src/lib.rs");
        (minor >= OLDEST_MINOR && sources.is_file()).then_some(KernelToolchain { kind: self, version, llvm })
    }
}

/// The usable toolchains that are installed, the preferred one first.
pub(crate) fn installed() -> Vec<KernelToolchain> {
    let nightlies = rustup_nightlies().into_iter().map(Kind::Rustup);
    nightlies.chain([Kind::Debian]).filter_map(Kind::examine).collect()
}

/// One way to get a toolchain where none is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Source {
    Debian,
    Rustup,
}

impl Source {
    /// The ways open on this machine, the preferred one first.
    pub(crate) fn open() -> Vec<Self> {
        let debian = packages::usable().is_ok() && debian_candidate_is_recent();
        let rustup = process::which("rustup").is_some();
        [(debian, Self::Debian), (rustup, Self::Rustup)].into_iter().filter_map(|(open, source)| open.then_some(source)).collect()
    }

    pub(crate) fn install(self) -> Result<KernelToolchain> {
        match self {
            Self::Debian => {
                packages::install(&DEBIAN_PACKAGES)?;
                Kind::Debian.examine().context("Debian's rustc-web was installed but cannot be used")
            }
            Self::Rustup => {
                let mut rustup = Command::new("rustup");
                rustup.args(["toolchain", "install", PINNED_NIGHTLY, "--profile", "minimal", "--component", "rust-src"]);
                process::run(&mut rustup)?;
                let kind = Kind::Rustup(PINNED_NIGHTLY.to_owned());
                kind.examine().with_context(|| format!("{PINNED_NIGHTLY} was installed but cannot be used"))
            }
        }
    }
}

/// Nightlies that rustup has: the pinned one first, then the latest names.
fn rustup_nightlies() -> Vec<String> {
    let Some(list) = process::output(Command::new("rustup").args(["toolchain", "list"])) else { return Vec::new() };
    let mut names: Vec<String> = list
        .lines()
        .filter_map(|line| line.split_whitespace().next())
        .filter(|name| name.starts_with("nightly"))
        .map(str::to_owned)
        .collect();
    names.sort_by_key(|name| (!name.starts_with(PINNED_NIGHTLY), std::cmp::Reverse(name.clone())));
    names
}

fn debian_candidate_is_recent() -> bool {
    packages::candidate("rustc-web").and_then(|version| minor_of(&version)).is_some_and(|minor| minor >= OLDEST_MINOR)
}

/// `rustc -vV` → (first line, minor version, LLVM's major version).
fn parse_version(text: &str) -> Option<(String, u32, u32)> {
    let first = text.lines().next()?.trim();
    let minor = minor_of(first.strip_prefix("rustc ")?)?;
    let llvm = text.lines().find_map(|line| line.strip_prefix("LLVM version: "))?;
    let major = llvm.split('.').next()?.trim().parse().ok()?;
    Some((first.to_owned(), minor, major))
}

/// `1.96.0+dfsg1` → 96.
fn minor_of(version: &str) -> Option<u32> {
    version.strip_prefix("1.")?.split('.').next()?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::{minor_of, parse_version};

    #[test]
    fn the_version_names_compiler_and_llvm() {
        let text = "rustc 1.97.0-nightly (e50aa6fba 2026-05-19)\nbinary: rustc\nrelease: 1.97.0-nightly\nLLVM version: 22.1.4\n";
        assert_eq!(parse_version(text), Some(("rustc 1.97.0-nightly (e50aa6fba 2026-05-19)".to_owned(), 97, 22)));
        assert_eq!(parse_version("rustc 1.97.0\n"), None);
        assert_eq!(parse_version(""), None);
    }

    #[test]
    fn a_package_version_has_the_minor_version_too() {
        assert_eq!(minor_of("1.96.0+dfsg1-1~deb12u2"), Some(96));
        assert_eq!(minor_of("2.0"), None);
    }
}
