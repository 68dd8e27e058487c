//! The event loop: records, notes, finished estimates and time, one after the other.

use std::{collections::HashSet, future::Future, path::PathBuf, sync::Arc, time::Duration};

use a11i_common::{
    decode::{Event, EventBody, decode},
    identity::{BootTime, Pid, ProcessId, Tid},
};
use tokio::{
    sync::mpsc,
    task::yield_now,
    time::{Instant, MissedTickBehavior, interval, timeout_at},
};

use super::{
    admin::Admin,
    brake::Brake,
    command::CoverageCommand,
    coverage::{COMMANDS, Coverage, DetachReason, Equipment, NOTES, Note, Talkers},
    estimator::Estimator,
    hidden::HiddenTrees,
    outlet::{Outlet, Summary},
    printer::Printer,
    resolver::{Answer, Question, Resolver},
    setup::{self, Scope, StartError},
    stall::StallWatch,
    tally::ProcessTally,
};
use crate::{
    attach::links::Links,
    call::{CaptureLibrary, LossCauses},
    capture::{
        control::KernelTables,
        features::Features,
        hits::HitTable,
        loader::{self, LoadError},
        losses::KernelCounters,
        missed::MissedRuns,
        ring::RingReader,
        switch::CaptureSwitch,
    },
    clock::Clock,
    config::{Config, Output as OutputFormat},
    contain,
    discovery::{
        process::ProcFs,
        scan::Scan,
        scanner::{ScanRequest, Scanner},
        watcher::Watcher,
    },
    export::{Exporter, pretty::PrettyStyle, resource_builder},
    flow::FlowId,
    owner::process::OwnerResolver,
    pipeline::{FinalOffsets, Notice, NoticeKind, Output, Pipeline},
    telemetry::{DropReason, Instruments},
    verdict::Verdict,
};

/// How often time passes for the pipeline and records that woke nobody are looked for.
const TICK: Duration = Duration::from_millis(20);

/// Records handled before anything else has its turn.
pub(super) const RECORDS_PER_TURN: usize = 4096;

/// Ticks between readings of the kernel's counters, the day and the levels: once a second.
const TICKS_PER_HOUSEKEEPING: u64 = 50;

/// Ticks between sweeps of the kernel's session table: once a minute.
const TICKS_PER_SWEEP: u64 = 3_000;

/// Ends of the steps of a shutdown, in eighths of its time: reading what is left and finding owners, counting tokens, exporting. What
/// then remains is the printer's.
const DRAIN_EIGHTHS: u32 = 2;
const ESTIMATE_EIGHTHS: u32 = 4;
const EXPORT_EIGHTHS: u32 = 7;

/// The kernel's header of a record on the ring, and our smallest record: so many of them fit at most.
const SMALLEST_RECORD: usize = 8 + size_of::<a11i_common::event::ProcessRecord>();

/// Everything that runs.
pub struct Observer {
    pub(super) config: Arc<Config>,
    scope: Scope,
    clock: Arc<Clock>,
    pub(super) instruments: Arc<Instruments>,
    ring: RingReader,
    pub(super) counters: KernelCounters,
    missed: MissedRuns,
    pub(super) tables: KernelTables,
    scanner: Scanner,
    /// What the coverage thread is asked. It answers between two looks at files; nobody may wait for it inside the event loop, whose
    /// notes the thread may be waiting to deliver.
    pub(super) coverage: mpsc::Sender<CoverageCommand>,
    talkers: Talkers,
    notes: mpsc::Receiver<Note>,
    watcher: Watcher,
    resolver: Resolver,
    answers: mpsc::Receiver<Answer>,
    pub(super) pipeline: Pipeline,
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
    ticks: u64,
    pub(super) admin: Admin,
}

impl Observer {
    /// Loads, starts every thread and begins to attach. `programs` are scanned before anything else: what is about to run.
    pub fn start(config: Arc<Config>, scope: Scope, instruments: Arc<Instruments>, programs: &[PathBuf]) -> Result<Self, StartError> {
        contain::keep_memory_private().say();
        if scope == Scope::Host {
            // Handed on to the command that `exec` starts: there it waits until that has begun.
            contain::no_core_files().say();
        }
        setup::allow_many_descriptors(scope);
        let features = Features::once();
        let settings = setup::pipeline_settings(&config, config.content)?;
        let mut ebpf = loader::load(features, setup::load_settings(&config, scope))?;
        for (missing, consequence) in [
            (!features.btf, "no kernel BTF: processes are told apart by pid alone, forks are not followed"),
            (!features.attach_cookie, "no attach cookies (Linux 5.15): calls do not say which library they came through"),
        ] {
            if missing {
                tracing::warn!(kernel = features.kernel_release, "{consequence}");
            }
        }
        let ring = RingReader::take(&mut ebpf)?;
        let counters_of_guard = KernelCounters::share(&ebpf)?;
        let counters = KernelCounters::take(&mut ebpf)?;
        let mut tables = KernelTables::take(&mut ebpf)?;
        let admin = Admin::new(Brake::new(CaptureSwitch::take(&mut ebpf)?));
        setup::presume(&mut tables, &settings.routes);
        let missed = MissedRuns::of(&ebpf);
        let hits = HitTable::take(&mut ebpf)?;
        let equipment = Equipment {
            links: Links::new(ebpf, features),
            hits,
            counters: counters_of_guard,
            hazards: features.hazards,
            hits_per_second: config.guard.hits_per_second,
        };

        let clock = Arc::new(Clock::new());
        clock.follow_steps();
        let proc = ProcFs::default();
        let (note_sender, notes) = mpsc::channel(NOTES);
        let (talkers, talker_inbox) = Talkers::new();
        let (commands, command_inbox) = mpsc::channel(COMMANDS);
        let mut coverage = Coverage::new(equipment, proc.clone(), command_inbox, talker_inbox);
        let mut scan = Scan::new(proc.clone());
        for program in programs {
            if let Err(error) = scan.program(program, &mut |report| coverage.handle(report)) {
                tracing::warn!(program = %program.display(), %error, "the program cannot be looked at before it runs");
            }
        }
        let early = coverage.connect(note_sender);
        let scanner = Scanner::spawn(scan, coverage).map_err(StartError::Thread)?;

        let estimator = Estimator::spawn().map_err(StartError::Thread)?;
        let exporter = config.exports().then(|| Exporter::start(&config, Arc::clone(&clock), Arc::clone(&instruments))).transpose()?;
        let format = match config.output {
            OutputFormat::Auto if config.exports() => OutputFormat::None,
            OutputFormat::Auto => OutputFormat::Pretty,
            chosen @ (OutputFormat::Pretty | OutputFormat::Json | OutputFormat::None) => chosen,
        };
        let printer = (format != OutputFormat::None).then(Printer::spawn).transpose().map_err(StartError::Thread)?;
        let style = PrettyStyle::detect(std::io::IsTerminal::is_terminal(&std::io::stdout()), std::env::var("NO_COLOR").ok().as_deref());
        let boot_unix_nanos = clock.unix_nanos(BootTime(0));
        let (resolver, answers) = Resolver::spawn(OwnerResolver::new(proc.clone(), boot_unix_nanos), proc).map_err(StartError::Thread)?;
        let resources = resource_builder(&config);
        let mut observer = Self {
            scope,
            ring,
            counters,
            missed,
            tables,
            scanner,
            coverage: commands,
            talkers,
            notes,
            watcher: Watcher::new(Clock::boot_now()),
            resolver,
            answers,
            pipeline: Pipeline::new(settings),
            estimator,
            out: Outlet { format, style, printer, exporter, resources, summary: Summary::default(), tally: ProcessTally::default() },
            stall: StallWatch::default(),
            host_scans: 0,
            probes: 0,
            more: false,
            ended: HashSet::new(),
            ticks: 0,
            admin,
            config,
            clock,
            instruments,
        };
        for note in early {
            observer.handle_note(note);
        }
        Ok(observer)
    }

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
        let mut tick = interval(TICK);
        tick.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let mut end = std::pin::pin!(end);
        loop {
            tokio::select! {
                biased;
                _ = &mut end => return,
                event = self.admin.next() => self.handle_admin(event),
                Some(note) = self.notes.recv() => self.handle_note(note),
                Some(answer) = self.answers.recv() => self.handle_answer(answer),
                finished = self.estimator.finished() => self.out.take(&finished, &self.clock, &self.instruments),
                _ = tick.tick() => self.handle_tick(),
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

    /// Reads what is left, ends every call that is open, flushes. Everything together takes no longer than `within`; what would take
    /// longer is given up and counted.
    pub async fn finish(mut self, within: Duration) -> Summary {
        let begin = Instant::now();
        let until = |eighths: u32| begin.checked_add(within / 8 * eighths).unwrap_or(begin);
        // What is written while we read is not waited for.
        let mut left = self.ring_records();
        while self.drain() == RECORDS_PER_TURN && left > 0 && Instant::now() < until(DRAIN_EIGHTHS) {
            left = left.saturating_sub(RECORDS_PER_TURN);
        }
        let mut outputs = Vec::new();
        self.pipeline.shutdown(Clock::boot_now(), &mut |output| outputs.push(output));
        self.take_outputs(outputs);
        while self.pipeline.waiting_calls() > 0
            && let Ok(Some(answer)) = timeout_at(until(DRAIN_EIGHTHS), self.answers.recv()).await
        {
            self.handle_answer(answer);
        }
        let mut outputs = Vec::new();
        self.pipeline.release_calls(&mut |output| outputs.push(output));
        self.take_outputs(outputs);
        self.finish_estimates(until(ESTIMATE_EIGHTHS)).await;
        self.read_counters();
        if let Some(exporter) = self.out.exporter.take() {
            let left = until(EXPORT_EIGHTHS).saturating_duration_since(Instant::now());
            self.out.summary.export = Some(exporter.shutdown(left).await);
        }
        if let Some(printer) = self.out.printer.take() {
            printer.finish(until(8).saturating_duration_since(Instant::now()));
        }
        self.out.summary
    }

    /// Calls that are not counted by then go on without an estimate.
    async fn finish_estimates(&mut self, until: Instant) {
        while !self.estimator.is_idle()
            && let Ok(finished) = timeout_at(until, self.estimator.finished()).await
        {
            self.out.take(&finished, &self.clock, &self.instruments);
        }
        let late = self.estimator.take_back();
        self.instruments.dropped(DropReason::EstimateShutdown, late.len() as u64);
        for call in late {
            let finished = Pipeline::finish(self.pipeline.settings(), *call, None);
            self.out.take(&finished, &self.clock, &self.instruments);
        }
    }

    /// So many records fit the ring at most.
    pub(super) fn ring_records(&self) -> usize {
        usize::try_from(self.config.capture.ring_bytes).unwrap_or(usize::MAX) / SMALLEST_RECORD
    }

    /// Hands waiting records to the pipeline, a bounded number; how many there were.
    pub(super) fn drain(&mut self) -> usize {
        let Self { ring, pipeline, tables, watcher, talkers, instruments, admin, .. } = self;
        let mut outputs = Vec::new();
        let count = ring.drain(RECORDS_PER_TURN, |record| match decode(record) {
            Ok(event) => feed(&event, pipeline, tables, watcher, talkers, &mut admin.hidden, &mut outputs),
            Err(error) => {
                instruments.dropped(DropReason::RecordMalformed, 1);
                tracing::debug!(%error, "a record does not decode");
            }
        });
        self.more = count == RECORDS_PER_TURN;
        self.take_outputs(outputs);
        count
    }

    fn handle_tick(&mut self) {
        let now = Clock::boot_now();
        // Only when everything older is read may `now` turn a hole into a gap.
        if self.drain() < RECORDS_PER_TURN {
            self.end_lost_processes(now);
            let Self { pipeline, tables, .. } = self;
            let mut outputs = Vec::new();
            pipeline.handle_timeout(now, &mut |flow| final_offsets(tables, flow), &mut |output| outputs.push(output));
            self.take_outputs(outputs);
        }
        self.watcher.handle_timeout(now);
        self.ticks = self.ticks.wrapping_add(1);
        if self.ticks.is_multiple_of(TICKS_PER_HOUSEKEEPING) {
            self.read_counters();
            self.read_missed_runs();
            self.pipeline.settings_mut().cost.today = setup::today();
            if self.stall.observe(self.scanner.progress(), now) {
                tracing::warn!(
                    "the scanner stands still: a file or a process it looks at does not answer; programs that begin now are not attached"
                );
            }
        }
        if self.ticks.is_multiple_of(TICKS_PER_SWEEP) {
            let processes = self.tables.processes();
            if !self.resolver.ask(Question::Ended(processes)) {
                tracing::debug!("too busy to look for processes whose end was missed");
            }
        }
    }

    /// Processes that ended without a word (the ring was full): as if their exit had come now. All their records are read.
    fn end_lost_processes(&mut self, now: BootTime) {
        if self.ended.is_empty() {
            return;
        }
        let ended = std::mem::take(&mut self.ended);
        let Self { pipeline, tables, watcher, talkers, admin, .. } = self;
        let mut outputs = Vec::new();
        for process in &ended {
            let exit = Event { time: now, process: *process, tid: Tid(process.pid.0), body: EventBody::Exit };
            feed(&exit, pipeline, tables, watcher, talkers, &mut admin.hidden, &mut outputs);
        }
        self.take_outputs(outputs);
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

    fn handle_note(&mut self, note: Note) {
        match note {
            Note::Attached { path, library, probes, files } => {
                tracing::info!(path, library = library.map(CaptureLibrary::as_str), probes, files, "attached");
                self.probes = self.probes.saturating_add(probes as u64);
                self.instruments.probes.set(self.probes);
            }
            Note::AttachFailed { path, error } => {
                tracing::warn!(path, %error, remedy = error.remedy(), "not attached: calls through this file are not seen");
                self.instruments.attach_failures.add(1);
            }
            Note::Detached { path, why, probes, files } => {
                match why {
                    DetachReason::Unused => tracing::info!(path, files, "detached a file that nobody uses any more"),
                    DetachReason::SameInode => tracing::info!(path, files, "detached a second name of a file that keeps its probes"),
                    DetachReason::Nobody => tracing::info!(path, files, "detached"),
                    DetachReason::Changed => {
                        tracing::warn!(
                            path,
                            files,
                            "detached a file that was rewritten in place: its probes sat at offsets of code that is gone"
                        );
                    }
                }
                self.probes = self.probes.saturating_sub(probes as u64);
                self.instruments.probes.set(self.probes);
            }
            Note::Limited { path, hits_per_second, excluded, limited_files } => {
                tracing::warn!(path, hits_per_second, excluded, "bystander guard: busy processes without LLM traffic lose their probes");
                self.instruments.guard_limits.add(1);
                self.instruments.guard_limited_files.set(limited_files as u64);
            }
            Note::Released { path, limited_files } => {
                tracing::info!(path, "bystander guard: attached for everyone again");
                self.instruments.guard_limited_files.set(limited_files as u64);
            }
            Note::NotCovered { process, report } => {
                tracing::debug!(pid = process.pid.0, reason = report.reason, "not covered");
            }
            Note::Done(ScanRequest::Host) => {
                self.stall.handle_answer();
                self.host_scans = self.host_scans.saturating_add(1);
                self.watcher.handle_host_scanned(Clock::boot_now());
            }
            Note::Done(ScanRequest::Exec(_) | ScanRequest::Process(_) | ScanRequest::Mapped(_) | ScanRequest::Forget(_)) => {
                self.stall.handle_answer();
            }
        }
    }

    fn request_scans(&mut self) {
        while let Some(request) = self.watcher.poll_request() {
            // Of a tree, only what its own execs and forks lead to is looked at. Never answered, so never asked for again.
            if self.scope == Scope::Tree && request == ScanRequest::Host {
                continue;
            }
            if self.scanner.request(request) {
                self.stall.handle_request();
            } else {
                self.watcher.handle_rejected(request, Clock::boot_now());
                break;
            }
        }
    }

    pub(super) fn take_outputs(&mut self, outputs: Vec<Output>) {
        for output in outputs {
            self.take_output(output);
        }
    }

    fn take_output(&mut self, output: Output) {
        match output {
            Output::Call(finished) => self.out.take(&finished, &self.clock, &self.instruments),
            Output::Estimate(call) => {
                let settings = self.pipeline.settings();
                if let Err(call) = self.estimator.offer(call, settings) {
                    self.instruments.dropped(DropReason::EstimateQueueFull, 1);
                    let finished = Pipeline::finish(settings, *call, None);
                    self.out.take(&finished, &self.clock, &self.instruments);
                }
            }
            Output::Notice(notice) => self.take_notice(&notice),
            Output::WhoIs(process) => {
                if !self.resolver.ask(Question::WhoIs(process)) {
                    self.instruments.dropped(DropReason::OwnerQuestion, 1);
                    self.handle_answer(Answer::Owner(process, None));
                }
            }
            Output::Forgotten(flow) => self.tables.forget_session(flow.process, flow.session),
            Output::Verdict { flow, request, verdict } => {
                match verdict {
                    Verdict::Llm | Verdict::LlmHost => self.talkers.handle_talk(flow.process),
                    Verdict::NotLlm | Verdict::Ignore => {}
                }
                if !self.tables.decide(flow.process, flow.session, request, verdict.code()) {
                    self.instruments.dropped(DropReason::VerdictTableFull, 1);
                }
            }
        }
    }

    fn take_notice(&self, notice: &Notice) {
        let reason = match notice.kind {
            NoticeKind::Http2NotDecoded => DropReason::Http2NotDecoded,
            NoticeKind::NotHttp | NoticeKind::Upgraded => DropReason::NotHttp,
            NoticeKind::Malformed(_) => DropReason::HttpMalformed,
        };
        self.instruments.dropped(reason, 1);
        let (pid, process) = (notice.owner.process.pid.0, notice.owner.executable_name.as_deref().unwrap_or("unknown"));
        let server_name = notice.server_name.as_deref().unwrap_or("unknown");
        match notice.kind {
            NoticeKind::Http2NotDecoded if notice.llm_host => {
                tracing::warn!(
                    pid,
                    process,
                    server_name,
                    "HTTP/2 connection to an LLM host: not decoded by this version, its calls are not seen"
                );
            }
            NoticeKind::NotHttp | NoticeKind::Upgraded | NoticeKind::Malformed(_) if notice.llm_host => {
                tracing::warn!(pid, process, server_name, kind = ?notice.kind, "connection to an LLM host cannot be followed");
            }
            NoticeKind::Http2NotDecoded | NoticeKind::NotHttp | NoticeKind::Upgraded | NoticeKind::Malformed(_) => {
                tracing::debug!(pid, process, server_name, kind = ?notice.kind, "connection not followed");
            }
        }
    }

    /// Nobody knows whose call a missed run was: every call under way says so.
    fn read_missed_runs(&mut self) {
        let (runs, grown) = self.missed.read();
        self.instruments.set_missed_runs(&runs);
        if grown {
            tracing::debug!(?runs, "kernel programs missed runs");
            self.pipeline.mark_open_calls(LossCauses::PROGRAM_MISSED);
        }
    }

    /// Sums that others keep, into the instruments.
    fn read_counters(&self) {
        let instruments = &self.instruments;
        for (counter, value) in self.counters.read() {
            instruments.set_kernel(counter, value);
            tracing::trace!(name = counter.as_str(), value, "kernel counter");
        }
        let counters = self.pipeline.counters();
        instruments.records.set(counters.records);
        instruments.record_bytes.set(counters.payload_bytes);
        instruments.lost_bytes.set(counters.lost_bytes);
        instruments.unknown_gaps.set(counters.unknown_gaps);
        instruments.unseen_sessions.set(counters.unseen_sessions);
        instruments.late_attachments.set(counters.late_attachments);
        instruments.calls_marked.set(counters.calls_marked);
        instruments.discarded_bytes.set(counters.discarded_bytes);
        instruments.flows.set(self.pipeline.flows() as u64);
        let watcher = self.watcher.counts();
        for (reason, total) in [
            (DropReason::FlowTableFull, counters.flows_evicted),
            (DropReason::FlowExpired, counters.flows_expired),
            (DropReason::NotLlm, counters.exchanges.unlike),
            (DropReason::TooManyExchanges, counters.exchanges.too_many),
            (DropReason::StreamEventTooLarge, counters.exchanges.dropped_events),
            (DropReason::OwnerUnknown, counters.calls_without_owner),
            (DropReason::OwnerEvicted, counters.owners_evicted),
            (DropReason::ScanRejected, self.scanner.rejected()),
            (DropReason::ScanNotRequested, watcher.requests_dropped),
            (DropReason::ScanNotFollowed, watcher.young_full),
        ] {
            instruments.set_dropped(reason, total);
        }
    }

    pub const fn scope(&self) -> Scope {
        self.scope
    }

    pub fn config(&self) -> &Config {
        &self.config
    }
}

/// One record into everything that wants to know of it.
fn feed(
    event: &Event<'_>,
    pipeline: &mut Pipeline,
    tables: &KernelTables,
    watcher: &mut Watcher,
    talkers: &mut Talkers,
    hidden: &mut HiddenTrees,
    outputs: &mut Vec<Output>,
) {
    let (process, time) = (event.process, event.time);
    match event.body {
        EventBody::Exec => watcher.handle_exec(process, time),
        EventBody::Fork { parent } => {
            hidden.handle_fork(process, parent);
            watcher.handle_fork(process, time);
            // It maps what its parent maps, but has none of its parent's probes where those are for single processes.
            if talkers.handle_fork(parent, process) {
                watcher.handle_first_data(process, time);
            }
        }
        EventBody::Exit => {
            hidden.handle_exit(process);
            watcher.handle_exit(process, time);
            talkers.handle_exit(process);
        }
        // Somebody else reports these.
        EventBody::Data { .. } | EventBody::SessionEnd { .. } | EventBody::WriteShutdown { .. } | EventBody::ServerName { .. }
            if hidden.contains(process) =>
        {
            return;
        }
        EventBody::ServerName { name, .. } => {
            if std::str::from_utf8(name).is_ok_and(|name| pipeline.settings().routes.is_llm_host(name)) {
                talkers.handle_talk(process);
            }
        }
        EventBody::Data { .. } | EventBody::SessionEnd { .. } | EventBody::WriteShutdown { .. } => {}
    }
    pipeline.handle_event(event, &mut |flow| final_offsets(tables, flow), &mut |output| outputs.push(output));
}

/// What the kernel's table says of a session whose end it does not tell.
fn final_offsets(tables: &KernelTables, flow: &FlowId) -> Option<FinalOffsets> {
    let session = tables.session(flow.process, flow.session)?;
    let [write, read] = session.offsets;
    Some(FinalOffsets { write, read, causes: session.causes.map(LossCauses::of_kernel) })
}
