//! The event loop: records, notes, finished estimates and time, one after the other.
//!
//! Comes in: the ring, mappings, notes of the coverage thread, answers about processes, counted calls, the admin socket. Goes out: calls to
//! the outlet, verdicts to the kernel half, questions and requests to the other threads. It alone touches the pipeline.

mod finish;
mod notes;
mod outputs;
mod readings;
mod start;

pub use start::Prepared;

use std::{collections::HashSet, future::Future, sync::Arc, time::Duration};

use a11i_common::{
    decode::{Event, EventBody, decode},
    identity::{BootTime, Pid, ProcessId, Tid},
};
use tokio::{
    sync::mpsc,
    task::yield_now,
    time::{Instant, sleep_until},
};

use super::{
    admin::Admin,
    command::CoverageCommand,
    coverage::{Note, Recognised, Talkers},
    estimator::Estimator,
    hidden::HiddenTrees,
    outlet::Outlet,
    resolver::{Answer, Resolver},
    setup::{self, Scope},
    stall::StallWatch,
    unseen::{Missed, UnseenTls},
};
use crate::{
    call::LossCauses,
    capture::{
        control::{Decided, KernelTables},
        loader::LoadError,
        losses::KernelCounters,
        missed::MissedRuns,
        mmap_events::MmapEvents,
        ring::RingReader,
        sockets::SocketStanding,
    },
    clock::Clock,
    config::Config,
    discovery::{client_hello::ClientHello, file::Device, late_mappings::MappedFile, scanner::Scanner, watcher::Watcher},
    flow::FlowId,
    pipeline::{FinalOffsets, Leaving, Output, Pipeline},
    telemetry::{DropReason, Instruments},
    verdict::Verdict,
};

/// How often time passes for the pipeline and records that woke nobody are looked for, while there are any.
const TICK: Duration = Duration::from_millis(20);

/// The same when no traffic has come for a while. A request wakes us whenever it comes; what wakes nobody (an answer after a long silence,
/// the end of a process) is read that much later, with the kernel's times.
const IDLE_TICK: Duration = Duration::from_millis(250);

/// Longer than any hole or owner is waited for.
const IDLE_AFTER_NANOS: u64 = 1_000_000_000;

/// Records handled before anything else has its turn.
pub(super) const RECORDS_PER_TURN: usize = 4096;

/// Between readings of the kernel's counters, the day and the levels.
const HOUSEKEEPING_NANOS: u64 = 1_000_000_000;

/// The kernel's header of a record on the ring, and our smallest record: so many of them fit at most.
const SMALLEST_RECORD: usize = 8 + size_of::<a11i_common::event::ProcessRecord>();

/// Everything that runs.
pub struct Observer {
    pub(super) config: Arc<Config>,
    scope: Scope,
    clock: Arc<Clock>,
    pub(super) instruments: Arc<Instruments>,
    ring: RingReader,
    /// None where the kernel does not let us listen.
    mappings: Option<MmapEvents>,
    pub(super) counters: KernelCounters,
    missed: MissedRuns,
    pub(super) tables: KernelTables,
    scanner: Scanner,
    /// What the coverage thread is asked. It answers between two looks at files; nobody may wait for it inside the event loop, whose
    /// notes the thread may be waiting to deliver.
    pub(super) coverage: mpsc::Sender<CoverageCommand>,
    talkers: Talkers,
    pub(super) unseen: UnseenTls,
    recognised: Recognised,
    /// What sees sockets.
    pub(super) sockets: SocketStanding,
    notes: mpsc::Receiver<Note>,
    watcher: Watcher,
    resolver: Resolver,
    answers: mpsc::Receiver<Answer>,
    pub(super) pipeline: Pipeline,
    /// Finished calls, until missed runs are read.
    leaving: Vec<Leaving>,
    /// When they are read next for calls that leave.
    next_leaving: BootTime,
    estimator: Estimator,
    pub(super) out: Outlet,
    stall: StallWatch,
    host_scans: u64,
    /// Attached now.
    pub(super) probes: u64,
    /// The last reading of the ring ended at its limit.
    more: bool,
    /// Processes with sessions whose end was not told: ended when all their records are read.
    ended: HashSet<ProcessId>,
    /// When time last passed for everything.
    last_tick: BootTime,
    /// When bytes of a connection were last read of the ring.
    last_traffic: BootTime,
    next_housekeeping: BootTime,
    last_sweep: BootTime,
    /// Ends of processes were missed since they were last looked for.
    ends_missed: bool,
    pub(super) admin: Admin,
}

impl Observer {
    /// Follows this process and its descendants ([`Scope::Tree`]).
    pub fn watch(&mut self, pid: Pid) -> Result<(), LoadError> {
        self.tables.watch(pid)
    }

    /// Runs until everything that was there at the start has its probes. In [`Scope::Tree`] that is so from the beginning: the programs
    /// given to [`Self::start`] are all there is.
    pub async fn cover_host(&mut self) {
        if self.scope == Scope::Tree {
            return;
        }
        self.run_until(std::future::pending::<()>(), true).await;
    }

    /// Runs until `end` comes.
    pub async fn run(&mut self, end: impl Future) {
        self.run_until(end, false).await;
    }

    async fn run_until(&mut self, end: impl Future, or_covered: bool) {
        let mut end = std::pin::pin!(end);
        loop {
            let next_tick = self.next_tick();
            tokio::select! {
                biased;
                _ = &mut end => return,
                event = self.admin.next() => self.handle_admin(event),
                Some(note) = self.notes.recv() => self.handle_note(note),
                Some(answer) = self.answers.recv() => self.handle_answer(answer),
                finished = self.estimator.finished() => self.out.take(&finished, &self.clock, &self.instruments),
                () = sleep_until(next_tick) => self.handle_tick(),
                woken = mapped(self.mappings.as_ref()) => {
                    self.take_mappings();
                    if let Err(error) = woken {
                        tracing::error!(%error, "mappings of code cannot be waited for; processes are looked at every few seconds");
                        self.mappings = None;
                        self.watcher.stop_listening(Clock::boot_now());
                    }
                }
                readable = self.ring.readable() => {
                    if let Err(error) = readable {
                        tracing::error!(%error, "the ring buffer cannot be waited for; it is still read every {TICK:?}");
                    }
                    self.drain();
                }
                () = yield_now(), if self.more => drop(self.drain()),
            }
            self.request_scans();
            if or_covered && self.host_scans > 0 {
                return;
            }
        }
    }

    /// So many records fit the ring at most.
    pub(super) fn ring_records(&self) -> usize {
        usize::try_from(self.config.capture.ring_bytes).unwrap_or(usize::MAX) / SMALLEST_RECORD
    }

    /// Hands waiting records to the pipeline, a bounded number; how many there were.
    pub(super) fn drain(&mut self) -> usize {
        let Self { ring, pipeline, tables, watcher, talkers, unseen, instruments, admin, .. } = self;
        let (mut outputs, mut missed) = (Vec::new(), Vec::new());
        let mut traffic = false;
        let count = ring.drain(RECORDS_PER_TURN, |record| match decode(record) {
            Ok(event) => {
                traffic |= matches!(event.body, EventBody::Data { .. });
                missed.extend(feed(&event, pipeline, tables, watcher, talkers, unseen, &mut admin.hidden, &mut outputs));
            }
            Err(error) => {
                instruments.dropped(DropReason::RecordMalformed, 1);
                tracing::debug!(%error, "a record does not decode");
            }
        });
        if traffic {
            self.last_traffic = Clock::boot_now();
        }
        self.more = count == RECORDS_PER_TURN;
        self.take_outputs(outputs);
        self.tell_missed(missed);
        count
    }

    /// In tokio's time, which may be a different clock.
    fn next_tick(&self) -> Instant {
        let now = Clock::boot_now();
        let is_idle = now.nanos_since(self.last_traffic) > IDLE_AFTER_NANOS;
        let pause = if is_idle && self.leaving.is_empty() { IDLE_TICK } else { TICK };
        let at = self.last_tick.plus_nanos(u64::try_from(pause.as_nanos()).unwrap_or(u64::MAX));
        let at = self.watcher.poll_timeout().map_or(at, |due| due.min(at));
        let wait = Duration::from_nanos(at.nanos_since(now));
        Instant::now().checked_add(wait).unwrap_or_else(Instant::now)
    }

    /// Looks at processes that have mapped code.
    fn take_mappings(&mut self) {
        let Self { mappings: Some(mappings), watcher, .. } = self else { return };
        let now = Clock::boot_now();
        let lost = mappings.drain(|mapping| {
            let device = Device { major: mapping.major, minor: mapping.minor };
            watcher.handle_mapped(mapping.pid, MappedFile { device, inode: mapping.inode, generation: mapping.generation }, now);
        });
        if lost > 0 {
            watcher.handle_mappings_lost(lost, now);
        }
    }

    fn handle_tick(&mut self) {
        let now = Clock::boot_now();
        self.last_tick = now;
        // Only when everything older is read may `now` turn a hole into a gap.
        if self.drain() < RECORDS_PER_TURN {
            self.end_lost_processes(now);
            let Self { pipeline, tables, .. } = self;
            let mut outputs = Vec::new();
            pipeline.handle_timeout(now, &mut |flow| final_offsets(tables, flow), &mut |output| outputs.push(output));
            self.take_outputs(outputs);
        }
        self.let_calls_leave();
        self.watcher.handle_timeout(now);
        if self.next_housekeeping <= now {
            self.next_housekeeping = now.plus_nanos(HOUSEKEEPING_NANOS);
            self.read_counters();
            self.read_missed_runs(now);
            let missed = self.unseen.handle_timeout(now);
            self.tell_missed(missed);
            self.pipeline.settings_mut().cost.today = setup::today();
            if self.stall.observe(self.scanner.progress(), now) {
                tracing::warn!(
                    "the scanner stands still: a file or a process it looks at does not answer; programs that begin now are not attached"
                );
            }
        }
    }

    /// Processes that ended without a word (the ring was full): as if their exit had come now. All their records are read.
    fn end_lost_processes(&mut self, now: BootTime) {
        if self.ended.is_empty() {
            return;
        }
        let ended = std::mem::take(&mut self.ended);
        let Self { pipeline, tables, watcher, talkers, unseen, admin, .. } = self;
        let (mut outputs, mut missed) = (Vec::new(), Vec::new());
        for process in &ended {
            let exit = Event { time: now, process: *process, tid: Tid(process.pid.0), body: EventBody::Exit };
            missed.extend(feed(&exit, pipeline, tables, watcher, talkers, unseen, &mut admin.hidden, &mut outputs));
        }
        self.take_outputs(outputs);
        self.tell_missed(missed);
        let swept = self.tables.remove_sessions_of(&ended);
        tracing::debug!(processes = ended.len(), swept, "processes whose end was missed");
    }

    fn handle_answer(&mut self, answer: Answer) {
        match answer {
            Answer::Owner(process, owner) => {
                let mut outputs = Vec::new();
                self.pipeline.handle_owner(process, owner, &mut |output| outputs.push(output));
                self.take_outputs(outputs);
            }
            Answer::Ended(processes) => self.ended.extend(processes),
        }
    }

    fn request_scans(&mut self) {
        while let Some(request) = self.watcher.poll_request() {
            if self.scanner.request(request) {
                self.stall.handle_request();
            } else {
                self.watcher.handle_rejected(request, Clock::boot_now());
                break;
            }
        }
    }

    /// Says whose plaintext is missing.
    fn tell_missed(&self, missed: Vec<Missed>) {
        for Missed { process, host, connections } in missed {
            self.instruments.tls_without_plaintext.add(1);
            tracing::warn!(
                pid = process.pid.0,
                host,
                connections,
                "TLS with an LLM host, and no plaintext of it was seen: its calls are not; `a11i inspect` and `a11i processes` say why"
            );
        }
    }

    pub const fn scope(&self) -> Scope {
        self.scope
    }

    pub fn config(&self) -> &Config {
        &self.config
    }
}

/// When something was mapped; never, where nobody tells.
async fn mapped(events: Option<&MmapEvents>) -> std::io::Result<()> {
    match events {
        Some(events) => events.readable().await,
        None => std::future::pending().await,
    }
}

/// One record into everything that wants to know of it; what it shows not to have been seen.
#[expect(clippy::too_many_arguments, reason = "parts of the observer, which is borrowed in part")]
fn feed(
    event: &Event<'_>,
    pipeline: &mut Pipeline,
    tables: &mut KernelTables,
    watcher: &mut Watcher,
    talkers: &mut Talkers,
    unseen: &mut UnseenTls,
    hidden: &mut HiddenTrees,
    outputs: &mut Vec<Output>,
) -> Vec<Missed> {
    let (process, time) = (event.process, event.time);
    let mut missed = Vec::new();
    match event.body {
        EventBody::Exec => watcher.handle_exec(process, time),
        EventBody::Fork { parent } => {
            hidden.handle_fork(process, parent, time);
            watcher.handle_fork(process, time);
            // It maps what its parent maps, but has none of its parent's probes where those are for single processes.
            if talkers.handle_fork(parent, process) {
                watcher.handle_first_data(process, time);
            }
        }
        EventBody::Exit => {
            hidden.handle_exit(process, time);
            watcher.handle_exit(process, time);
            talkers.handle_exit(process);
            tables.handle_exit(process);
        }
        // Somebody else reports these, and copies them: once is enough.
        EventBody::Data { session, .. } if hidden.contains(process) => {
            if hidden.is_to_be_ignored(process, session) && tables.decide(process, session, 0, Verdict::Ignore.code()) != Decided::Told {
                hidden.forget(process, session);
            }
            return missed;
        }
        EventBody::SessionEnd { session, .. } if hidden.contains(process) => {
            hidden.forget(process, session);
            return missed;
        }
        EventBody::WriteShutdown { .. } | EventBody::ServerName { .. } | EventBody::Peer { .. } | EventBody::ClientHello { .. }
            if hidden.contains(process) =>
        {
            return missed;
        }
        EventBody::ServerName { name, .. } => {
            if std::str::from_utf8(name).is_ok_and(|name| pipeline.settings().routes.is_llm_host(name)) {
                talkers.handle_talk(process);
            }
        }
        EventBody::Data { .. } | EventBody::SessionEnd { .. } | EventBody::WriteShutdown { .. } | EventBody::Peer { .. } => {}
        EventBody::ClientHello { bytes, .. } => {
            let name = ClientHello::parse(bytes).and_then(|hello| hello.server_name);
            let llm_host = name.as_deref().filter(|name| pipeline.settings().routes.is_llm_host(name));
            if llm_host.is_some() {
                talkers.handle_talk(process);
            }
            // Its library may be new: a round trip is left until its first request.
            let greeted = unseen.handle_hello(process, llm_host, time);
            missed = greeted.missed;
            if greeted.is_new {
                watcher.handle_first_data(process, time);
            }
        }
    }
    // Here and not with the other outputs: the end of the process may be among the same records.
    pipeline.handle_event(event, &mut |flow| final_offsets(tables, flow), &mut |output| {
        if let Output::PlaintextSeen { process, host } = output {
            unseen.handle_seen(process, host.as_deref());
        } else {
            outputs.push(output);
        }
    });
    if matches!(event.body, EventBody::Exec | EventBody::Exit) {
        missed = unseen.handle_end(process);
    }
    missed
}

/// What the kernel's table says of a session whose end it does not tell.
fn final_offsets(tables: &KernelTables, flow: &FlowId) -> Option<FinalOffsets> {
    let session = tables.session(flow.process, flow.session)?;
    let [write, read] = session.offsets;
    Some(FinalOffsets { write, read, causes: session.causes.map(LossCauses::of_kernel) })
}
