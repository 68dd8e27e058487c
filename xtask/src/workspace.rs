//! Where things are: the tree, its target folder, the folder for tools of our own.

use std::{
    env,
    path::{Path, PathBuf},
};

use anyhow::{Context as _, Result};

/// The folders that commands work with, all absolute.
pub(crate) struct Workspace {
    pub(crate) root: PathBuf,
    pub(crate) target: PathBuf,
}

impl Workspace {
    pub(crate) fn locate() -> Result<Self> {
        // As cargo says when it runs this: a target folder shared by several checkouts holds one binary of them all.
        let manifest = env::var_os("CARGO_MANIFEST_DIR").map_or_else(|| PathBuf::from(env!("CARGO_MANIFEST_DIR")), PathBuf::from);
        let root = manifest.parent().context("xtask has no parent folder")?.to_owned();
        let target = match env::var_os("CARGO_TARGET_DIR") {
            Some(folder) => env::current_dir()?.join(folder),
            None => own_target_folder().unwrap_or_else(|| root.join("target")),
        };
        Ok(Self { root, target })
    }

    /// The kernel half compiled for `architecture`; `a11i-agent/build.rs` looks for the same names.
    pub(crate) fn kernel_object(&self, architecture: &str) -> PathBuf {
        let name = if architecture == env::consts::ARCH { "a11i-ebpf".to_owned() } else { format!("a11i-ebpf.{architecture}") };
        self.target.join("bpf").join(name)
    }

    /// Tools compiled by us, outside the target folder: they survive `cargo clean` and are shared by clones.
    pub(crate) fn tools(&self) -> PathBuf {
        let cache = env::var_os("XDG_CACHE_HOME")
            .map(PathBuf::from)
            .or_else(|| env::home_dir().map(|home| home.join(".cache")))
            .unwrap_or_else(|| self.target.clone());
        cache.join("a11i-tools")
    }
}

/// cargo marks the target folder, and this program lies in it, also where a configuration file moved it.
fn own_target_folder() -> Option<PathBuf> {
    let own = env::current_exe().ok()?;
    own.ancestors().find(|folder| folder.join("CACHEDIR.TAG").is_file()).map(Path::to_owned)
}
