//! Maps the agent writes: which processes are followed, which sessions are over.

use a11i_common::{
    identity::{Pid, TlsSession},
    session::{Session, SessionKey},
};
use aya::{
    Ebpf, Pod,
    maps::{HashMap, MapData, MapError},
};

use super::loader::LoadError;

/// Sets of processes and the table of sessions.
pub struct KernelTables {
    watched: HashMap<MapData, u32, u8>,
    sessions: HashMap<MapData, Plain<SessionKey>, Plain<Session>>,
}

/// The shared layout, as aya wants it: plain old data.
#[repr(transparent)]
#[derive(Clone, Copy)]
struct Plain<T>(T);

#[expect(unsafe_code, reason = "aya asks for it: plain old data of fixed layout")]
// SAFETY: repr(C), integers only, no padding (asserted in a11i-common).
unsafe impl Pod for Plain<SessionKey> {}
#[expect(unsafe_code, reason = "aya asks for it: plain old data of fixed layout")]
// SAFETY: as above.
unsafe impl Pod for Plain<Session> {}

impl KernelTables {
    pub fn take(ebpf: &mut Ebpf) -> Result<Self, LoadError> {
        Ok(Self { watched: table(ebpf, "WATCHED")?, sessions: table(ebpf, "SESSIONS")? })
    }

    /// Follow this process and its descendants (where only watched ones are followed).
    pub fn watch(&mut self, pid: Pid) -> Result<(), MapError> {
        self.watched.insert(&pid.0, &1, 0)
    }

    /// Drops a session whose process has ended. An entry already gone is as good.
    pub fn forget_session(&mut self, pid: Pid, session: TlsSession) {
        if let Err(error) = self.sessions.remove(&Plain(SessionKey::new(pid, session))) {
            tracing::trace!(%error, "session already gone");
        }
    }

    /// Removes every session of processes that `alive` denies: the backstop for ends that were not told. How many there were.
    pub fn sweep_sessions(&mut self, mut alive: impl FnMut(Pid) -> bool) -> usize {
        let dead: Vec<_> = self.sessions.keys().filter_map(Result::ok).filter(|Plain(key)| !alive(Pid(key.tgid))).collect();
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
