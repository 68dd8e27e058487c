//! C and C++ programs of the tests, compiled once (`clients/c`, `clients/cpp`).

use std::{
    fs::{self, File},
    path::{Path, PathBuf},
};

use tokio::process::Command;

use super::{cache, clients};
use crate::requirement::{self, Unmet};

/// The program of `clients/c/NAME.c`, compiled now or before, linked with these libraries (`-lssl`).
///
/// # Errors
/// When there is no C compiler or not what it needs.
pub async fn compiled(name: &str, libraries: &[&str]) -> Result<PathBuf, Unmet> {
    compiled_by("cc", &format!("c/{name}.c"), name, libraries).await
}

/// The program of `clients/SOURCE` by this compiler, kept as NAME.
///
/// # Errors
/// When there is no such compiler or not what it needs.
pub async fn compiled_by(compiler: &str, source: &str, name: &str, libraries: &[&str]) -> Result<PathBuf, Unmet> {
    let source = clients().join(source);
    let program = cache().join(name);
    if newer(&program, &source) {
        return Ok(program);
    }
    let compiler = requirement::program(compiler, "install the packages `gcc` and `g++`")?;
    fs::create_dir_all(cache()).map_err(|error| Unmet::new(format!("the cache folder cannot be made: {error}"), "set A11I_TEST_CACHE"))?;
    let lock = File::create(cache().join(format!("{name}.lock"))).expect("the cache folder is writable");
    lock.lock().expect("a file can be locked");
    let fresh = cache().join(format!("{name}.{}", std::process::id()));
    let mut compile = Command::new(compiler);
    compile.args(["-O1", "-Wall", "-Wextra", "-o"]).arg(&fresh).arg(&source).args(libraries);
    let output = compile.output().await.expect("the compiler can be started");
    if !output.status.success() {
        let words = String::from_utf8_lossy(&output.stderr).replace('\n', " ");
        let remedy = "install the packages `libc6-dev`, `libssl-dev` and `libgnutls28-dev`";
        return Err(Unmet::new(format!("{name} does not compile: {words}"), remedy));
    }
    fs::rename(&fresh, &program).expect("the cache folder is writable");
    Ok(program)
}

fn newer(program: &Path, source: &Path) -> bool {
    let time = |path: &Path| fs::metadata(path).ok()?.modified().ok();
    matches!((time(program), time(source)), (Some(made), Some(written)) if made > written)
}
