//! Finds the compiled kernel half and tells the crate where it is, as `env!("A11I_EBPF_OBJECT")`.
//!
//! It does not build it: that takes another compiler, a linker and sometimes their installation, which is
//! `cargo xtask build`'s work. Without the feature `host` the crate is pure and nothing is needed.

use std::{
    env,
    path::{Path, PathBuf},
};

/// Names the object, for who has one already (a release carries it).
const OBJECT_VARIABLE: &str = "A11I_EBPF_OBJECT";

fn main() {
    println!("cargo::rerun-if-changed=build.rs");
    println!("cargo::rerun-if-env-changed={OBJECT_VARIABLE}");
    if env::var_os("CARGO_FEATURE_HOST").is_none() {
        return;
    }
    match object() {
        Ok(path) => {
            println!("cargo::rerun-if-changed={}", path.display());
            println!("cargo::rustc-env={OBJECT_VARIABLE}={}", path.display());
        }
        Err(message) => println!("cargo::error={message}"),
    }
}

fn object() -> Result<PathBuf, String> {
    if let Some(path) = env::var_os(OBJECT_VARIABLE) {
        let path = PathBuf::from(path);
        return match path.canonicalize() {
            Ok(path) => Ok(path),
            Err(error) => Err(format!("{OBJECT_VARIABLE} names {}: {error}", path.display())),
        };
    }
    let name = object_name();
    let out = env::var_os("OUT_DIR").map(PathBuf::from).unwrap_or_default();
    // OUT_DIR lies below the target folder, some levels down, more with --target.
    let beside = |folder: &Path| folder.join("bpf").join(&name);
    if let Some(found) = out.ancestors().map(beside).find(|path| path.is_file()) {
        return Ok(found);
    }
    Err(format!(
        "the kernel half is not built: no bpf/{name} in the target folder. Run `cargo xtask build` once (it installs what it needs), \
         or name a compiled object in {OBJECT_VARIABLE}, or build the pure half alone with --no-default-features"
    ))
}

/// The object differs by the architecture it runs on, since programs read that architecture's registers.
fn object_name() -> String {
    let target = env::var("CARGO_CFG_TARGET_ARCH").unwrap_or_default();
    let host = env::var("HOST").unwrap_or_default();
    if host.split('-').next() == Some(target.as_str()) { "a11i-ebpf".to_owned() } else { format!("a11i-ebpf.{target}") }
}
