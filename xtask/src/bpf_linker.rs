//! `bpf-linker`: found, or compiled against the LLVM that fits the compiler of the kernel half.

use std::{
    env, fs,
    path::{Path, PathBuf},
    process::Command,
};

use anyhow::{Context as _, Result, bail};

use crate::{packages, process, toolchain::KernelToolchain, workspace::Workspace};

/// The version that is compiled, and the oldest that is accepted.
pub(crate) const VERSION: &str = "0.13.0";
/// The LLVM versions that it can be compiled against, the preferred one first.
const SUPPORTED_LLVM: [u32; 3] = [22, 21, 23];

/// A linker on this machine that reads what a compiler with LLVM `llvm` writes.
pub(crate) fn find(workspace: &Workspace, llvm: u32) -> Option<PathBuf> {
    let own = SUPPORTED_LLVM.into_iter().map(|llvm| installation(workspace, llvm).join("bin/bpf-linker"));
    let cargo_home = env::var_os("CARGO_HOME").map(PathBuf::from).or_else(|| env::home_dir().map(|home| home.join(".cargo")));
    let in_cargo_home = cargo_home.map(|home| home.join("bin/bpf-linker"));
    let candidates = own.chain(in_cargo_home).chain(process::which("bpf-linker"));
    candidates.into_iter().find(|path| path.is_file() && fits(path, llvm))
}

/// How a linker for LLVM `llvm` can be made here; `Err` says what stands in the way.
pub(crate) fn plan(llvm: u32) -> Result<Plan, String> {
    let versions: Vec<u32> = SUPPORTED_LLVM.into_iter().filter(|supported| *supported >= llvm).collect();
    if versions.is_empty() {
        return Err(format!("bpf-linker {VERSION} does not know LLVM {llvm}"));
    }
    let built_in = versions.iter().copied().find(|version| packages::missing(&names(&llvm_packages(*version))).is_empty());
    if let Some(version) = built_in {
        return Ok(Plan::Compile { llvm: version });
    }
    if packages::usable().is_ok()
        && let Some(version) = versions.iter().copied().find(|version| packages::candidate(&format!("llvm-{version}-dev")).is_some())
    {
        return Ok(Plan::Compile { llvm: version });
    }
    if process::which("cargo-binstall").is_some() {
        return Ok(Plan::Download);
    }
    Err(packages::usable().err().unwrap_or("no package llvm-22-dev in the configured sources").to_owned())
}

/// A way to get the linker.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Plan {
    /// From source, against Debian's LLVM of this major version.
    Compile { llvm: u32 },
    /// The project's own static build, by `cargo binstall`.
    Download,
}

impl Plan {
    pub(crate) fn execute(self, workspace: &Workspace, toolchain: &KernelToolchain) -> Result<PathBuf> {
        let root = match self {
            Self::Compile { llvm } => {
                packages::install(&names(&llvm_packages(llvm)))?;
                let root = installation(workspace, llvm);
                compile(toolchain, llvm, &root)?;
                root
            }
            Self::Download => {
                let root = workspace.tools().join(format!("bpf-linker-{VERSION}"));
                let mut cargo = Command::new("cargo");
                cargo.args(["binstall", "--no-confirm", "--disable-strategies", "compile", "--root"]).arg(&root);
                process::run(cargo.arg(format!("bpf-linker@{VERSION}")))?;
                root
            }
        };
        let path = root.join("bin/bpf-linker");
        if !path.is_file() {
            bail!("{} is not there although the installation of bpf-linker reported success", path.display());
        }
        Ok(path)
    }
}

/// What Debian calls the parts of LLVM that the linker is linked with; a C compiler alone lacks the C++ library.
pub(crate) fn llvm_packages(llvm: u32) -> Vec<String> {
    let own = [format!("llvm-{llvm}-dev"), format!("libpolly-{llvm}-dev")];
    own.into_iter().chain(["zlib1g-dev", "libzstd-dev", "g++"].map(str::to_owned)).collect()
}

fn names(packages: &[String]) -> Vec<&str> {
    packages.iter().map(String::as_str).collect()
}

fn installation(workspace: &Workspace, llvm: u32) -> PathBuf {
    workspace.tools().join(format!("bpf-linker-{VERSION}-llvm{llvm}"))
}

/// Compiles with the kernel half's cargo: the oldest stable one that may be around is too old for the linker's sources.
fn compile(toolchain: &KernelToolchain, llvm: u32, root: &Path) -> Result<()> {
    let mut cargo = toolchain.cargo();
    cargo.args(["install", "bpf-linker", "--version", VERSION, "--locked", "--no-default-features", "--features"]);
    cargo.arg(format!("llvm-{llvm}")).arg("--root").arg(root);
    cargo.env("LLVM_PREFIX", format!("/usr/lib/llvm-{llvm}"));
    // Not in the tree, whose configuration is for other crates; and not in its target folder.
    fs::create_dir_all(root).with_context(|| format!("could not create {}", root.display()))?;
    cargo.current_dir(root).env_remove("CARGO_TARGET_DIR");
    process::run(&mut cargo).context("could not compile bpf-linker")
}

/// Whether the linker at `path` runs, is recent enough, and has an LLVM not older than `llvm`.
fn fits(path: &Path, llvm: u32) -> bool {
    let Some(version) = process::output(Command::new(path).arg("--version")) else { return false };
    let recent = version.trim().strip_prefix("bpf-linker ").is_some_and(|version| numbers(version) >= numbers(VERSION));
    // A static build does not tell; the published ones have the newest LLVM of their day.
    recent && fs::read(path).ok().and_then(|binary| linked_llvm(&binary)).is_none_or(|linked| linked >= llvm)
}

/// The LLVM that a dynamically linked program names as its library: `libLLVM.so.22.1` or `libLLVM-18.so`.
fn linked_llvm(binary: &[u8]) -> Option<u32> {
    const LIBRARY: &[u8] = b"libLLVM";
    binary.windows(LIBRARY.len()).enumerate().filter(|(_, window)| *window == LIBRARY).find_map(|(at, _)| {
        let rest = binary.get(at.checked_add(LIBRARY.len())?..)?;
        let digits = rest.strip_prefix(b".so.").or_else(|| rest.strip_prefix(b"-"))?;
        let end = digits.iter().position(|byte| !byte.is_ascii_digit()).unwrap_or(digits.len());
        std::str::from_utf8(digits.get(..end)?).ok()?.parse().ok()
    })
}

fn numbers(version: &str) -> Vec<u32> {
    version.split('.').map_while(|part| part.parse().ok()).collect()
}

#[cfg(test)]
mod tests {
    use super::{linked_llvm, numbers};

    #[test]
    fn the_library_name_tells_the_llvm() {
        assert_eq!(linked_llvm(b"\0libLLVM.so.22.1\0libc.so.6\0"), Some(22));
        assert_eq!(linked_llvm(b"\0libLLVM-18.so.1\0"), Some(18));
        assert_eq!(linked_llvm(b"libLLVMCore libLLVM.so"), None);
        assert_eq!(linked_llvm(b"libLLV"), None);
    }

    #[test]
    fn versions_compare_by_number() {
        assert!(numbers("0.13.0") > numbers("0.9.14"));
        assert!(numbers("1.0.0-rc1") > numbers("0.13.0"));
    }
}
