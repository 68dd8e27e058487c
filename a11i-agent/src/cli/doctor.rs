//! `a11i doctor`: what this host offers, by trying, and what a missing thing costs.

use std::fmt::Write as _;

use crate::capture::{
    features::{AttachMode, Features},
    loader::{self, LoadSettings},
};

/// The answer and whether the main job works.
pub struct Diagnosis {
    pub text: String,
    pub works: bool,
}

/// Tries everything, leaves nothing behind.
pub fn diagnose(settings: LoadSettings) -> Diagnosis {
    let features = Features::probe();
    let mut text = String::new();
    let mut line = |ok: bool, what: &str, detail: &str| {
        let mark = if ok { "ok  " } else { "MISS" };
        // Writing to a String cannot fail.
        let _unit = writeln!(text, "{mark}  {what:<28} {detail}");
    };
    line(true, "kernel", &features.kernel_release);
    line(features.ring_buffer, "BPF ring buffer (5.8)", if features.ring_buffer { "" } else { "a11i cannot work: needs Linux 5.8 or newer" });
    line(
        features.btf,
        "kernel BTF",
        features.btf_problem.as_deref().map_or(String::new(), |p| format!("{p}; processes are told apart by pid alone, forks are not followed")).as_str(),
    );
    line(
        features.attach_cookie,
        "attach cookies (5.15)",
        if features.attach_cookie { "" } else { "calls do not say which library they came through" },
    );
    line(
        features.uprobe_multi,
        "uprobe-multi links (6.6)",
        if features.uprobe_multi { "" } else { "one perf event per probe: CAP_SYS_ADMIN is needed, detaching takes about 0.1 s per probe" },
    );
    line(
        features.raw_tracepoint,
        "raw tracepoints",
        if features.raw_tracepoint { "" } else { "new processes are found by polling only" },
    );
    let missing = features.capabilities.missing(features.attach_mode());
    line(
        missing.is_empty(),
        "capabilities",
        &if missing.is_empty() { String::new() } else { format!("lacking {}: run as root, with sudo, or as a privileged container", missing.join(", ")) },
    );
    let mode = match features.attach_mode() {
        AttachMode::Multi => "uprobe-multi",
        AttachMode::PerfEvent => "perf events",
    };
    let works = match loader::load(&features, settings) {
        Ok(ebpf) => {
            line(true, "kernel programs", &format!("loaded and verified, attached by {mode}"));
            for program in loader::program_statistics(&ebpf) {
                let verified = program.verified_instructions.map_or_else(|| "unknown".to_owned(), |n| n.to_string());
                line(true, &format!("  {}", program.name), &format!("verifier walked {verified} instructions"));
            }
            true
        }
        Err(error) => {
            line(false, "kernel programs", &error.to_string());
            false
        }
    };
    line(true, "not seen by this version", "JVM TLS (JSSE), QUIC/HTTP/3, HTTP/2 bodies, Go, rustls, GnuTLS, stripped static TLS, clear text");
    Diagnosis { text, works }
}
