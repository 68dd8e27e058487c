//! `cargo xtask run`: from a fresh clone to a running agent.

use std::{
    env, fs,
    os::unix::process::CommandExt as _,
    path::Path,
    process::{Command, ExitCode},
};

use anyhow::{Context as _, Result, bail};

use crate::{
    arguments::Arguments,
    build::{self, Profile},
    process,
    workspace::Workspace,
};

/// File systems that the agent looks things up in, where they belong.
const FILE_SYSTEMS: [(&str, &str); 2] = [("tracefs", "/sys/kernel/tracing"), ("bpf", "/sys/fs/bpf")];
/// Settings that must reach the agent through sudo. Their names are handed on, never their values: an exporter's headers hold
/// credentials, and a command line is public.
const SETTINGS: [&str; 2] = ["A11I_", "OTEL_"];
const MORE_SETTINGS: [&str; 4] = ["NO_COLOR", "RUST_LOG", "RUST_BACKTRACE", "TERM"];

pub(crate) fn command(workspace: &Workspace, mut arguments: Arguments) -> Result<ExitCode> {
    let profile = if arguments.flag("--release") { Profile::Release } else { Profile::Fast };
    let passed_on = arguments.finish()?;
    build::kernel_half(workspace, env::consts::ARCH)?;
    let binary = build::agent(workspace, profile)?;
    mount_file_systems()?;
    let mut agent = as_root(&binary)?;
    agent.arg("run").args(passed_on);
    process::without_cargo_run_variables(&mut agent);
    eprintln!("starting {} run", binary.display());
    // In place of xtask: signals and the terminal reach the agent directly.
    Err(agent.exec()).with_context(|| format!("could not start {}", binary.display()))
}

/// `program` with the rights it needs, its settings included.
pub(crate) fn as_root(program: &Path) -> Result<Command> {
    if process::is_root() {
        return Ok(Command::new(program));
    }
    if process::which("sudo").is_none() {
        bail!("{} needs root: there is no sudo here, so start this command as root", program.display());
    }
    let names: Vec<String> = env::vars_os().filter_map(|(name, _)| name.into_string().ok()).filter(|name| is_setting(name)).collect();
    let mut sudo = Command::new("sudo");
    if !names.is_empty() {
        sudo.arg(format!("--preserve-env={}", names.join(",")));
    }
    sudo.arg("--").arg(program);
    Ok(sudo)
}

/// Mounts what the system has not mounted itself (containers and minimal systems do not).
pub(crate) fn mount_file_systems() -> Result<()> {
    let mounts = fs::read_to_string("/proc/self/mounts").context("could not read /proc/self/mounts")?;
    for (kind, place) in FILE_SYSTEMS {
        if !is_mounted(&mounts, kind) && Path::new(place).is_dir() {
            let mut mount = as_root(Path::new("mount"))?;
            // The agent says itself what it lacks without it.
            if let Err(error) = process::run(mount.args(["-t", kind, kind, place])) {
                eprintln!("xtask: {error:#}; going on without {kind}");
            }
        }
    }
    Ok(())
}

fn is_setting(name: &str) -> bool {
    SETTINGS.iter().any(|prefix| name.starts_with(prefix)) || MORE_SETTINGS.contains(&name)
}

fn is_mounted(mounts: &str, kind: &str) -> bool {
    mounts.lines().any(|line| line.split(' ').nth(2) == Some(kind))
}

#[cfg(test)]
mod tests {
    use super::{is_mounted, is_setting};

    #[test]
    fn a_mounted_file_system_is_known_by_its_kind() {
        let mounts = "proc /proc proc rw 0 0\ntracefs /sys/kernel/tracing tracefs rw 0 0\n";
        assert!(is_mounted(mounts, "tracefs"));
        assert!(!is_mounted(mounts, "bpf"));
    }

    #[test]
    fn settings_reach_the_agent_and_nothing_else_does() {
        assert!(is_setting("OTEL_EXPORTER_OTLP_HEADERS") && is_setting("A11I_CONTENT") && is_setting("NO_COLOR"));
        assert!(!is_setting("LD_PRELOAD") && !is_setting("AWS_SECRET_ACCESS_KEY"));
    }
}
