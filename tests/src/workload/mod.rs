//! Real clients as child processes: what a user's programs are to the agent.

pub mod c_client;
pub mod curl;
pub mod python;

use std::path::{Path, PathBuf};

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
    // target/debug/deps/e2e-0123 → target
    let test = std::env::current_exe().expect("a test knows its own path");
    let target = test.ancestors().nth(3).map_or_else(std::env::temp_dir, Path::to_path_buf);
    target.join("a11i-tests")
}
