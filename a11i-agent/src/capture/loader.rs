//! Loads the kernel half with the settings this kernel needs.

use a11i_common::{
    probe::{LONG_TRANSFER, RUSTLS_JOIN, RUSTLS_SLICE},
    settings,
};
use aya::{
    Btf, Ebpf, EbpfLoader, VerifierLogLevel,
    maps::{MapError, ProgramArray},
    programs::{ProgramError, RawTracePoint, UProbe},
};
use thiserror::Error;

use super::{
    features::{AttachMode, Features},
    sockets::{self, SocketFrontEnd},
};

/// The kernel half, compiled by `cargo xtask build` and embedded by `build.rs`.
static OBJECT: &[u8] = aya::include_bytes_aligned!(env!("A11I_EBPF_OBJECT"));

/// What the agent decides before load.
#[derive(Clone, Copy, Debug)]
pub struct LoadSettings {
    /// A power of two and a multiple of the page size.
    pub ring_bytes: u32,
    pub call_limit: u32,
    /// Follow only processes entered in the watched set, and their descendants.
    pub only_watched: bool,
    /// Unread bytes from which the reader is woken.
    pub wake_bytes: u32,
    /// How traffic without TLS is seen; None: not at all.
    pub sockets: Option<SocketFrontEnd>,
}

/// The kernel half.
pub struct Loaded {
    pub ebpf: Ebpf,
    /// Why not all of the programs that see sockets are attached.
    pub socket_problem: Option<LoadError>,
}

#[derive(Debug, Error)]
pub enum LoadError {
    #[error(
        "a11i needs to run as root, or with these capabilities it lacks: {}. Remedy: start it with sudo, or as a privileged container", .0.join(", ")
    )]
    Capabilities(Vec<&'static str>),
    #[error(
        "a11i runs in a pid namespace of its own, where the kernel's pids mean other processes. Remedy: run it on the host, or in a container with the host's pids (`hostPID: true` in Kubernetes, `--pid=host` in Docker)"
    )]
    PidNamespace,
    #[error("this kernel ({0}) has no BPF ring buffer, which came with Linux 5.8. Remedy: a newer kernel")]
    NoRingBuffer(String),
    #[error("cannot load the kernel programs: {0}")]
    Object(#[from] aya::EbpfError),
    #[error("the kernel refused the program `{name}`: {source}")]
    Program { name: &'static str, source: ProgramError },
    #[error("the kernel object lacks `{0}`: it was built from other sources than the agent. Remedy: cargo xtask build")]
    Missing(&'static str),
    #[error("cannot use the map `{name}`: {source}")]
    Map { name: &'static str, source: MapError },
}

/// Entry (and exit) programs of single probes and the operation each stands for; names of functions in `a11i-ebpf/src/tls/programs.rs`.
pub const SINGLE_PROGRAMS: [(&str, a11i_common::probe::Operation); 35] = {
    use a11i_common::probe::Operation as O;
    [
        ("tls_write", O::Write),
        ("tls_read", O::Read),
        ("tls_write_ex", O::WriteEx),
        ("tls_read_ex", O::ReadEx),
        ("tls_write_ex2", O::WriteEx2),
        ("tls_write_early_data", O::WriteEarlyData),
        ("tls_read_early_data", O::ReadEarlyData),
        ("session_free", O::Free),
        ("session_clear", O::Clear),
        ("session_shutdown", O::Shutdown),
        ("session_control", O::Control),
        ("session_set_host_name", O::SetHostName),
        ("go_write", O::GoWrite),
        ("go_read", O::GoRead),
        ("go_write_return", O::GoWriteReturn),
        ("go_read_return", O::GoReadReturn),
        ("go_read_return_kept", O::GoReadReturnKept),
        ("go_close", O::GoClose),
        ("go_close_write", O::GoCloseWrite),
        ("go_handshake", O::GoHandshake),
        ("go_outer_write", O::GoOuterWrite),
        ("go_outer_handshake", O::GoOuterHandshake),
        ("go_outer_read", O::GoOuterRead),
        ("go_outer_close", O::GoOuterClose),
        ("gnutls_send", O::GnuTlsSend),
        ("gnutls_send2", O::GnuTlsSend2),
        ("gnutls_recv", O::GnuTlsRecv),
        ("gnutls_send_early_data", O::GnuTlsSendEarlyData),
        ("gnutls_uncork", O::GnuTlsUncork),
        ("gnutls_recv_packet", O::GnuTlsRecvPacket),
        ("gnutls_server_name", O::GnuTlsServerName),
        ("rustls_encrypt", O::RustlsEncrypt),
        ("rustls_decrypt", O::RustlsDecrypt),
        ("rustls_decrypt_exit", O::RustlsDecryptExit),
        ("rustls_drop", O::RustlsDrop),
    ]
};
pub const SINGLE_RETURN: &str = "tls_leave";
pub const MULTI_ENTER: &str = "tls_enter_multi";
pub const MULTI_LEAVE: &str = "tls_leave_multi";
pub const MULTI_LIFE: &str = "session_life_multi";
pub const MULTI_GO_ENTER: &str = "go_enter_multi";
pub const MULTI_GO_LEAVE: &str = "go_leave_multi";
pub const MULTI_GO_LIFE: &str = "go_life_multi";
pub const MULTI_RUSTLS_ENTER: &str = "rustls_enter_multi";
pub const MULTI_RUSTLS_EXIT: &str = "rustls_exit_multi";
/// Programs that others go on in, by their index there; never attached.
const MULTI_CONTINUED: [(u32, &str); 3] =
    [(LONG_TRANSFER, "tls_leave_long_multi"), (RUSTLS_JOIN, "rustls_join_multi"), (RUSTLS_SLICE, "rustls_slice_multi")];
const SINGLE_CONTINUED: [(u32, &str); 3] =
    [(LONG_TRANSFER, "tls_leave_long"), (RUSTLS_JOIN, "rustls_join"), (RUSTLS_SLICE, "rustls_slice")];
/// Every program of uprobe-multi links.
const MULTI_PROGRAMS: [&str; 8] =
    [MULTI_ENTER, MULTI_LEAVE, MULTI_LIFE, MULTI_GO_ENTER, MULTI_GO_LEAVE, MULTI_GO_LIFE, MULTI_RUSTLS_ENTER, MULTI_RUSTLS_EXIT];

pub const PROCESS_EXEC: &str = "process_exec";
pub const PROCESS_FORK: &str = "process_fork";
pub const PROCESS_EXIT: &str = "process_exit";
const TRACEPOINTS: [(&str, &str); 3] =
    [(PROCESS_EXEC, "sched_process_exec"), (PROCESS_FORK, "sched_process_fork"), (PROCESS_EXIT, "sched_process_exit")];

/// Every program there is; which of them are loaded depends on the kernel.
pub fn program_names() -> impl Iterator<Item = &'static str> {
    let single = SINGLE_PROGRAMS.iter().map(|(name, _)| *name);
    let socket = sockets::program_names();
    single.chain([SINGLE_RETURN]).chain(MULTI_PROGRAMS).chain(TRACEPOINTS.iter().map(|(name, _)| *name)).chain(socket)
}

/// Loads every program this kernel's attach mode needs and attaches the process-life tracepoints. No TLS probe is attached yet.
pub fn load(features: &Features, settings: LoadSettings) -> Result<Loaded, LoadError> {
    let mode = features.attach_mode();
    let missing = features.capabilities.missing(mode);
    if !missing.is_empty() {
        return Err(LoadError::Capabilities(missing));
    }
    if !features.ring_buffer {
        return Err(LoadError::NoRingBuffer(features.kernel_release.clone()));
    }
    if features.initial_pid_namespace == Some(false) {
        return Err(LoadError::PidNamespace);
    }
    raise_memlock_limit();

    let own_pid = std::process::id();
    let (socket_attachment, sees_sockets) = (sockets::attachment(), u32::from(settings.sockets.is_some()));
    let (only_watched, has_cookie) = (u32::from(settings.only_watched), u32::from(features.attach_cookie));
    // The object's own BTF names its maps' types; the kernel's is only needed to check it, and may be absent.
    let kernel_btf = Btf::from_sys_fs().ok();
    let mut loader = EbpfLoader::new();
    loader
        .verifier_log_level(VerifierLogLevel::STATS)
        .map_max_entries("RING", settings.ring_bytes)
        .override_global(settings::SEES_SOCKETS, &sees_sockets, true)
        .override_global(settings::SOCKET_ATTACHMENT, &socket_attachment, true)
        .override_global(settings::OWN_PID, &own_pid, true)
        .override_global(settings::ONLY_WATCHED, &only_watched, true)
        .override_global(settings::HAS_ATTACH_COOKIE, &has_cookie, true)
        .override_global(settings::CALL_LIMIT, &settings.call_limit, true)
        .override_global(settings::WAKE_BYTES, &settings.wake_bytes, true);
    if let Some(btf) = &kernel_btf {
        loader.btf(btf);
    }
    for (global, offset) in &features.task_offsets {
        loader.override_global(global, offset, true);
    }
    let mut ebpf = loader.load(OBJECT)?;

    // Both where files are attached for everyone by one, and for single processes by the other.
    let modes = [Some(mode), features.process_mode()];
    if modes.contains(&Some(AttachMode::Multi)) {
        for name in MULTI_PROGRAMS {
            load_uprobe(&mut ebpf, name)?;
        }
        continue_in(&mut ebpf, "PROGRAMS_MULTI", &MULTI_CONTINUED)?;
    }
    if modes.contains(&Some(AttachMode::PerfEvent)) {
        for name in SINGLE_PROGRAMS.iter().map(|(name, _)| *name).chain([SINGLE_RETURN]) {
            load_uprobe(&mut ebpf, name)?;
        }
        continue_in(&mut ebpf, "PROGRAMS", &SINGLE_CONTINUED)?;
    }
    for (name, tracepoint) in TRACEPOINTS {
        let program: &mut RawTracePoint =
            ebpf.program_mut(name).ok_or(LoadError::Missing(name))?.try_into().map_err(|source| LoadError::Program { name, source })?;
        program.load().and_then(|()| program.attach(tracepoint)).map_err(|source| LoadError::Program { name, source })?;
    }
    // What they miss is clear text: no reason not to see the rest.
    let socket_problem = settings.sockets.and_then(|front_end| sockets::attach(&mut ebpf, front_end).err());
    if let Some(error) = &socket_problem {
        tracing::warn!(%error, "traffic without TLS is not seen, or not all of it");
    }
    Ok(Loaded { ebpf, socket_problem })
}

fn load_uprobe(ebpf: &mut Ebpf, name: &'static str) -> Result<(), LoadError> {
    let program: &mut UProbe =
        ebpf.program_mut(name).ok_or(LoadError::Missing(name))?.try_into().map_err(|source| LoadError::Program { name, source })?;
    program.load().map_err(|source| LoadError::Program { name, source })
}

/// Loads programs that others go on in. The map stays with `ebpf`: the kernel empties it when nobody holds it any more.
fn continue_in(ebpf: &mut Ebpf, map_name: &'static str, programs: &[(u32, &'static str)]) -> Result<(), LoadError> {
    for (index, name) in programs.iter().copied() {
        load_uprobe(ebpf, name)?;
        let refused = |source| LoadError::Program { name, source };
        let program: &UProbe = ebpf.program(name).ok_or(LoadError::Missing(name))?.try_into().map_err(refused)?;
        let program = program.fd().and_then(|fd| fd.try_clone().map_err(ProgramError::from)).map_err(refused)?;
        let map = ebpf.map_mut(map_name).ok_or(LoadError::Missing(map_name))?;
        let mut programs: ProgramArray<_> = map.try_into().map_err(|source| LoadError::Map { name: map_name, source })?;
        programs.set(index, &program, 0).map_err(|source| LoadError::Map { name: map_name, source })?;
    }
    Ok(())
}

/// What the verifier did with a loaded program.
#[derive(Clone, Debug, serde::Serialize)]
pub struct ProgramStatistics {
    pub name: String,
    /// Instructions the verifier walked; the kernel's limit is one million (5.16+ tells).
    pub verified_instructions: Option<u32>,
    pub translated_bytes: Option<u32>,
    pub run_count: u64,
    pub run_nanos: u64,
}

/// Verifier cost and, where `kernel.bpf_stats_enabled` is on, run time of every loaded program.
pub fn program_statistics(ebpf: &Ebpf) -> Vec<ProgramStatistics> {
    ebpf.programs()
        .filter_map(|(name, program)| {
            let info = program.info().ok()?;
            Some(ProgramStatistics {
                name: name.to_owned(),
                verified_instructions: info.verified_instruction_count(),
                translated_bytes: info.size_translated(),
                run_count: info.run_count(),
                run_nanos: u64::try_from(info.run_time().as_nanos()).unwrap_or(u64::MAX),
            })
        })
        .collect()
}

/// Before 5.11 maps count against this limit. Failing is not fatal: newer kernels account to the cgroup.
fn raise_memlock_limit() {
    use rustix::process::{Resource, Rlimit, setrlimit};
    if let Err(error) = setrlimit(Resource::Memlock, Rlimit { current: None, maximum: None }) {
        tracing::debug!(%error, "cannot raise RLIMIT_MEMLOCK; only kernels before 5.11 need it");
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Without one the kernel gives the program a stack that other threads write to (see `tls/programs.rs` of the kernel half). Dead code
    /// counts: the kernel looks before it removes any.
    #[test]
    fn every_uprobe_program_has_a_tail_call() {
        const CALL: u8 = 0x85; // BPF_JMP | BPF_CALL
        const TAIL_CALL: i32 = 12; // BPF_FUNC_tail_call
        let object = aya_obj::Object::parse(OBJECT).unwrap();
        let programs = object.programs.iter().filter(|(_, program)| {
            use aya_obj::ProgramSection as S;
            matches!(program.section, S::UProbe { .. } | S::URetProbe { .. })
        });
        let mut seen = 0;
        for (name, program) in programs {
            let function = &object.functions[&program.function_key()];
            assert!(function.instructions.iter().any(|i| i.code == CALL && i.imm == TAIL_CALL), "{name}");
            seen += 1;
        }
        assert!(seen >= SINGLE_PROGRAMS.len() + 3, "{seen} programs");
    }
}
