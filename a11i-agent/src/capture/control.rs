//! Maps the agent writes: which processes are followed, which sessions are over.

use a11i_common::identity::{Pid, TlsSession};
use aya::{
    Ebpf, Pod,
    maps::{HashMap, MapData, MapError},
};

use super::loader::LoadError;

/// Sets of processes and the table of sessions.
pub struct KernelTables {
    watched: HashMap<MapData, u32, u8>,
    ignored: HashMap<MapData, u32, u8>,
    sessions: HashMap<MapData, SessionKey, SessionValue>,
}

/// Layout of the kernel half's `SessionKey`.
#[repr(C)]
#[derive(Clone, Copy)]
struct SessionKey {
    session: u64,
    tgid: u32,
    reserved: u32,
}

/// Only its size matters here: the agent deletes entries, it does not read them.
#[repr(C)]
#[derive(Clone, Copy)]
struct SessionValue([u64; 7]);

#[expect(unsafe_code, reason = "aya asks for it: plain old data of fixed layout")]
// SAFETY: repr(C), integers only, no padding.
unsafe impl Pod for SessionKey {}
#[expect(unsafe_code, reason = "aya asks for it: plain old data of fixed layout")]
// SAFETY: repr(C), integers only, no padding.
unsafe impl Pod for SessionValue {}

impl KernelTables {
    pub fn take(ebpf: &mut Ebpf) -> Result<Self, LoadError> {
        Ok(Self { watched: table(ebpf, "WATCHED")?, ignored: table(ebpf, "IGNORED")?, sessions: table(ebpf, "SESSIONS")? })
    }

    /// Follow this process and its descendants (where only watched ones are followed).
    pub fn watch(&mut self, pid: Pid) -> Result<(), MapError> {
        self.watched.insert(&pid.0, &1, 0)
    }

    /// Copy nothing of this process.
    pub fn ignore(&mut self, pid: Pid) -> Result<(), MapError> {
        self.ignored.insert(&pid.0, &1, 0)
    }

    /// Drops a session whose process has ended. An entry already gone is as good.
    pub fn forget_session(&mut self, pid: Pid, session: TlsSession) {
        if let Err(error) = self.sessions.remove(&SessionKey { session: session.0, tgid: pid.0, reserved: 0 }) {
            tracing::trace!(%error, "session already gone");
        }
    }

    /// Removes every session of processes that `alive` denies: the backstop for ends that were not told. How many there were.
    pub fn sweep_sessions(&mut self, mut alive: impl FnMut(Pid) -> bool) -> usize {
        let dead: Vec<SessionKey> = self.sessions.keys().filter_map(Result::ok).filter(|key| !alive(Pid(key.tgid))).collect();
        for key in &dead {
            if let Err(error) = self.sessions.remove(key) {
                tracing::trace!(%error, "session already gone");
            }
        }
        dead.len()
    }
}

fn table<K: Pod, V: Pod>(ebpf: &mut Ebpf, name: &'static str) -> Result<HashMap<MapData, K, V>, LoadError> {
    let map = ebpf.take_map(name).ok_or(LoadError::Missing(name))?;
    HashMap::try_from(map).map_err(|source| LoadError::Map { name, source })
}
