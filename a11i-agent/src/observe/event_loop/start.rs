//! From a configuration to everything that runs: kernel half, threads, tables, outlets.

use std::{collections::HashSet, path::PathBuf, sync::Arc};

use a11i_common::identity::BootTime;
use tokio::sync::mpsc;

use super::{
    super::{
        admin::Admin,
        brake::Brake,
        coverage::{COMMANDS, Coverage, Equipment, Inboxes, NOTES, Recognised, Talkers},
        estimator::Estimator,
        outlet::{Outlet, Summary},
        printer::Printer,
        resolver::Resolver,
        setup::{self, Scope, StartError},
        stall::StallWatch,
        tally::ProcessTally,
        unseen::UnseenTls,
    },
    Observer,
};
use crate::{
    attach::links::Links,
    capture::{
        control::KernelTables,
        features::Features,
        hits::HitTable,
        loader::{self, Loaded},
        losses::KernelCounters,
        missed::MissedRuns,
        mmap_events::{MmapBuffers, MmapEvents, MmapEventsError},
        probation::ProbationTables,
        ring::RingReader,
        sockets::SocketStanding,
        switch::CaptureSwitch,
    },
    clock::Clock,
    config::{Config, Output as OutputFormat},
    contain,
    discovery::{process::ProcFs, scan::Scan, scanner::Scanner, watcher::Watcher},
    export::{Exporter, pretty::PrettyStyle, resource_builder},
    owner::process::OwnerResolver,
    pipeline::{Pipeline, PipelineSettings},
    telemetry::Instruments,
};

/// The kernel half is loaded; nobody's program was looked at yet and nothing is attached. Between this and [`Self::observe`] the agent gives
/// up what it no longer needs.
pub struct Prepared {
    config: Arc<Config>,
    scope: Scope,
    settings: PipelineSettings,
    ring: RingReader,
    counters: KernelCounters,
    missed: MissedRuns,
    tables: KernelTables,
    brake: Brake,
    sockets: SocketStanding,
    mappings: Result<MmapBuffers, MmapEventsError>,
    equipment: Equipment,
}

impl Prepared {
    /// Loads. `mappings`: as they could be opened before capabilities were given up.
    ///
    /// # Errors
    /// Why this host cannot be observed.
    pub fn load(config: Arc<Config>, scope: Scope, mappings: Result<MmapBuffers, MmapEventsError>) -> Result<Self, StartError> {
        contain::keep_memory_private().say();
        if scope == Scope::Host {
            // Handed on to the command that `exec` starts: there it waits until that has begun.
            contain::no_core_files().say();
        }
        setup::allow_many_descriptors(scope);
        let features = Features::once();
        let settings = setup::pipeline_settings(&config, config.content)?;
        let Loaded { mut ebpf, socket_problem } = loader::load(features, setup::load_settings(&config, scope))?;
        let sockets = SocketStanding::of(config.capture.sockets, features, socket_problem.as_ref());
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
        let brake = Brake::new(CaptureSwitch::take(&mut ebpf)?);
        setup::presume(&mut tables, &settings.routes);
        let missed = MissedRuns::of(&ebpf);
        let hits = HitTable::take(&mut ebpf)?;
        let probation = ProbationTables::take(&mut ebpf)?;
        let equipment = Equipment {
            links: Links::new(ebpf, features),
            hits,
            probation,
            counters: counters_of_guard,
            hazards: features.hazards,
            hits_per_second: config.guard.hits_per_second,
        };
        Ok(Self { config, scope, settings, ring, counters, missed, tables, brake, sockets, mappings, equipment })
    }

    /// The emergency brake.
    pub fn brake(&self) -> Brake {
        self.brake.clone()
    }

    /// Starts every thread and begins to attach. `programs` are scanned before anything else: what is about to run.
    ///
    /// # Errors
    /// What cannot be started.
    pub fn observe(self, instruments: Arc<Instruments>, programs: &[PathBuf]) -> Result<Observer, StartError> {
        let Self { config, scope, settings, ring, counters, missed, tables, brake, sockets, mappings, equipment } = self;
        let admin = Admin::new(brake);
        let clock = Arc::new(Clock::new());
        clock.follow_steps();
        let proc = ProcFs::default();
        let (note_sender, notes) = mpsc::channel(NOTES);
        let (talkers, talker_inbox) = Talkers::new();
        let (commands, command_inbox) = mpsc::channel(COMMANDS);
        let (recognised, recognised_inbox) = Recognised::new();
        let inboxes = Inboxes { commands: command_inbox, talkers: talker_inbox, recognised: recognised_inbox };
        let mut coverage = Coverage::new(equipment, proc.clone(), inboxes);
        let mut scan = Scan::new(proc.clone());
        let begun = Clock::boot_now();
        let mut watcher = if scope == Scope::Tree { Watcher::of_tree(begun) } else { Watcher::new(begun) };
        let mappings = listen_to_mappings(mappings, &scan, &mut watcher);
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
        let mut observer = Observer {
            scope,
            ring,
            mappings,
            counters,
            missed,
            tables,
            scanner,
            coverage: commands,
            talkers,
            unseen: UnseenTls::default(),
            recognised,
            sockets,
            notes,
            watcher,
            resolver,
            answers,
            pipeline: Pipeline::new(settings),
            leaving: Vec::new(),
            next_leaving: BootTime(0),
            estimator,
            out: Outlet { format, style, printer, exporter, resources, summary: Summary::default(), tally: ProcessTally::default() },
            stall: StallWatch::default(),
            host_scans: 0,
            probes: 0,
            more: false,
            ended: HashSet::new(),
            last_tick: Clock::boot_now(),
            last_traffic: BootTime(0),
            next_housekeeping: BootTime(0),
            last_sweep: Clock::boot_now(),
            ends_missed: false,
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
}

/// Listens to mappings of code; where that cannot be, young processes are looked at again and again.
fn listen_to_mappings(buffers: Result<MmapBuffers, MmapEventsError>, scan: &Scan, watcher: &mut Watcher) -> Option<MmapEvents> {
    match buffers.and_then(MmapEvents::listen) {
        Ok(events) => {
            watcher.listen_to_mappings(scan.empty_files());
            Some(events)
        }
        Err(error) => {
            tracing::warn!(%error, "libraries that are loaded late are found by looking again, up to five seconds later");
            None
        }
    }
}
