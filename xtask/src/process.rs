//! Starting other programs: shown before they run, with an environment that does not depend on how xtask was started.

use std::{
    env,
    ffi::OsStr,
    io::{BufRead as _, BufReader, Read, Write},
    path::{Path, PathBuf},
    process::{Command, Stdio},
    thread,
};

use anyhow::{Context as _, Result, bail};

use crate::workspace::Workspace;

/// Beginnings of the names that `cargo run` sets.
const SET_BY_CARGO_RUN: [&str; 6] = ["CARGO_PKG_", "CARGO_MANIFEST_", "CARGO_BIN_", "CARGO_CRATE_NAME", "CARGO_PRIMARY_PACKAGE", "OUT_DIR"];

/// The cargo that started xtask, for the workspace.
///
/// `cargo run` gives its child variables (`CARGO_PKG_*`, `CARGO_MANIFEST_*`, a library path) that build scripts watch: passed on,
/// they would make every second build a full one when plain cargo and xtask take turns.
pub(crate) fn cargo(workspace: &Workspace) -> Command {
    let mut command = Command::new(env::var_os("CARGO").unwrap_or_else(|| "cargo".into()));
    command.current_dir(&workspace.root);
    without_cargo_run_variables(&mut command);
    chain_compiler_cache(&mut command);
    command
}

/// Removes from `command` what `cargo run` set for xtask.
pub(crate) fn without_cargo_run_variables(command: &mut Command) {
    for (name, _) in env::vars_os() {
        if name.to_str().is_some_and(|name| SET_BY_CARGO_RUN.iter().any(|prefix| name.starts_with(prefix))) {
            command.env_remove(&name);
        }
    }
    if let Some(path) = env::var_os("LD_LIBRARY_PATH") {
        let own = env::current_exe().ok().and_then(|own| own.parent().map(Path::to_owned)).unwrap_or_default();
        let kept: Vec<PathBuf> =
            env::split_paths(&path).filter(|entry| !entry.starts_with(&own) && !entry.join("rustlib").is_dir()).collect();
        match env::join_paths(&kept) {
            Ok(joined) if !kept.is_empty() => command.env("LD_LIBRARY_PATH", joined),
            _ => command.env_remove("LD_LIBRARY_PATH"),
        };
    }
}

/// cargo knows one wrapper, and the tree's own is needed (`tools/rustc-wrapper`): a compiler cache is called by it.
fn chain_compiler_cache(command: &mut Command) {
    if let Some(cache) = env::var_os("RUSTC_WRAPPER").filter(|cache| !cache.is_empty()) {
        command.env_remove("RUSTC_WRAPPER").env("A11I_RUSTC_WRAPPER", cache);
    }
}

/// Shows and runs `command`; a status other than 0 is an error.
pub(crate) fn run(command: &mut Command) -> Result<()> {
    show(command);
    let status = command.status().with_context(|| format!("could not start {}", line(command)))?;
    if !status.success() {
        bail!("`{}` ended with {status}", line(command));
    }
    Ok(())
}

/// Runs `command` quietly and gives its standard output; `None` when it cannot be started or fails.
pub(crate) fn output(command: &mut Command) -> Option<String> {
    let output = command.stdin(Stdio::null()).stderr(Stdio::null()).output().ok()?;
    if !output.status.success() {
        return None;
    }
    String::from_utf8(output.stdout).ok()
}

/// Shows and runs `command`, lets its output through, and returns it too. The flag says whether it succeeded.
pub(crate) fn tee(command: &mut Command) -> Result<(bool, String)> {
    show(command);
    let mut child = command
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .with_context(|| format!("could not start {}", line(command)))?;
    let (stdout, stderr) = (child.stdout.take(), child.stderr.take());
    let errors = thread::spawn(move || stderr.map(|stream| copy(stream, std::io::stderr())).unwrap_or_default());
    let mut text = stdout.map(|stream| copy(stream, std::io::stdout())).unwrap_or_default();
    let status = child.wait()?;
    text.push_str(&errors.join().unwrap_or_default());
    Ok((status.success(), text))
}

fn copy(from: impl Read, mut to: impl Write) -> String {
    let mut reader = BufReader::new(from);
    let (mut all, mut part) = (String::new(), Vec::new());
    while reader.read_until(b'\n', &mut part).is_ok_and(|read| read > 0) {
        // A closed terminal is no reason to lose the result of the command.
        drop(to.write_all(&part).and_then(|()| to.flush()));
        all.push_str(&String::from_utf8_lossy(&part));
        part.clear();
    }
    all
}

/// Where `program` is in PATH.
pub(crate) fn which(program: &str) -> Option<PathBuf> {
    env::split_paths(&env::var_os("PATH")?).map(|folder| folder.join(program)).find(|path| path.is_file())
}

/// Whether this process may do everything.
pub(crate) fn is_root() -> bool {
    output(Command::new("id").arg("-u")).is_some_and(|id| id.trim() == "0")
}

/// The automated runner: nobody is asked, and a required part that is skipped counts as failed.
pub(crate) fn in_ci() -> bool {
    env::var("CI").is_ok_and(|value| !matches!(value.as_str(), "" | "0" | "false"))
}

fn show(command: &Command) {
    eprintln!("+ {}", line(command));
}

fn line(command: &Command) -> String {
    let words = std::iter::once(command.get_program()).chain(command.get_args());
    words.map(quoted).collect::<Vec<_>>().join(" ")
}

fn quoted(word: &OsStr) -> String {
    let word = word.to_string_lossy();
    if word.contains(char::is_whitespace) { format!("'{word}'") } else { word.into_owned() }
}
