//! The programs that see sockets: which of the two front ends this kernel has, what they read of its structures, and their attachment.

use std::path::Path;

use a11i_common::{
    probe::{LONG_TRANSFER, NEXT_SEGMENT},
    settings,
};
use aya::{
    Ebpf,
    maps::ProgramArray,
    programs::{KProbe, ProgramError, ProgramFd, RawTracePoint},
};
use serde::{Deserialize, Serialize};

use super::{
    btf::{Layouts, MemberOffsets as _},
    features::{AttachMode, Features},
    loader::LoadError,
};
use crate::{
    call::{CaptureFacts, CaptureLibrary, CaptureMethod},
    config::SocketCapture,
};

/// How socket calls are seen.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum SocketFrontEnd {
    Kprobes,
    Tracepoints,
}

/// What this kernel has.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize)]
pub struct SocketFeatures {
    /// The kernel can probe its own functions, and BTF tells its structures.
    pub kprobes: bool,
    /// The tracepoints of socket calls (6.3+), and BTF.
    pub tracepoints: bool,
}

/// Types that BTF is asked for.
pub(super) const TYPES: [&str; 11] =
    ["socket", "socket_alloc", "inode", "sock", "sock_common", "unix_sock", "unix_address", "msghdr", "iov_iter", "iter_type", TRACED];

/// Offsets and values for the kernel half; what this kernel does not have is absent.
pub(super) fn offsets(layouts: &Layouts) -> impl Iterator<Item = (&'static str, u32)> {
    let member = |structure, name| layouts.member(structure, name);
    let common = |name| Some(member("sock", "__sk_common")?.saturating_add(member("sock_common", name)?));
    let inode = || {
        let behind_socket = member("socket_alloc", "vfs_inode")?.checked_sub(member("socket_alloc", "socket")?)?;
        Some(behind_socket.saturating_add(member("inode", "i_ino")?))
    };
    let before_5_14 = member("iov_iter", "iter_type").is_none();
    [
        (settings::SOCKET_SK, member("socket", "sk")),
        (settings::SOCKET_INODE, inode()),
        (settings::SOCK_FAMILY, common("skc_family")),
        (settings::SOCK_TYPE, member("sock", "sk_type")),
        (settings::SOCK_SOCKET, member("sock", "sk_socket")),
        (settings::SOCK_LOCAL_PORT, common("skc_num")),
        (settings::SOCK_REMOTE_PORT, common("skc_dport")),
        (settings::SOCK_LOCAL_V4, common("skc_rcv_saddr")),
        (settings::SOCK_REMOTE_V4, common("skc_daddr")),
        (settings::SOCK_LOCAL_V6, common("skc_v6_rcv_saddr")),
        (settings::SOCK_REMOTE_V6, common("skc_v6_daddr")),
        (settings::UNIX_ADDRESS, member("unix_sock", "addr")),
        (settings::UNIX_PEER, member("unix_sock", "peer")),
        (settings::UNIX_ADDRESS_LENGTH, member("unix_address", "len")),
        (settings::UNIX_ADDRESS_NAME, member("unix_address", "name")),
        (settings::MESSAGE_ITERATOR, member("msghdr", "msg_iter")),
        (settings::ITERATOR_TYPE, member("iov_iter", "iter_type").or_else(|| member("iov_iter", "type"))),
        (settings::ITERATOR_OFFSET, member("iov_iter", "iov_offset")),
        (settings::ITERATOR_SEGMENTS, member("iov_iter", "nr_segs")),
        (settings::ITERATOR_VECTOR, member("iov_iter", "__iov").or_else(|| member("iov_iter", "iov"))),
        (settings::ITERATOR_BUFFER, member("iov_iter", "ubuf")),
        (settings::KIND_VECTOR, layouts.value("iter_type", "ITER_IOVEC")),
        (settings::KIND_BUFFER, layouts.value("iter_type", "ITER_UBUF")),
        // The directions READ 0 and WRITE 1 of the kernel's `kernel.h`, which are no enumeration.
        (settings::KIND_DIRECTION, Some(u32::from(before_5_14))),
    ]
    .into_iter()
    .filter_map(|(global, number)| Some((global, number?)))
}

/// Without these nothing can be told of a socket.
const NEEDED: [&str; 4] = [settings::SOCK_FAMILY, settings::SOCK_TYPE, settings::SOCK_SOCKET, settings::SOCKET_INODE];
/// And without these, nothing of a message.
const NEEDED_OF_MESSAGES: [&str; 5] =
    [settings::SOCKET_SK, settings::MESSAGE_ITERATOR, settings::ITERATOR_TYPE, settings::ITERATOR_VECTOR, settings::KIND_VECTOR];

/// The type that BTF has where the kernel has the tracepoint; `sock_recv_length` came with it.
const TRACED: &str = "btf_trace_sock_send_length";

/// Where the kernel offers kprobes as perf events (perf_event_open(2)).
const KPROBE_EVENTS: &str = "/sys/bus/event_source/devices/kprobe";

impl SocketFeatures {
    pub(super) fn probe(layouts: &Layouts, offsets: &[(&'static str, u32)]) -> Self {
        let knows = |names: &[&str]| names.iter().all(|name| offsets.iter().any(|(known, _)| known == name));
        let sockets = knows(&NEEDED);
        Self {
            kprobes: sockets && knows(&NEEDED_OF_MESSAGES) && Path::new(KPROBE_EVENTS).exists(),
            tracepoints: sockets && layouts.has_alias(TRACED),
        }
    }
}

/// Which front end sees sockets, or why none does and what to do; for people.
#[derive(Clone, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
pub struct SocketStanding {
    /// `kprobes` or `tracepoints`.
    pub front_end: Option<String>,
    /// There is no front end, and parts of one are attached all the same: some traffic may be seen.
    #[serde(default)]
    pub is_partial: bool,
    pub reason: Option<String>,
    pub remedy: Option<String>,
}

/// What seeing sockets brings.
const BRINGS: &str = "it brings calls without TLS (local inference servers, sidecars), the peers of TLS connections, and a warning for TLS with an LLM host of which nothing is seen";

impl SocketStanding {
    /// Where the kernel half as a whole could not be loaded: nothing is seen, of sockets neither.
    pub fn without_kernel_half(error: &LoadError) -> Self {
        Self { reason: Some(format!("the kernel half is not loaded: {error}")), ..Self::default() }
    }

    /// `problem`: why not all programs could be attached.
    pub fn of(asked: SocketCapture, features: &Features, problem: Option<&LoadError>) -> Self {
        Self::of_chosen(chosen(asked, features.sockets, features.attach_mode()), problem, || why_not(asked, features.sockets))
    }

    fn of_chosen(used: Option<SocketFrontEnd>, problem: Option<&LoadError>, why_not: impl FnOnce() -> (&'static str, String)) -> Self {
        match (used, problem) {
            (Some(front_end), None) => Self { front_end: Some(front_end.as_str().to_owned()), ..Self::default() },
            (Some(_), Some(error)) => Self {
                front_end: None,
                is_partial: true,
                reason: Some(error.to_string()),
                remedy: Some("`capture.sockets: off` if it cannot be mended".to_owned()),
            },
            (None, _) => {
                let (reason, remedy) = why_not();
                Self { reason: Some(reason.to_owned()), remedy: Some(remedy), ..Self::default() }
            }
        }
    }

    /// How much is not seen, where there is no front end.
    pub const fn missing(&self) -> &'static str {
        if self.is_partial { "not all of it is seen" } else { "not seen" }
    }
}

/// Why nothing of what was asked for is used, and what to do.
fn why_not(asked: SocketCapture, features: SocketFeatures) -> (&'static str, String) {
    let none = "use a kernel with kprobes, or Linux 6.3 or newer, and with BTF".to_owned();
    let tracepoints = format!("`capture.sockets: tracepoints`: {BRINGS}");
    match (asked, features) {
        (SocketCapture::Off, SocketFeatures { kprobes: false, tracepoints: false }) => {
            ("switched off (`capture.sockets: off`); this kernel has no way either", none)
        }
        (SocketCapture::Off, SocketFeatures { kprobes: true, .. }) => {
            ("switched off (`capture.sockets: off`)", format!("`capture.sockets: auto`: {BRINGS}"))
        }
        (SocketCapture::Off, _) => ("switched off (`capture.sockets: off`)", tracepoints),
        (SocketCapture::Auto | SocketCapture::Kprobes, SocketFeatures { tracepoints: true, .. }) => (
            "this kernel has no kprobes; its tracepoints cost each socket call of each process about 0.6 us, so that they are used where they are asked for",
            tracepoints,
        ),
        (SocketCapture::Tracepoints, SocketFeatures { kprobes: true, .. }) => {
            ("this kernel lacks the tracepoint sock_send_length (Linux 6.3)", format!("`capture.sockets: auto`: {BRINGS}"))
        }
        (SocketCapture::Auto | SocketCapture::Kprobes | SocketCapture::Tracepoints, _) => {
            ("this kernel has neither kprobes nor the tracepoint sock_send_length (Linux 6.3), or no BTF", none)
        }
    }
}

impl SocketFrontEnd {
    /// As the configuration names it.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Kprobes => "kprobes",
            Self::Tracepoints => "tracepoints",
        }
    }
}

/// What is used of what was asked for. What cannot be is said.
///
/// By itself, kprobes where uprobes are perf events as well; where they are not (6.6+) kprobes would be the only reason to keep CAP_SYS_ADMIN, and
/// the tracepoints of socket calls are there.
pub fn choose(asked: SocketCapture, features: &Features) -> Option<SocketFrontEnd> {
    let used = chosen(asked, features.sockets, features.attach_mode());
    if used.is_none() && matches!(asked, SocketCapture::Kprobes | SocketCapture::Tracepoints) {
        let (reason, remedy) = why_not(asked, features.sockets);
        tracing::warn!(remedy, "`capture.sockets` asks for what this kernel lacks: {reason}; traffic without TLS is not seen");
    }
    used
}

fn chosen(asked: SocketCapture, features: SocketFeatures, uprobes: AttachMode) -> Option<SocketFrontEnd> {
    match asked {
        SocketCapture::Off => None,
        SocketCapture::Auto if !features.kprobes => None,
        SocketCapture::Auto => {
            let traced = features.tracepoints && uprobes == AttachMode::Multi;
            Some(if traced { SocketFrontEnd::Tracepoints } else { SocketFrontEnd::Kprobes })
        }
        SocketCapture::Kprobes => features.kprobes.then_some(SocketFrontEnd::Kprobes),
        SocketCapture::Tracepoints => features.tracepoints.then_some(SocketFrontEnd::Tracepoints),
    }
}

/// What every record of a socket carries.
pub(super) fn attachment() -> u32 {
    let facts = CaptureFacts { library: Some(CaptureLibrary::Plaintext), method: Some(CaptureMethod::Socket) };
    u32::try_from(facts.to_attachment(0).0).unwrap_or_default()
}

/// A program and the kernel functions it is attached to. Those of `true` have to be there.
const KPROBES: [(&str, &[(&str, bool)]); 6] = [
    ("socket_send", &[("inet_sendmsg", true), ("inet6_sendmsg", false), ("unix_stream_sendmsg", false)]),
    ("socket_receive", &[("inet_recvmsg", true), ("inet6_recvmsg", false), ("unix_stream_recvmsg", false)]),
    ("socket_send_pages", &[("inet_sendpage", false)]),
    ("socket_receive_pages", &[("tcp_splice_read", false)]),
    ("socket_release", &[("unix_release", false)]),
    (
        "socket_leave",
        &[
            ("inet_sendmsg", true),
            ("inet6_sendmsg", false),
            ("unix_stream_sendmsg", false),
            ("unix_stream_recvmsg", false),
            ("inet_sendpage", false),
        ],
    ),
];
/// What tells that something of TCP was received, the first that exists: it was one function before the first of these (6.0).
const RECEIVED: (&str, [&str; 2]) = ("socket_received_tcp", ["__tcp_cleanup_rbuf", "tcp_cleanup_rbuf"]);
/// And where none of them does, the returns of these.
const RETURNS: (&str, &[(&str, bool)]) = ("socket_leave", &[("inet_recvmsg", true), ("inet6_recvmsg", false), ("tcp_splice_read", false)]);
const KPROBE_CONTINUATIONS: [(u32, &str); 2] = [(LONG_TRANSFER, "socket_long"), (NEXT_SEGMENT, "socket_segment")];
const TRACEPOINTS: [(&str, &str); 2] = [("socket_sent", "sock_send_length"), ("socket_received", "sock_recv_length")];
const TRACEPOINT_CONTINUATIONS: [(u32, &str); 2] = [(LONG_TRANSFER, "socket_long_traced"), (NEXT_SEGMENT, "socket_segment_traced")];
const STATE: (&str, &str) = ("socket_state", "inet_sock_set_state");

pub(super) fn program_names() -> impl Iterator<Item = &'static str> {
    let names = |list: &'static [(u32, &'static str); 2]| list.iter().map(|(_, name)| *name);
    KPROBES
        .iter()
        .map(|(name, _)| *name)
        .chain([RECEIVED.0])
        .chain(names(&KPROBE_CONTINUATIONS))
        .chain(TRACEPOINTS.iter().map(|(name, _)| *name))
        .chain(names(&TRACEPOINT_CONTINUATIONS))
        .chain([STATE.0])
}

/// Loads and attaches the programs of one front end.
pub(super) fn attach(ebpf: &mut Ebpf, front_end: SocketFrontEnd) -> Result<(), LoadError> {
    match front_end {
        SocketFrontEnd::Kprobes => {
            for (slot, name) in KPROBE_CONTINUATIONS {
                kprobe(ebpf, name)?.load().map_err(|source| LoadError::Program { name, source })?;
                continue_in(ebpf, "PROGRAMS_SOCKET_PROBE", slot, name)?;
            }
            // Returns first: a call that was entered before has none.
            for (name, functions) in KPROBES.iter().rev() {
                load_kprobe(ebpf, name)?;
                attach_kprobe(ebpf, name, functions)?;
            }
            load_kprobe(ebpf, RECEIVED.0)?;
            let received = kprobe(ebpf, RECEIVED.0)?;
            if !RECEIVED.1.iter().any(|function| received.attach(function, 0).is_ok()) {
                attach_kprobe(ebpf, RETURNS.0, RETURNS.1)?;
            }
        }
        SocketFrontEnd::Tracepoints => {
            for (slot, name) in TRACEPOINT_CONTINUATIONS {
                raw_tracepoint(ebpf, name)?.load().map_err(|source| LoadError::Program { name, source })?;
                continue_in(ebpf, "PROGRAMS_SOCKET_TRACE", slot, name)?;
            }
            for (name, tracepoint) in TRACEPOINTS {
                attach_tracepoint(ebpf, name, tracepoint)?;
            }
        }
    }
    attach_tracepoint(ebpf, STATE.0, STATE.1)
}

fn kprobe<'e>(ebpf: &'e mut Ebpf, name: &'static str) -> Result<&'e mut KProbe, LoadError> {
    ebpf.program_mut(name).ok_or(LoadError::Missing(name))?.try_into().map_err(|source| LoadError::Program { name, source })
}

fn raw_tracepoint<'e>(ebpf: &'e mut Ebpf, name: &'static str) -> Result<&'e mut RawTracePoint, LoadError> {
    ebpf.program_mut(name).ok_or(LoadError::Missing(name))?.try_into().map_err(|source| LoadError::Program { name, source })
}

fn load_kprobe(ebpf: &mut Ebpf, name: &'static str) -> Result<(), LoadError> {
    kprobe(ebpf, name)?.load().map_err(|source| LoadError::Program { name, source })
}

fn attach_kprobe(ebpf: &mut Ebpf, name: &'static str, functions: &[(&'static str, bool)]) -> Result<(), LoadError> {
    let program = kprobe(ebpf, name)?;
    for (function, needed) in functions {
        match program.attach(function, 0) {
            Ok(_) => {}
            Err(source) if *needed => return Err(LoadError::Program { name, source }),
            // Not in this kernel, or in a module that is not loaded.
            Err(error) => tracing::debug!(function, %error, "a function of sockets is not probed"),
        }
    }
    Ok(())
}

fn attach_tracepoint(ebpf: &mut Ebpf, name: &'static str, tracepoint: &'static str) -> Result<(), LoadError> {
    let program = raw_tracepoint(ebpf, name)?;
    program.load().and_then(|()| program.attach(tracepoint)).map(drop).map_err(|source| LoadError::Program { name, source })
}

fn continue_in(ebpf: &mut Ebpf, map_name: &'static str, slot: u32, name: &'static str) -> Result<(), LoadError> {
    let refused = |source: ProgramError| LoadError::Program { name, source };
    let program = ebpf.program(name).ok_or(LoadError::Missing(name))?;
    let program: ProgramFd = program.fd().and_then(|fd| fd.try_clone().map_err(ProgramError::from)).map_err(refused)?;
    let map = ebpf.map_mut(map_name).ok_or(LoadError::Missing(map_name))?;
    let mut programs: ProgramArray<_> = map.try_into().map_err(|source| LoadError::Map { name: map_name, source })?;
    programs.set(slot, &program, 0).map_err(|source| LoadError::Map { name: map_name, source })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_the_kernel_lacks_is_not_chosen() {
        let none = SocketFeatures { kprobes: false, tracepoints: false };
        let traced = SocketFeatures { kprobes: false, tracepoints: true };
        let old = SocketFeatures { kprobes: true, tracepoints: false };
        let both = SocketFeatures { kprobes: true, tracepoints: true };
        for (asked, features, expected) in [
            (SocketCapture::Auto, none, None),
            (SocketCapture::Auto, traced, None),
            (SocketCapture::Auto, old, Some(SocketFrontEnd::Kprobes)),
            (SocketCapture::Auto, both, Some(SocketFrontEnd::Tracepoints)),
            (SocketCapture::Off, both, None),
            (SocketCapture::Tracepoints, traced, Some(SocketFrontEnd::Tracepoints)),
            (SocketCapture::Tracepoints, old, None),
            (SocketCapture::Kprobes, both, Some(SocketFrontEnd::Kprobes)),
            (SocketCapture::Kprobes, traced, None),
        ] {
            assert_eq!(chosen(asked, features, AttachMode::Multi), expected, "{asked:?} with {features:?}");
        }
        assert_eq!(chosen(SocketCapture::Auto, both, AttachMode::PerfEvent), Some(SocketFrontEnd::Kprobes));
    }

    #[test]
    fn what_is_not_used_is_told_with_the_way_to_switch_it_on() {
        let traced = SocketFeatures { kprobes: false, tracepoints: true };
        let (reason, remedy) = why_not(SocketCapture::Auto, traced);
        assert!(reason.contains("no kprobes") && remedy.starts_with("`capture.sockets: tracepoints`"), "{reason}; {remedy}");
        let (_, remedy) = why_not(SocketCapture::Off, SocketFeatures { kprobes: true, tracepoints: true });
        assert!(remedy.starts_with("`capture.sockets: auto`"), "{remedy}");
        let (_, remedy) = why_not(SocketCapture::Off, traced);
        assert!(remedy.starts_with("`capture.sockets: tracepoints`"), "{remedy}");
        for asked in [SocketCapture::Auto, SocketCapture::Kprobes, SocketCapture::Tracepoints, SocketCapture::Off] {
            let (_, remedy) = why_not(asked, SocketFeatures { kprobes: false, tracepoints: false });
            assert!(remedy.contains("6.3"), "{asked:?}: {remedy}");
        }
    }

    #[test]
    fn nothing_is_said_to_be_seen_where_a_part_or_all_of_the_kernel_half_is_missing() {
        let error = LoadError::Missing("socket_leave");
        let nothing = || ("off", "on".to_owned());
        let unloaded = SocketStanding::without_kernel_half(&error);
        assert_eq!((unloaded.front_end.as_deref(), unloaded.missing()), (None, "not seen"));
        let partial = SocketStanding::of_chosen(Some(SocketFrontEnd::Kprobes), Some(&error), nothing);
        assert_eq!((partial.front_end.as_deref(), partial.missing()), (None, "not all of it is seen"));
        assert!(partial.reason.is_some_and(|reason| reason.contains("socket_leave")));
        let whole = SocketStanding::of_chosen(Some(SocketFrontEnd::Kprobes), None, nothing);
        assert_eq!((whole.front_end.as_deref(), whole.is_partial), (Some("kprobes"), false));
        assert_eq!(SocketStanding::of_chosen(None, Some(&error), nothing).missing(), "not seen");
    }

    #[test]
    fn what_sockets_tell_says_that_it_is_plaintext_of_a_socket() {
        let facts = CaptureFacts::of_attachment(a11i_common::identity::AttachmentId(attachment().into()));
        assert_eq!(facts, CaptureFacts { library: Some(CaptureLibrary::Plaintext), method: Some(CaptureMethod::Socket) });
    }
}
