//! Maps the agent writes: which processes are followed, which sessions are over, what is LLM traffic.

use std::collections::HashSet;

use a11i_common::{
    decision::{Decision, DuplicateKey, HitKey, PathTail, server_name_hash},
    decode::SessionId,
    identity::{Pid, ProcessId, TlsSession},
    probation::ProbeEvidence,
    rustls::{self, RustlsKey, RustlsKeyState, RustlsLayout, RustlsSample, RustlsSampleKey},
    session::{GoCall, GoCallKey, Session, SessionKey},
};
use aya::{
    Ebpf, Pod,
    maps::{HashMap, MapData},
};

use super::loader::LoadError;

/// Sets of processes and the table of sessions.
pub struct KernelTables {
    watched: HashMap<MapData, u32, u8>,
    sessions: HashMap<MapData, Plain<SessionKey>, Plain<Session>>,
    decisions: HashMap<MapData, Plain<SessionKey>, Plain<Decision>>,
    go_calls: HashMap<MapData, Plain<GoCallKey>, Plain<GoCall>>,
    /// Ended, with calls that may still be in the table: a walk of it is too much for each of them.
    exited: HashSet<Pid>,
    rustls_keys: HashMap<MapData, Plain<RustlsKey>, Plain<RustlsKeyState>>,
    /// Sessions whose keys are to be forgotten.
    rustls_over: HashSet<(Pid, TlsSession)>,
    llm_paths: HashMap<MapData, Plain<PathTail>, u8>,
    llm_names: HashMap<MapData, u64, u8>,
    /// Of the last decision; 0 is none.
    serial: u16,
}

/// What became of a verdict.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Decided {
    Told,
    /// The session has ended, or another one is at its address: there is nobody to be told.
    Over,
    /// The kernel half's table has no room.
    Full,
}

/// The shared layout, as aya wants it: plain old data.
#[repr(transparent)]
#[derive(Clone, Copy)]
pub(super) struct Plain<T>(pub(super) T);

#[expect(unsafe_code, reason = "aya asks for it: plain old data of fixed layout")]
// SAFETY: repr(C), integers only, no padding (asserted in a11i-common).
unsafe impl Pod for Plain<SessionKey> {}
#[expect(unsafe_code, reason = "aya asks for it: plain old data of fixed layout")]
// SAFETY: as above.
unsafe impl Pod for Plain<Session> {}
#[expect(unsafe_code, reason = "aya asks for it: plain old data of fixed layout")]
// SAFETY: as above.
unsafe impl Pod for Plain<Decision> {}
#[expect(unsafe_code, reason = "aya asks for it: plain old data of fixed layout")]
// SAFETY: as above.
unsafe impl Pod for Plain<GoCallKey> {}
#[expect(unsafe_code, reason = "aya asks for it: plain old data of fixed layout")]
// SAFETY: as above.
unsafe impl Pod for Plain<GoCall> {}
#[expect(unsafe_code, reason = "aya asks for it: plain old data of fixed layout")]
// SAFETY: as above.
unsafe impl Pod for Plain<PathTail> {}
#[expect(unsafe_code, reason = "aya asks for it: plain old data of fixed layout")]
// SAFETY: as above.
unsafe impl Pod for Plain<HitKey> {}
#[expect(unsafe_code, reason = "aya asks for it: plain old data of fixed layout")]
// SAFETY: as above.
unsafe impl Pod for Plain<DuplicateKey> {}

#[expect(unsafe_code, reason = "aya asks for it: plain old data of fixed layout")]
// SAFETY: as above.
unsafe impl Pod for Plain<RustlsKey> {}
#[expect(unsafe_code, reason = "aya asks for it: plain old data of fixed layout")]
// SAFETY: as above.
unsafe impl Pod for Plain<RustlsKeyState> {}
#[expect(unsafe_code, reason = "aya asks for it: plain old data of fixed layout")]
// SAFETY: as above.
unsafe impl Pod for Plain<RustlsLayout> {}
#[expect(unsafe_code, reason = "aya asks for it: plain old data of fixed layout")]
// SAFETY: as above.
unsafe impl Pod for Plain<RustlsSampleKey> {}
#[expect(unsafe_code, reason = "aya asks for it: plain old data of fixed layout")]
// SAFETY: as above.
unsafe impl Pod for Plain<RustlsSample> {}
#[expect(unsafe_code, reason = "aya asks for it: plain old data of fixed layout")]
// SAFETY: as above.
unsafe impl Pod for Plain<ProbeEvidence> {}

impl Decided {
    /// A session that has ended meanwhile is no want of room.
    const fn of(told: bool, is_over: bool) -> Self {
        match (told, is_over) {
            (_, true) => Self::Over,
            (true, false) => Self::Told,
            (false, false) => Self::Full,
        }
    }
}

impl KernelTables {
    pub fn take(ebpf: &mut Ebpf) -> Result<Self, LoadError> {
        Ok(Self {
            watched: table(ebpf, "WATCHED")?,
            sessions: table(ebpf, "SESSIONS")?,
            decisions: table(ebpf, "DECISIONS")?,
            go_calls: table(ebpf, "GO_CALLS")?,
            exited: HashSet::new(),
            rustls_keys: table(ebpf, "RUSTLS_KEYS")?,
            rustls_over: HashSet::new(),
            llm_paths: table(ebpf, "LLM_PATHS")?,
            llm_names: table(ebpf, "LLM_NAMES")?,
            serial: 0,
        })
    }

    /// Requests whose path ends so are presumed to be LLM traffic until the agent says otherwise. `path`: at least its last
    /// [`a11i_common::decision::PATH_TAIL_BYTES`] bytes; of a shorter one, the whole path.
    pub fn presume_path(&mut self, path: &str) -> Result<(), LoadError> {
        self.llm_paths.insert(&Plain(PathTail::of(path.as_bytes())), &1, 0).map_err(|source| LoadError::Map { name: "LLM_PATHS", source })
    }

    /// Connections to this server name are presumed to be LLM traffic.
    pub fn presume_server_name(&mut self, name: &str) -> Result<(), LoadError> {
        self.llm_names.insert(&server_name_hash(name.as_bytes()), &1, 0).map_err(|source| LoadError::Map { name: "LLM_NAMES", source })
    }

    /// Paths that end so are presumed to be nothing any more; one that was not entered is as good.
    pub fn forget_path(&mut self, path: &str) {
        if let Err(error) = self.llm_paths.remove(&Plain(PathTail::of(path.as_bytes()))) {
            tracing::trace!(%error, "the path was not presumed");
        }
    }

    /// New connections to this server name are presumed to be nothing any more; one that was not entered is as good.
    pub fn forget_server_name(&mut self, name: &str) {
        if let Err(error) = self.llm_names.remove(&server_name_hash(name.as_bytes())) {
            tracing::trace!(%error, "the server name was not presumed");
        }
    }

    /// Tells the kernel half what a request is.
    pub fn decide(&mut self, process: ProcessId, session: SessionId, request: u16, verdict: u8) -> Decided {
        if self.session(process, session).is_none() {
            return Decided::Over;
        }
        self.serial = self.serial.wrapping_add(1).max(1);
        let decision = Decision { generation: session.generation, request, verdict, reserved: 0, serial: self.serial };
        let key = Plain(key_of(process, session));
        let told = self.decisions.insert(&key, &Plain(decision), 0).is_ok();
        // It may have ended in between: then nobody else would remove the verdict.
        let is_over = self.sessions.get(&key, 0).is_err();
        if told && is_over {
            self.forget_decision(&key);
        }
        Decided::of(told, is_over)
    }

    /// Follow this process and its descendants (where only watched ones are followed).
    pub fn watch(&mut self, pid: Pid) -> Result<(), LoadError> {
        self.watched.insert(&pid.0, &1, 0).map_err(|source| LoadError::Map { name: "WATCHED", source })
    }

    /// The session's entry, if it is still there and not that of a later session.
    pub fn session(&self, process: ProcessId, session: SessionId) -> Option<Session> {
        let Plain(entry) = self.sessions.get(&Plain(key_of(process, session)), 0).ok()?;
        is_of(&entry, process, session).then_some(entry)
    }

    /// Drops a session that is followed no longer. A later one at the same address stays; an entry already gone is as good.
    pub fn forget_session(&mut self, process: ProcessId, session: SessionId) {
        let key = Plain(key_of(process, session));
        if rustls::is_session(session.session.0) {
            self.rustls_over.insert((process.pid, session.session));
        }
        if self.decisions.get(&key, 0).is_ok_and(|Plain(decision)| decision.generation == session.generation) {
            self.forget_decision(&key);
        }
        if self.session(process, session).is_none() {
            return;
        }
        if let Err(error) = self.sessions.remove(&Plain(key_of(process, session))) {
            tracing::trace!(%error, "session already gone");
        }
    }

    /// Taken already, as a rule.
    fn forget_decision(&mut self, key: &Plain<SessionKey>) {
        if let Err(error) = self.decisions.remove(key) {
            tracing::trace!(%error, "no decision to forget");
        }
    }

    /// Forgets every session: what the probes see next is new. For when probes come back after they were away.
    pub fn forget_all_sessions(&mut self) {
        let keys: Vec<_> = self.sessions.keys().filter_map(Result::ok).collect();
        for key in keys {
            if let Err(error) = self.sessions.remove(&key) {
                tracing::trace!(%error, "session already gone");
            }
            self.forget_decision(&key);
        }
        self.forget_go_calls(|_| true);
        // Records that nobody saw would be missed in their numbers.
        self.forget_rustls_keys(|_, _| true);
    }

    /// The process has ended: what it was in the middle of is forgotten by [`Self::sweep_exited`].
    pub fn handle_exit(&mut self, process: ProcessId) {
        self.exited.insert(process.pid);
    }

    /// To be called once a second.
    pub fn sweep_exited(&mut self) {
        let exited = std::mem::take(&mut self.exited);
        if !exited.is_empty() {
            self.forget_go_calls(|pid| exited.contains(&pid));
        }
    }

    /// Calls of Go functions whose return will not be seen, or whose goroutine has made others meanwhile.
    fn forget_go_calls(&mut self, which: impl Fn(Pid) -> bool) {
        let gone: Vec<_> = self.go_calls.keys().filter_map(Result::ok).filter(|Plain(key)| which(Pid(key.tgid))).collect();
        for key in gone {
            if let Err(error) = self.go_calls.remove(&key) {
                tracing::trace!(%error, "the call has returned");
            }
        }
    }

    /// Removes the keys of rustls sessions that were forgotten: asked now and then, since it is a pass over all keys.
    pub fn sweep_rustls_keys(&mut self) {
        if !self.rustls_over.is_empty() {
            let over = std::mem::take(&mut self.rustls_over);
            self.forget_rustls_keys(|pid, session| over.contains(&(pid, session)));
        }
    }

    /// Forgets rustls keys: what is still in use is found again with its next record.
    fn forget_rustls_keys(&mut self, is_over: impl Fn(Pid, TlsSession) -> bool) {
        let entries = self.rustls_keys.iter().filter_map(Result::ok);
        let over = entries.filter(|(Plain(key), Plain(state))| is_over(Pid(key.tgid), TlsSession(state.session)));
        let keys: Vec<_> = over.map(|(key, _)| key).collect();
        for key in keys {
            if let Err(error) = self.rustls_keys.remove(&key) {
                tracing::trace!(%error, "rustls key already gone");
            }
        }
    }

    /// Processes that have sessions, each once.
    pub fn processes(&self) -> HashSet<ProcessId> {
        self.sessions.iter().filter_map(Result::ok).map(|(_, Plain(session))| session.process).collect()
    }

    /// Removes every session of processes that have ended: the backstop for ends that were not told. How many there were.
    pub fn remove_sessions_of(&mut self, ended: &HashSet<ProcessId>) -> usize {
        let entries = self.sessions.iter().filter_map(Result::ok);
        let dead: Vec<_> = entries.filter(|(_, Plain(session))| ended.contains(&session.process)).map(|(key, _)| key).collect();
        for key in &dead {
            if let Err(error) = self.sessions.remove(key) {
                tracing::trace!(%error, "session already gone");
            }
            self.forget_decision(key);
        }
        let pids: HashSet<Pid> = ended.iter().map(|process| process.pid).collect();
        self.forget_go_calls(|pid| pids.contains(&pid));
        self.forget_rustls_keys(|pid, _| pids.contains(&pid));
        dead.len()
    }
}

fn key_of(process: ProcessId, session: SessionId) -> SessionKey {
    SessionKey::new(process.pid, session.session)
}

/// False for another session: the address (and even the pid) is used again.
fn is_of(entry: &Session, process: ProcessId, session: SessionId) -> bool {
    entry.generation == session.generation && entry.process == process
}

pub(super) fn table<K: Pod, V: Pod>(ebpf: &mut Ebpf, name: &'static str) -> Result<HashMap<MapData, K, V>, LoadError> {
    let map = ebpf.take_map(name).ok_or(LoadError::Missing(name))?;
    HashMap::try_from(map).map_err(|source| LoadError::Map { name, source })
}

#[cfg(test)]
mod tests {
    use a11i_common::identity::TlsSession;

    use super::*;

    #[test]
    fn only_a_session_that_lives_lacks_room_for_its_verdict() {
        let became = [(true, false), (true, true), (false, true), (false, false)].map(|(told, is_over)| Decided::of(told, is_over));
        assert_eq!(became, [Decided::Told, Decided::Over, Decided::Over, Decided::Full]);
    }

    #[test]
    fn a_new_session_at_the_same_address_is_another_one() {
        let process = ProcessId { pid: Pid(7), start_ticks: 9 };
        let session = SessionId { session: TlsSession(1), generation: 3 };
        let entry = Session {
            offsets: [0; 2],
            process,
            generation: 3,
            causes: [0; 2],
            protocol: 0,
            last_direction: 2,
            request_direction: 2,
            flags: 0,
            start: [[0; 4]; 2],
            request: 0,
            decision: 0,
            undecided_left: 0,
            queued: 0,
            born: 0,
            frame_left: 0,
            answers_left: 0,
            socket: 0,
        };
        assert!(is_of(&entry, process, session));
        assert!(!is_of(&Session { generation: 4, ..entry }, process, session));
        assert!(!is_of(&entry, ProcessId { start_ticks: 10, ..process }, session));
    }
}
