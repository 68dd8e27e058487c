//! `a11i doctor`: what this host offers, by trying, and what a missing thing costs.

use std::{fmt::Write as _, io::Write as _, process::ExitCode};

use anyhow::Result;
use clap::Args;

use super::Common;
use crate::{
    capture::{
        features::{AttachMode, Features},
        hazards::ShadowStacks,
        loader::{self, Loaded, ProgramStatistics},
        sockets::SocketStanding,
    },
    config::{Config, SocketCapture},
    observe::{Scope, load_settings},
};

#[derive(Args)]
pub(super) struct DoctorArgs {
    /// Print what was found as JSON
    #[arg(long)]
    json: bool,
}

/// Exit status 1 when the main job cannot work.
pub(super) fn doctor(common: &Common, args: &DoctorArgs) -> Result<ExitCode> {
    let config = common.start()?;
    let features = Features::probe();
    let mut out = std::io::stdout();
    if args.json {
        let loaded = loader::load(&features, load_settings(&config, Scope::Host));
        let programs = loaded.as_ref().map(|loaded| programs(&loaded.ebpf)).unwrap_or_default();
        let sockets = match &loaded {
            Ok(loaded) => SocketStanding::of(config.capture.sockets, &features, loaded.socket_problem.as_ref()),
            Err(error) => SocketStanding::without_kernel_half(error),
        };
        let problem = loaded.as_ref().err().map(ToString::to_string);
        let report = serde_json::json!({"features": features, "attach_mode": features.attach_mode(), "sockets": sockets, "programs": programs, "works": loaded.is_ok(), "problem": problem});
        writeln!(out, "{}", serde_json::to_string_pretty(&report)?)?;
        return Ok(if loaded.is_ok() { ExitCode::SUCCESS } else { ExitCode::FAILURE });
    }
    let diagnosis = diagnose(&features, &config);
    write!(out, "{}", diagnosis.text)?;
    Ok(if diagnosis.works { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

/// By name: the object's own order is another in each run.
fn programs(ebpf: &aya::Ebpf) -> Vec<ProgramStatistics> {
    let mut programs = loader::program_statistics(ebpf);
    programs.sort_by(|a, b| a.name.cmp(&b.name));
    programs
}

/// In words.
fn of_sockets(sockets: &SocketStanding) -> String {
    match (&sockets.front_end, &sockets.reason) {
        (Some(front_end), _) => format!("seen by {front_end}, and so is who speaks TLS with whom (`capture.sockets`)"),
        (None, reason) => {
            let remedy = sockets.remedy.as_deref().map(|remedy| format!("; {remedy}")).unwrap_or_default();
            format!("{}: {}{remedy}", sockets.missing(), reason.as_deref().unwrap_or("nobody knows why"))
        }
    }
}

/// What the kernel allows one program (`BPF_COMPLEXITY_LIMIT_INSNS`, 5.2 and later).
const VERIFIER_LIMIT: u32 = 1_000_000;

/// The answer and whether the main job works.
struct Diagnosis {
    text: String,
    works: bool,
}

/// Loads everything, attaches nothing, leaves nothing behind.
fn diagnose(features: &Features, config: &Config) -> Diagnosis {
    let mut text = String::new();
    let mut line = |ok: bool, what: &str, detail: &str| {
        let mark = if ok { "ok  " } else { "MISS" };
        // Writing to a String cannot fail.
        let _unit = writeln!(text, "{mark}  {what:<28} {detail}");
    };
    line(true, "kernel", &features.kernel_release);
    line(
        features.ring_buffer,
        "BPF ring buffer (5.8)",
        if features.ring_buffer { "" } else { "a11i cannot work: needs Linux 5.8 or newer" },
    );
    line(
        features.btf,
        "kernel BTF",
        features
            .btf_problem
            .as_deref()
            .map_or(String::new(), |p| format!("{p}; processes are told apart by pid alone, forks are not followed"))
            .as_str(),
    );
    line(
        features.attach_cookie,
        "attach cookies (5.15)",
        if features.attach_cookie { "" } else { "calls do not say which library they came through, and there is no bystander guard" },
    );
    line(
        features.uprobe_multi,
        "uprobe-multi links (6.6)",
        if features.uprobe_multi { "" } else { "one perf event per probe: CAP_SYS_ADMIN is needed, detaching takes about 0.1 s per probe" },
    );
    let process_scope = match features.process_mode() {
        Some(AttachMode::Multi) => "tried: the pid filter of uprobe-multi links matches the whole process",
        Some(AttachMode::PerfEvent) => "by perf events: this kernel's uprobe-multi links have no filter for whole processes (6.10)",
        None => "busy bystanders and endangered processes cannot be left out: needs Linux 6.10, or CAP_SYS_ADMIN",
    };
    line(features.process_mode().is_some(), "probes in single processes", process_scope);
    for (name, call) in
        [("  return probes and seccomp", features.hazards.return_call), ("  entry probes and seccomp", features.hazards.entry_call)]
    {
        let consequence =
            if call.endangers_confined() { "; processes with a filter are left out, all others are attached one by one" } else { "" };
        line(!call.endangers_confined(), name, &format!("{}{consequence}", call.as_str()));
    }
    let (safe, detail) = match features.hazards.shadow_stacks {
        ShadowStacks::Unavailable => (true, "no process here can have one"),
        ShadowStacks::Followed => (true, "return probes keep them right (the kernel has the change of 6.11)"),
        ShadowStacks::Broken => (false, "return probes would end processes that have one (before 6.11): they are left out"),
    };
    line(safe, "  user shadow stacks", detail);
    line(features.raw_tracepoint, "raw tracepoints", if features.raw_tracepoint { "" } else { "new processes are found by polling only" });
    line(
        features.mapping_events_problem.is_none(),
        "events of mapped code",
        &features
            .mapping_events_problem
            .as_deref()
            .map_or(String::new(), |problem| format!("{problem}; libraries that are loaded late are found by polling, up to 5 s later")),
    );
    let missing = features.capabilities.missing(features.attach_mode());
    line(
        missing.is_empty(),
        "capabilities",
        &if missing.is_empty() {
            String::new()
        } else {
            format!("lacking {}: run as root, with sudo, or as a privileged container", missing.join(", "))
        },
    );
    let (shares_pids, detail) = match features.initial_pid_namespace {
        Some(true) => (true, ""),
        Some(false) => (false, "a11i cannot work: run it on the host, or in a container with the host's pids (hostPID: true)"),
        None => (false, "/proc does not say: mount it"),
    };
    line(shares_pids, "the host's pids", detail);
    let mode = match features.attach_mode() {
        AttachMode::Multi => "uprobe-multi",
        AttachMode::PerfEvent => "perf events",
    };
    let works = match loader::load(features, load_settings(config, Scope::Host)) {
        Ok(Loaded { ebpf, socket_problem }) => {
            line(true, "kernel programs", &format!("loaded and verified, attached by {mode}"));
            let sockets = SocketStanding::of(config.capture.sockets, features, socket_problem.as_ref());
            let as_asked = sockets.front_end.is_some() || config.capture.sockets == SocketCapture::Off;
            line(as_asked, "traffic without TLS", &of_sockets(&sockets));
            for program in programs(&ebpf) {
                let verified = program.verified_instructions.map_or_else(
                    || "accepted; what that cost the verifier is told from 5.16 on".to_owned(),
                    |walked| format!("verifier walked {walked} of {VERIFIER_LIMIT} instructions"),
                );
                line(true, &format!("  {}", program.name), &verified);
            }
            true
        }
        Err(error) => {
            line(false, "kernel programs", &error.to_string());
            false
        }
    };
    line(true, "not seen by this version", "JVM TLS (JSSE), QUIC/HTTP/3, OpenSSL before 3 linked in and stripped");
    Diagnosis { text, works }
}
