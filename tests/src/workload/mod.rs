//! Real clients as child processes: what a user's programs are to the agent.

pub mod bun;
pub mod c_client;
pub mod c_program;
pub mod curl;
pub mod deno;
pub mod forks;
pub mod gnutls_client;
pub mod go;
pub mod late_client;
pub mod libcurl_gnutls;
pub mod node;
pub mod npm;
pub mod own_hosts;
pub mod php;
pub mod plaintext;
pub mod program;
pub mod python;
pub mod ruby;
pub mod rust_client;
pub mod static_openssl;
pub mod steady;
pub mod wget;

use std::{
    path::{Path, PathBuf},
    process::Output,
};

use tokio::process::Child;

use crate::agent::GUEST_PATIENCE;

/// Waits for a client's end.
///
/// # Panics
/// When it does not end: the agent may never be in a client's way.
pub async fn ended(what: &str, child: Child) -> Output {
    let Ok(output) = tokio::time::timeout(GUEST_PATIENCE, child.wait_with_output()).await else {
        panic!("{what} still runs after {GUEST_PATIENCE:?}");
    };
    output.expect("a child can be waited for")
}

/// Folder of the test programs.
pub fn clients() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("clients")
}

/// Where things made once are kept between runs (virtual environment, compiled clients): `A11I_TEST_CACHE`, else a folder
/// in the target folder.
pub fn cache() -> PathBuf {
    if let Some(folder) = std::env::var_os("A11I_TEST_CACHE") {
        return folder.into();
    }
    // cargo marks the target folder, and tests lie in it.
    let test = std::env::current_exe().expect("a test knows its own path");
    let target = test.ancestors().find(|folder| folder.join("CACHEDIR.TAG").is_file());
    target.map_or_else(std::env::temp_dir, Path::to_path_buf).join("a11i-tests")
}
