//! Every map, its size and who cleans it.

use a11i_common::{
    decision::{Decision, DuplicateKey, HitKey, PathTail},
    event::Counter,
    limits,
    probation::ProbeEvidence,
    probe::{PROGRAMS as PROGRAM_COUNT, SOCKET_PROGRAMS},
    rustls::{RustlsKey, RustlsKeyState, RustlsLayout, RustlsSample, RustlsSampleKey},
    session::{GoCall, GoCallKey, Session, SessionKey},
};
use aya_ebpf::{
    macros::map,
    maps::{Array, HashMap, LruHashMap, PerCpuArray, ProgramArray, RingBuf},
};

use crate::{
    socket::{
        binding::{Binding, GoWriter, GoWriterKey},
        call::Call,
        unsent::{Unsent, UnsentKey},
    },
    tls::{frame::Frames, record_call::RecordCall},
};

/// Records to the agent. The agent sets the size before load; it reads and frees.
#[map]
pub(crate) static RING: RingBuf = RingBuf::with_byte_size(limits::DEFAULT_RING_BYTES, 0);

/// Live TLS sessions. Removed by `SSL_free`; by the agent when their process ends; swept by the agent.
#[map]
pub(crate) static SESSIONS: HashMap<SessionKey, Session> = HashMap::with_max_entries(limits::SESSIONS, 0);

/// Calls between entry and return, by thread. Removed when the thread ends or runs another program.
#[map]
pub(crate) static IN_FLIGHT: HashMap<u64, Frames> = HashMap::with_max_entries(limits::THREADS, 0);

/// One element, all zeros, never written: what a thread's entry of [`IN_FLIGHT`] begins as. It fits no stack beside the rest.
#[map]
pub(crate) static NO_FRAMES: Array<Frames> = Array::with_max_entries(1, 0);

/// Calls of Go functions between entry and return, by goroutine. Removed by the return; by the agent when their process ends or probes come
/// back after they were away.
#[map]
pub(crate) static GO_CALLS: HashMap<GoCallKey, GoCall> = HashMap::with_max_entries(limits::GO_CALLS, 0);

/// Go connections that have begun and have written nothing yet. A cache: of one that falls out, the first write is copied when it returns.
#[map]
pub(crate) static GO_HANDSHAKES: LruHashMap<SessionKey, u8> = LruHashMap::with_max_entries(limits::GO_HANDSHAKES, 0);

/// Processes to follow when only some are (`a11i exec`): filled by the agent, grown by fork, shrunk by exit.
#[map]
pub(crate) static WATCHED: HashMap<u32, u8> = HashMap::with_max_entries(limits::PROCESSES, 0);

/// What was copied and what was lost, by [`Counter`]. Per CPU and added to atomically; never removed.
#[map]
pub(crate) static COUNTERS: PerCpuArray<u64> = PerCpuArray::with_max_entries(Counter::COUNT, 0);

/// The agent's verdicts. Removed with their session: here, or by the agent when their process ends.
#[map]
pub(crate) static DECISIONS: HashMap<SessionKey, Decision> = HashMap::with_max_entries(limits::DECISIONS, 0);

/// Ends of paths of LLM requests. Filled by the agent at its start.
#[map]
pub(crate) static LLM_PATHS: HashMap<PathTail, u8> = HashMap::with_max_entries(limits::LLM_PATHS, 0);

/// Server names of LLM providers, by hash. Filled by the agent at its start.
#[map]
pub(crate) static LLM_NAMES: HashMap<u64, u8> = HashMap::with_max_entries(limits::LLM_NAMES, 0);

/// Hits of entry probes by file and process. The agent removes those of ended processes and of attachments that are no more.
#[map]
pub(crate) static HITS: HashMap<HitKey, u64> = HashMap::with_max_entries(limits::HITS, 0);

/// Attachments that one call came through both of. The agent removes what it has seen.
#[map]
pub(crate) static DUPLICATES: HashMap<DuplicateKey, u8> = HashMap::with_max_entries(limits::DUPLICATES, 0);

/// One element: not 0 = nothing is copied. Set by the agent (`a11i control detach`).
#[map]
pub(crate) static SWITCHED_OFF: Array<u32> = Array::with_max_entries(1, 0);

/// Bytes of undecided exchanges in the present second, and that second since boot.
#[map]
pub(crate) static NODE_BUDGET: Array<u64> = Array::with_max_entries(2, 0);

/// Programs that those of perf-event probes go on in. Filled by the agent before anything is attached.
#[map]
pub(crate) static PROGRAMS: ProgramArray = ProgramArray::with_max_entries(PROGRAM_COUNT, 0);

/// The same for uprobe-multi links: the kernel wants all programs of one such map to be of one kind.
#[map]
pub(crate) static PROGRAMS_MULTI: ProgramArray = ProgramArray::with_max_entries(PROGRAM_COUNT, 0);

/// Socket calls under way and the place of their copying, by thread. Removed when the thread ends or runs another program.
#[map]
pub(crate) static SOCKET_CALLS: HashMap<u64, Call> = HashMap::with_max_entries(limits::THREADS, 0);

/// TCP sockets that carry HTTP, and the process that was seen to use them. Removed when they close.
#[map]
pub(crate) static SOCKETS: HashMap<u64, u32> = HashMap::with_max_entries(limits::SOCKETS, 0);

/// Internet sockets that carry a TLS session. A cache: of one that falls out, the session is found again or has no peer. Removed when the socket
/// closes.
#[map]
pub(crate) static TLS_SOCKETS: LruHashMap<u64, Binding> = LruHashMap::with_max_entries(limits::TLS_SOCKETS, 0);

/// Records that were written and not yet seen on a socket. A cache: of what falls out, nobody's peer is told.
#[map]
pub(crate) static UNSENT: LruHashMap<UnsentKey, Unsent> = LruHashMap::with_max_entries(limits::UNSENT, 0);

/// Goroutines that write on a connection whose socket is not known. A cache as well; removed when the call returns.
#[map]
pub(crate) static GO_WRITERS: LruHashMap<GoWriterKey, GoWriter> = LruHashMap::with_max_entries(limits::GO_WRITERS, 0);

/// Where the programs of kprobes go on. Filled by the agent before anything is attached.
#[map]
pub(crate) static PROGRAMS_SOCKET_PROBE: ProgramArray = ProgramArray::with_max_entries(SOCKET_PROGRAMS, 0);

/// The same for raw tracepoints.
#[map]
pub(crate) static PROGRAMS_SOCKET_TRACE: ProgramArray = ProgramArray::with_max_entries(SOCKET_PROGRAMS, 0);

/// rustls traffic keys. Removed by their destructor where they have one, with their session, and by the key that takes their address; by the
/// agent when their process ends.
#[map]
pub(crate) static RUSTLS_KEYS: HashMap<RustlsKey, RustlsKeyState> = HashMap::with_max_entries(limits::RUSTLS_KEYS, 0);

/// The rustls record that a thread is in. Removed when the thread ends or runs another program.
#[map]
pub(crate) static RUSTLS_CALLS: HashMap<u64, RecordCall> = HashMap::with_max_entries(limits::RUSTLS_THREADS, 0);

/// One element, all zeros: what a new entry of `RUSTLS_CALLS` begins as. It is too large for a stack.
#[map]
pub(crate) static RUSTLS_FRESH: Array<RecordCall> = Array::with_max_entries(1, 0);

/// Where arguments of rustls functions have what, by attachment, where it is not as usual. Filled and emptied by the agent.
#[map]
pub(crate) static RUSTLS_LAYOUTS: HashMap<u64, RustlsLayout> = HashMap::with_max_entries(limits::PROBATION, 0);

/// Arguments that have another layout than expected. The agent removes what it has seen.
#[map]
pub(crate) static RUSTLS_SAMPLES: HashMap<RustlsSampleKey, RustlsSample> = HashMap::with_max_entries(limits::RUSTLS_SAMPLES, 0);

/// What speaks for and against attachments on probation. The agent makes the entries and removes them.
#[map]
pub(crate) static EVIDENCE: HashMap<u64, ProbeEvidence> = HashMap::with_max_entries(limits::PROBATION, 0);
