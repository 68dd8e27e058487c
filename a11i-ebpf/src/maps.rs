//! Every map, its size and who cleans it.

use a11i_common::{
    event::Counter,
    limits,
    session::{Session, SessionKey},
};
use aya_ebpf::{
    macros::map,
    maps::{HashMap, PerCpuArray, RingBuf},
};

use crate::tls::frame::Frames;

/// Records to the agent. The agent sets the size before load; it reads and frees.
#[map]
pub(crate) static RING: RingBuf = RingBuf::with_byte_size(limits::DEFAULT_RING_BYTES, 0);

/// Live TLS sessions. Removed by `SSL_free`; by the agent when their process ends; swept by the agent.
#[map]
pub(crate) static SESSIONS: HashMap<SessionKey, Session> = HashMap::with_max_entries(limits::SESSIONS, 0);

/// Calls between entry and return, by thread. Removed when the thread ends or runs another program.
#[map]
pub(crate) static IN_FLIGHT: HashMap<u64, Frames> = HashMap::with_max_entries(limits::THREADS, 0);

/// Processes to follow when only some are (`a11i exec`): filled by the agent, grown by fork, shrunk by exit.
#[map]
pub(crate) static WATCHED: HashMap<u32, u8> = HashMap::with_max_entries(limits::PROCESSES, 0);

/// What was copied and what was lost, by [`Counter`]. Per CPU and added to atomically; never removed.
#[map]
pub(crate) static COUNTERS: PerCpuArray<u64> = PerCpuArray::with_max_entries(Counter::COUNT, 0);
