//! What a test needs from the machine. A missing requirement is said aloud; where everything must be there (`CI=true`), it
//! is a failure.

use std::{fs::File, io::Write as _, path::Path, thread};

/// Why a test cannot run here, and how to get what is missing.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Unmet {
    pub what: String,
    pub remedy: String,
}

impl Unmet {
    pub fn new(what: impl Into<String>, remedy: impl Into<String>) -> Self {
        Self { what: what.into(), remedy: remedy.into() }
    }
}

/// The value, or None after saying why the calling test does not run.
///
/// The line on standard error (`requirement not met: TEST: WHAT; REMEDY`) passes the test harness's capture. Where
/// `A11I_SKIP_REPORT` names a file, `TEST<tab>WHAT; REMEDY` is added to it: `cargo xtask test` makes its table of it.
///
/// # Panics
/// With the same sentence when `CI` is `true`.
pub fn met<T>(found: Result<T, Unmet>) -> Option<T> {
    let unmet = match found {
        Ok(value) => return Some(value),
        Err(unmet) => unmet,
    };
    let test = thread::current().name().unwrap_or("unnamed").to_owned();
    let reason = format!("{}; {}", unmet.what, unmet.remedy).replace(['\t', '\n'], " ");
    let sentence = format!("requirement not met: {test}: {reason}");
    let all_required = std::env::var("CI").is_ok_and(|value| value == "true");
    assert!(!all_required, "{sentence} (CI=true: a skipped test is a failed one)");
    writeln!(std::io::stderr(), "{sentence}").expect("standard error is writable");
    if let Some(report) = std::env::var_os("A11I_SKIP_REPORT") {
        let mut report = File::options().create(true).append(true).open(report).expect("the skip report can be opened");
        writeln!(report, "{test}\t{reason}").expect("the skip report is writable");
    }
    None
}

/// The kernel half needs root.
pub fn root() -> Result<(), Unmet> {
    if rustix::process::geteuid().is_root() { Ok(()) } else { Err(Unmet::new("not root", "run the end-to-end tests as root")) }
}

/// A program by its name on the search path.
pub fn program(name: &str, remedy: &str) -> Result<std::path::PathBuf, Unmet> {
    let path = std::env::var_os("PATH").unwrap_or_default();
    std::env::split_paths(&path)
        .map(|folder| folder.join(name))
        .find(|file| is_executable(file))
        .ok_or_else(|| Unmet::new(format!("no `{name}` on the search path"), remedy))
}

fn is_executable(file: &Path) -> bool {
    use std::os::unix::fs::PermissionsExt as _;
    file.metadata().is_ok_and(|facts| facts.is_file() && facts.permissions().mode() & 0o111 != 0)
}
