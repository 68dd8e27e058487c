//! The event loop: records, notes, finished estimates and time, one after the other.

use std::{future::Future, path::PathBuf, sync::Arc, time::Duration};

use a11i_common::{
    decode::{EventBody, decode},
    event::Counter,
    identity::{BootTime, Pid, ProcessId},
};
use tokio::{
    sync::mpsc,
    time::{MissedTickBehavior, interval},
};

use super::{
    coverage::{Coverage, NOTES, Note},
    estimator::Estimator,
    printer::Printer,
    setup::{self, Scope, StartError},
};
use crate::{
    attach::links::Links,
    capture::{control::KernelTables, features::Features, loader, losses::KernelCounters, ring::RingReader},
    clock::Clock,
    config::{Config, Output as OutputFormat},
    discovery::{
        process::ProcFs,
        scan::Scan,
        scanner::{ScanRequest, Scanner},
        watcher::Watcher,
    },
    export::{
        Exporter, ExporterHandle, ShutdownReport,
        json::json_line,
        pretty::{PrettyStyle, pretty_line},
        resource::ResourceBuilder,
        resource_builder,
        span::{SpanIds, SpanRecord},
    },
    owner::{Owner, cache::OwnerCache, process::OwnerResolver},
    pipeline::{FinishedCall, Notice, NoticeKind, Output, Pipeline},
    telemetry::{DropReason, Instruments},
};

/// How often time passes for the pipeline and records that woke nobody are looked for.
const TICK: Duration = Duration::from_millis(20);

/// Records handled before anything else has its turn.
const RECORDS_PER_TURN: usize = 4096;

/// Ticks between readings of the kernel's counters, the day and the levels: once a second.
const TICKS_PER_HOUSEKEEPING: u64 = 50;

/// Ticks between sweeps of the kernel's session table: once a minute.
const TICKS_PER_SWEEP: u64 = 3_000;

/// What the printer may take to write its last lines.
const LAST_LINES: Duration = Duration::from_secs(1);

/// Totals of a run, for the summary of `exec`.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Summary {
    pub calls: u64,
    pub errors: u64,
    pub incomplete: u64,
    pub input_tokens: u64,
    pub output_tokens: u64,
    pub cost_nano_usd: i64,
    /// Calls without a cost.
    pub unpriced: u64,
    pub export: Option<ShutdownReport>,
}

/// Everything that runs.
pub struct Observer {
    config: Arc<Config>,
    scope: Scope,
    clock: Arc<Clock>,
    instruments: Arc<Instruments>,
    ring: RingReader,
    counters: KernelCounters,
    tables: KernelTables,
    scanner: Scanner,
    notes: mpsc::Receiver<Note>,
    watcher: Watcher,
    proc: ProcFs,
    owners: OwnerCache,
    resolver: OwnerResolver,
    pipeline: Pipeline,
    estimator: Option<Estimator>,
    estimated: mpsc::Receiver<Box<FinishedCall>>,
    out: Outlet,
    host_scans: u64,
    ticks: u64,
}

/// Where calls go.
struct Outlet {
    format: OutputFormat,
    style: PrettyStyle,
    printer: Option<Printer>,
    exporter: Option<ExporterHandle>,
    resources: ResourceBuilder,
    summary: Summary,
}

impl Observer {
    /// Loads, starts every thread and begins to attach. `programs` are scanned before anything else: what is about to run.
    pub fn start(config: Arc<Config>, scope: Scope, instruments: Arc<Instruments>, programs: &[PathBuf]) -> Result<Self, StartError> {
        let features = Features::probe();
        let settings = setup::pipeline_settings(&config, config.content)?;
        let mut ebpf = loader::load(&features, setup::load_settings(&config, scope))?;
        for (missing, consequence) in [
            (!features.btf, "no kernel BTF: processes are told apart by pid alone, forks are not followed"),
            (!features.attach_cookie, "no attach cookies (Linux 5.15): calls do not say which library they came through"),
        ] {
            if missing {
                tracing::warn!(kernel = features.kernel_release, "{consequence}");
            }
        }
        let ring = RingReader::take(&mut ebpf)?;
        let counters = KernelCounters::take(&mut ebpf)?;
        let tables = KernelTables::take(&mut ebpf)?;
        let links = Links::new(ebpf, features.attach_mode(), features.attach_cookie);

        let clock = Arc::new(Clock::new());
        clock.follow_steps();
        let proc = ProcFs::default();
        let (note_sender, notes) = mpsc::channel(NOTES);
        let mut coverage = Coverage::new(links);
        let mut scan = Scan::new(proc.clone());
        for program in programs {
            if let Err(error) = scan.program(program, &mut |report| coverage.handle(report)) {
                tracing::warn!(program = %program.display(), %error, "the program cannot be looked at before it runs");
            }
        }
        let early = coverage.connect(note_sender);
        let scanner = Scanner::spawn(scan, move |report| coverage.handle(report)).map_err(StartError::Thread)?;

        let (estimator, estimated) = Estimator::spawn().map_err(StartError::Thread)?;
        let exporter = config.exports().then(|| Exporter::start(&config, Arc::clone(&clock), Arc::clone(&instruments))).transpose()?;
        let format = match config.output {
            OutputFormat::Auto if config.exports() => OutputFormat::None,
            OutputFormat::Auto => OutputFormat::Pretty,
            chosen @ (OutputFormat::Pretty | OutputFormat::Json | OutputFormat::None) => chosen,
        };
        let printer = (format != OutputFormat::None).then(Printer::spawn).transpose().map_err(StartError::Thread)?;
        let style = PrettyStyle::detect(std::io::IsTerminal::is_terminal(&std::io::stdout()), std::env::var("NO_COLOR").ok().as_deref());
        let boot_unix_nanos = clock.unix_nanos(BootTime(0));
        let resources = resource_builder(&config);
        let mut observer = Self {
            scope,
            ring,
            counters,
            tables,
            scanner,
            notes,
            watcher: Watcher::new(Clock::boot_now()),
            resolver: OwnerResolver::new(proc.clone(), boot_unix_nanos),
            proc,
            owners: OwnerCache::default(),
            pipeline: Pipeline::new(settings),
            estimator: Some(estimator),
            estimated,
            out: Outlet { format, style, printer, exporter, resources, summary: Summary::default() },
            host_scans: 0,
            ticks: 0,
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
    pub fn watch(&mut self, pid: Pid) -> Result<(), aya::maps::MapError> {
        self.tables.watch(pid)
    }

    /// Runs until everything that was there at the start has its probes.
    pub async fn cover_host(&mut self) {
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
                Some(note) = self.notes.recv() => self.handle_note(note),
                Some(finished) = self.estimated.recv() => self.out.take(&finished, &self.clock, &self.instruments),
                _ = tick.tick() => self.handle_tick(),
                readable = self.ring.readable() => {
                    if let Err(error) = readable {
                        tracing::error!(%error, "the ring buffer cannot be waited for; it is still read every {TICK:?}");
                    }
                    self.drain();
                }
            }
            self.request_scans();
            if or_covered && self.host_scans > 0 {
                return;
            }
        }
    }

    /// Reads what is left, ends every call that is open, flushes.
    pub async fn finish(mut self, within: Duration) -> Summary {
        while self.drain() == RECORDS_PER_TURN {}
        let now = Clock::boot_now();
        let mut outputs = Vec::new();
        self.pipeline.shutdown(now, &mut |output| outputs.push(output));
        for output in outputs {
            self.take_output(output);
        }
        // The estimator ends when nobody can ask it any more; then its answers end.
        drop(self.estimator.take());
        let answers = async {
            while let Some(finished) = self.estimated.recv().await {
                self.out.take(&finished, &self.clock, &self.instruments);
            }
        };
        if tokio::time::timeout(within, answers).await.is_err() {
            tracing::warn!("calls whose tokens were being counted are lost: the time for shutting down is over");
        }
        self.read_kernel_counters();
        if let Some(exporter) = self.out.exporter.take() {
            self.out.summary.export = Some(exporter.shutdown(within).await);
        }
        if let Some(printer) = self.out.printer.take() {
            printer.finish(LAST_LINES);
        }
        self.out.summary
    }

    /// Hands waiting records to the pipeline, a bounded number; how many there were.
    fn drain(&mut self) -> usize {
        let Self { ring, pipeline, owners, resolver, watcher, instruments, .. } = self;
        let mut outputs = Vec::new();
        let count = ring.drain(RECORDS_PER_TURN, |record| {
            let event = match decode(record) {
                Ok(event) => event,
                Err(error) => {
                    instruments.dropped(DropReason::RecordMalformed, 1);
                    tracing::debug!(%error, "a record does not decode");
                    return;
                }
            };
            let (process, time) = (event.process, event.time);
            match event.body {
                EventBody::Exec => {
                    owners.handle_exec(process, |id| resolver.resolve(id));
                    watcher.handle_exec(process, time);
                }
                EventBody::Fork { .. } => watcher.handle_fork(process, time),
                EventBody::Exit
                | EventBody::Data { .. }
                | EventBody::SessionEnd { .. }
                | EventBody::WriteShutdown { .. }
                | EventBody::ServerName { .. } => {}
            }
            pipeline.handle_event(&event, &mut |id| resolve(owners, resolver, id), &mut |output| outputs.push(output));
            if event.body == EventBody::Exit {
                owners.handle_exit(process, time);
                watcher.handle_exit(process, time);
            }
        });
        for output in outputs {
            self.take_output(output);
        }
        count
    }

    fn handle_tick(&mut self) {
        let now = Clock::boot_now();
        // Only when everything older is read may `now` turn a hole into a gap.
        if self.drain() < RECORDS_PER_TURN {
            let mut outputs = Vec::new();
            self.pipeline.handle_timeout(now, &mut |output| outputs.push(output));
            for output in outputs {
                self.take_output(output);
            }
        }
        self.watcher.handle_timeout(now);
        self.owners.handle_timeout(now);
        self.ticks = self.ticks.wrapping_add(1);
        if self.ticks.is_multiple_of(TICKS_PER_HOUSEKEEPING) {
            self.read_kernel_counters();
            self.pipeline.settings_mut().cost.today = setup::today();
        }
        if self.ticks.is_multiple_of(TICKS_PER_SWEEP) {
            let proc = &self.proc;
            let swept = self.tables.sweep_sessions(|pid| proc.stat(pid).is_ok());
            tracing::debug!(swept, "sessions of ended processes swept");
        }
    }

    fn handle_note(&mut self, note: Note) {
        match note {
            Note::Attached { path, library, probes, files } => {
                tracing::info!(path, library = library.as_str(), probes, files, "attached");
                self.instruments.probes.add(probes as u64);
            }
            Note::AttachFailed { path, error } => {
                tracing::warn!(path, %error, "not attached: calls through this file are not seen");
                self.instruments.attach_failures.add(1);
            }
            Note::Detached { files } => tracing::info!(files, "detached a file that nobody uses any more"),
            Note::NotCovered { process, reason } => {
                tracing::debug!(pid = process.pid.0, %reason, "not covered");
            }
            Note::Done(ScanRequest::Host) => {
                self.host_scans = self.host_scans.saturating_add(1);
                self.watcher.handle_host_scanned(Clock::boot_now());
            }
            Note::Done(ScanRequest::Exec(_) | ScanRequest::Process(_) | ScanRequest::Forget(_)) => {}
        }
    }

    fn request_scans(&mut self) {
        while let Some(request) = self.watcher.poll_request() {
            if !self.scanner.request(request) {
                self.watcher.handle_rejected(request, Clock::boot_now());
                break;
            }
        }
    }

    fn take_output(&mut self, output: Output) {
        match output {
            Output::Call(finished) => self.out.take(&finished, &self.clock, &self.instruments),
            Output::Estimate(call) => {
                let settings = self.pipeline.settings();
                let refused = match &self.estimator {
                    Some(estimator) => estimator.offer(call, settings).err(),
                    None => Some(call),
                };
                if let Some(call) = refused {
                    self.instruments.dropped(DropReason::EstimateQueueFull, 1);
                    let finished = Pipeline::finish(settings, *call, None);
                    self.out.take(&finished, &self.clock, &self.instruments);
                }
            }
            Output::Notice(notice) => self.take_notice(&notice),
            Output::Forgotten(flow) => self.tables.forget_session(flow.process.pid, flow.session.session),
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
            kind => tracing::debug!(pid, process, server_name, ?kind, "connection not followed"),
        }
    }

    fn read_kernel_counters(&self) {
        let values = self.counters.read();
        for ((counter, name), (_, value)) in Counter::ALL.iter().zip(&values) {
            self.instruments.set_kernel(*counter, *value);
            tracing::trace!(name, value, "kernel counter");
        }
        let counters = self.pipeline.counters();
        self.instruments.records.set(counters.records);
        self.instruments.record_bytes.set(counters.payload_bytes);
        self.instruments.lost_bytes.set(counters.skipped_bytes);
        self.instruments.flows.set(self.pipeline.flows() as u64);
    }

    pub const fn scope(&self) -> Scope {
        self.scope
    }

    pub fn config(&self) -> &Config {
        &self.config
    }
}

impl Outlet {
    fn take(&mut self, finished: &FinishedCall, clock: &Clock, instruments: &Instruments) {
        let redacted = &finished.call;
        let call = redacted.call();
        instruments.calls.add(1);
        if !call.completeness.is_whole() {
            instruments.incomplete_calls.add(1);
            self.summary.incomplete = self.summary.incomplete.saturating_add(1);
        }
        if call.usage.source == crate::call::UsageSource::Estimated {
            instruments.estimated_calls.add(1);
        }
        if let Some(miss) = &finished.price_miss {
            instruments.dropped(DropReason::PriceMiss, 1);
            tracing::debug!(
                provider = miss.provider.as_str(),
                model = miss.model.as_deref().unwrap_or("none"),
                reason = miss.reason.as_str(),
                "no price"
            );
        }
        self.summary.add(finished);
        let ids = SpanIds::of(call);
        let line = match self.format {
            OutputFormat::Json => Some(json_line(&SpanRecord::new(redacted, ids, clock.offset(), &self.resources), None)),
            OutputFormat::Pretty => Some(pretty_line(redacted, clock.offset(), self.style)),
            OutputFormat::Auto | OutputFormat::None => None,
        };
        if let (Some(line), Some(printer)) = (line, &self.printer)
            && !printer.print(line)
        {
            instruments.dropped(DropReason::PrinterBehind, 1);
        }
        if let Some(exporter) = &self.exporter {
            exporter.offer(redacted, ids);
        }
    }
}

impl Summary {
    fn add(&mut self, finished: &FinishedCall) {
        let call = finished.call.call();
        self.calls = self.calls.saturating_add(1);
        self.errors = self.errors.saturating_add(u64::from(call.outcome.error_type.is_some()));
        self.input_tokens = self.input_tokens.saturating_add(call.usage.input_tokens.unwrap_or(0));
        self.output_tokens = self.output_tokens.saturating_add(call.usage.output_tokens.unwrap_or(0));
        match finished.call.cost() {
            Some(cost) => self.cost_nano_usd = self.cost_nano_usd.saturating_add(cost.total.0),
            None => self.unpriced = self.unpriced.saturating_add(1),
        }
    }
}

fn resolve(owners: &mut OwnerCache, resolver: &OwnerResolver, id: ProcessId) -> Arc<Owner> {
    owners.owner(id, |id| resolver.resolve(id))
}
