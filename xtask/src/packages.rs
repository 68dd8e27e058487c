//! Debian and Ubuntu packages, installed where that needs no question: as root, or with a sudo that asks no password.

use std::{path::Path, process::Command};

use anyhow::Result;

use crate::process;

/// Packages of `names` that are not installed.
pub(crate) fn missing<'a>(names: &[&'a str]) -> Vec<&'a str> {
    names.iter().copied().filter(|name| !is_installed(name)).collect()
}

/// Whether the package manager is there and may be used without asking; the reason when it may not.
pub(crate) fn usable() -> Result<(), &'static str> {
    if process::which("apt-get").is_none() || !Path::new("/etc/debian_version").exists() {
        return Err("this is not Debian or Ubuntu: packages cannot be installed from here");
    }
    if process::is_root() || process::output(Command::new("sudo").args(["-n", "true"])).is_some() {
        return Ok(());
    }
    Err("packages cannot be installed from here: neither root nor a sudo without password")
}

/// The version that an installation of `name` would give now, after refreshing empty or old package lists once.
pub(crate) fn candidate(name: &str) -> Option<String> {
    let known = known_candidate(name);
    if known.is_some() || usable().is_err() || !lists_were_refreshed_first_time() {
        return known;
    }
    known_candidate(name)
}

pub(crate) fn install(names: &[&str]) -> Result<()> {
    let missing = missing(names);
    if missing.is_empty() {
        return Ok(());
    }
    lists_were_refreshed_first_time();
    process::run(apt_get().args(["install", "-y", "-qq", "--no-install-recommends"]).args(missing))
}

fn is_installed(name: &str) -> bool {
    let mut query = Command::new("dpkg-query");
    query.args(["-W", "-f=${db:Status-Status}", name]);
    process::output(&mut query).is_some_and(|status| status.trim() == "installed")
}

fn known_candidate(name: &str) -> Option<String> {
    let policy = process::output(Command::new("apt-cache").args(["policy", name]).env("LC_ALL", "C"))?;
    let version = policy.lines().find_map(|line| line.trim().strip_prefix("Candidate: "))?;
    (version != "(none)").then(|| version.to_owned())
}

/// `apt-get update`, once per run of xtask; true when this call did it. A source that cannot be reached is no error as long as the
/// package is found in another.
fn lists_were_refreshed_first_time() -> bool {
    static ONCE: std::sync::Once = std::sync::Once::new();
    let mut now = false;
    ONCE.call_once(|| {
        now = true;
        if let Err(error) = process::run(apt_get().args(["update", "-qq"])) {
            eprintln!("xtask: {error:#}; going on with the package lists that are there");
        }
    });
    now
}

fn apt_get() -> Command {
    let mut command = if process::is_root() { Command::new("env") } else { Command::new("sudo") };
    if !process::is_root() {
        command.args(["-n", "env"]);
    }
    command.args(["DEBIAN_FRONTEND=noninteractive", "apt-get"]);
    process::without_cargo_run_variables(&mut command);
    command
}
