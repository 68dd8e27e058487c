//! `cargo xtask build`: the kernel half with its own compiler, then the agent that carries it.

use std::{
    env, fs,
    path::{Path, PathBuf},
    process::ExitCode,
};

use anyhow::{Context as _, Result, bail};

use crate::{
    arguments::Arguments,
    bpf_linker, packages, process,
    toolchain::{self, KernelToolchain, PINNED_NIGHTLY, Source},
    workspace::Workspace,
};

/// The architectures that kernel programs are built for: their registers differ.
const ARCHITECTURES: [&str; 2] = ["x86_64", "aarch64"];

pub(crate) fn command(workspace: &Workspace, mut arguments: Arguments) -> Result<ExitCode> {
    let profile = if arguments.flag("--release") { Profile::Release } else { Profile::Dev };
    let kernel_only = arguments.flag("--kernel-only");
    let architecture = arguments.option("--arch")?.unwrap_or_else(|| env::consts::ARCH.to_owned());
    if !arguments.finish()?.is_empty() {
        bail!("`build` passes nothing on");
    }
    if !ARCHITECTURES.contains(&architecture.as_str()) {
        bail!("--arch is one of {}", ARCHITECTURES.join(", "));
    }
    if architecture != env::consts::ARCH && !kernel_only {
        bail!("the agent is built for this machine only: --arch {architecture} needs --kernel-only");
    }
    let object = kernel_half(workspace, &architecture)?;
    eprintln!("kernel half: {}", object.display());
    if !kernel_only {
        let binary = agent(workspace, profile)?;
        eprintln!("agent: {}", binary.display());
    }
    Ok(ExitCode::SUCCESS)
}

/// Both ways to a new compiler lead to this LLVM: without a linker for it there is no need to begin.
const LLVM_OF_NEW_TOOLCHAINS: u32 = 22;
/// Names a compiled object to be used as it is (`a11i-agent/build.rs` reads it too).
const OBJECT_VARIABLE: &str = "A11I_EBPF_OBJECT";

/// How the agent is compiled.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Profile {
    /// For tests: overflow checks and assertions are on.
    Dev,
    /// For `cargo xtask run`: nearly the speed of a release in a third of its build time.
    Fast,
    Release,
}

impl Profile {
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Dev => "dev",
            Self::Fast => "fast",
            Self::Release => "release",
        }
    }

    fn folder(self) -> &'static str {
        match self {
            Self::Dev => "debug",
            Self::Fast | Self::Release => self.name(),
        }
    }
}

/// Compiles the agent and returns the path of `a11i`. The kernel half must be there.
pub(crate) fn agent(workspace: &Workspace, profile: Profile) -> Result<PathBuf> {
    let mut cargo = process::cargo(workspace);
    cargo.args(["build", "--ignore-rust-version", "--package", "a11i-agent", "--bin", "a11i", "--profile", profile.name()]);
    process::run(&mut cargo).context("could not build the agent")?;
    Ok(workspace.target.join(profile.folder()).join("a11i"))
}

/// Compiles the kernel half for `architecture`, after installing what is missing, and returns the object's path.
pub(crate) fn kernel_half(workspace: &Workspace, architecture: &str) -> Result<PathBuf> {
    if let Some(object) = env::var_os(OBJECT_VARIABLE) {
        eprintln!("kernel half: not built, {OBJECT_VARIABLE} names one");
        return fs::canonicalize(&object).with_context(|| format!("{OBJECT_VARIABLE} names {}", object.display()));
    }
    let (toolchain, linker) = prepare(workspace)?;
    eprintln!("kernel half with {} and {}", toolchain.name(), linker.display());
    let target = workspace.target.join("bpf/build");
    let mut cargo = toolchain.cargo();
    cargo.current_dir(workspace.root.join("a11i-ebpf")).env("CARGO_TARGET_DIR", &target);
    // Flags and target stand in a11i-ebpf/.cargo/config.toml; what depends on the machine is added to them.
    cargo.args(["build", "--release", "--ignore-rust-version"]);
    if process::in_ci() {
        cargo.arg("--locked");
    }
    cargo.arg("--config");
    cargo.arg(format!("target.bpfel-unknown-none.linker = '{}'", linker.display()));
    cargo.arg("--config").arg(format!("target.bpfel-unknown-none.rustflags = ['--cfg=bpf_target_arch=\"{architecture}\"']"));
    process::run(&mut cargo).context("could not build the kernel half")?;
    let object = workspace.kernel_object(architecture);
    copy_when_changed(&target.join("bpfel-unknown-none/release/a11i-ebpf"), &object)?;
    Ok(object)
}

/// A toolchain and a linker that fit each other: those that are there, else installed, else one message with everything missing.
fn prepare(workspace: &Workspace) -> Result<(KernelToolchain, PathBuf)> {
    let installed = toolchain::installed();
    for toolchain in &installed {
        if let Some(linker) = bpf_linker::find(workspace, toolchain.llvm) {
            return Ok((toolchain.clone(), linker));
        }
    }
    let mut obstacles = Vec::new();
    for toolchain in installed {
        match bpf_linker::plan(toolchain.llvm) {
            Ok(plan) => match plan.execute(workspace, &toolchain) {
                Ok(linker) => return Ok((toolchain, linker)),
                Err(error) => obstacles.push(format!("bpf-linker for {}: {error:#}", toolchain.name())),
            },
            Err(reason) => obstacles.push(format!("bpf-linker for {}: {reason}", toolchain.name())),
        }
    }
    if bpf_linker::find(workspace, LLVM_OF_NEW_TOOLCHAINS).is_none()
        && let Err(reason) = bpf_linker::plan(LLVM_OF_NEW_TOOLCHAINS)
    {
        obstacles.push(format!("bpf-linker: {reason}"));
        bail!(explanation(&obstacles));
    }
    for source in Source::open() {
        let result = source.install().and_then(|toolchain| {
            let linker = match bpf_linker::find(workspace, toolchain.llvm) {
                Some(linker) => linker,
                None => bpf_linker::plan(toolchain.llvm).map_err(anyhow::Error::msg)?.execute(workspace, &toolchain)?,
            };
            Ok((toolchain, linker))
        });
        match result {
            Ok(pair) => return Ok(pair),
            Err(error) => obstacles.push(format!("{error:#}")),
        }
    }
    bail!(explanation(&obstacles))
}

/// Everything that is missing and every way to get it, in one message.
fn explanation(obstacles: &[String]) -> String {
    let debian = [toolchain::DEBIAN_PACKAGES.join(" "), bpf_linker::llvm_packages(22).join(" ")].join(" ");
    let mut text = format!(
        "the kernel half cannot be built yet. It needs a Rust compiler with the sources of `core`, and bpf-linker {version} or later \
         with an LLVM not older than the compiler's.\n\n\
         Debian 12 and later, as root (then run this command again):\n  apt-get update && apt-get install -y {debian}\n\n\
         Ubuntu and others (xtask/README.md has the details):\n  \
         rustup toolchain install {PINNED_NIGHTLY} --profile minimal --component rust-src\n  \
         and bpf-linker: `cargo install cargo-binstall && cargo binstall bpf-linker@{version}`,\n  \
         or its release archive unpacked into a folder of PATH,\n  \
         or llvm-22-dev and libpolly-22-dev from the LLVM project's package source, then this command again\n\n\
         Or take a compiled object from a release and name it in A11I_EBPF_OBJECT.",
        version = bpf_linker::VERSION,
    );
    if let Err(reason) = packages::usable() {
        text.push_str("\n\nNot done here: ");
        text.push_str(reason);
    }
    for obstacle in obstacles {
        text.push_str("\nTried: ");
        text.push_str(obstacle);
    }
    text
}

/// An unchanged object keeps its time, so that the agent is not built again.
fn copy_when_changed(from: &Path, to: &Path) -> Result<()> {
    let new = fs::read(from).with_context(|| format!("could not read {}", from.display()))?;
    if fs::read(to).is_ok_and(|old| old == new) {
        return Ok(());
    }
    if let Some(folder) = to.parent() {
        fs::create_dir_all(folder).with_context(|| format!("could not create {}", folder.display()))?;
    }
    fs::write(to, new).with_context(|| format!("could not write {}", to.display()))
}
