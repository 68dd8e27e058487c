//! What the operator asks of the running agent, answered by the event loop. Whatever takes longer than a moment is done elsewhere and
//! comes back as a [`Step`].

use std::{collections::BTreeMap, sync::Arc, time::Duration};

use a11i_common::{
    event::cause,
    identity::{BootTime, Pid, ProcessId},
};
use tokio::{
    sync::{mpsc, oneshot},
    task::spawn_blocking,
    time::timeout,
};

use super::{
    brake::Brake,
    command::{CoverageCommand, CoverageReport, Progress},
    event_loop::{Observer, RECORDS_PER_TURN},
    hidden::{HiddenTrees, Hider},
    reload::{take_over, take_over_settings},
    setup, unseen,
};
use crate::{
    admin::{Asked, Reply, Request, Status},
    call::LossCauses,
    clock::Clock,
    config::{Config, Mistakes},
    discovery::process::ProcFs,
    pipeline::PipelineSettings,
    sampling::Sampler,
    telemetry::{Readiness, logging},
};

/// How long the coverage thread may take for a report: it answers between two looks at files of others.
const REPORT_TIME: Duration = Duration::from_secs(10);

/// Steps under way to the event loop; who reports one can wait.
const STEPS: usize = 64;

/// Reads the configuration as the start did.
pub type ReadConfig = Arc<dyn Fn() -> Result<Config, Mistakes> + Send + Sync>;

/// What joins the event loop with its operator.
pub struct AdminLink {
    pub asked: mpsc::Receiver<Asked>,
    pub readiness: Readiness,
    pub read_config: ReadConfig,
}

/// The event loop's part.
pub(super) struct Admin {
    link: Option<AdminLink>,
    pub(super) brake: Brake,
    pub(super) hidden: HiddenTrees,
    hiders: u64,
    steps: mpsc::Sender<Step>,
    taken: mpsc::Receiver<Step>,
}

/// Something for the event loop to do.
pub(super) enum Event {
    Asked(Asked),
    Step(Step),
}

pub(super) enum Step {
    /// Every link is closed.
    LinksClosed {
        replies: mpsc::Sender<Reply>,
    },
    /// Every link is back; copying may go on unless the brake was pulled after `epoch`.
    LinksBack {
        epoch: u64,
        replies: mpsc::Sender<Reply>,
    },
    /// The coverage thread did not do what it was asked.
    Failed {
        replies: mpsc::Sender<Reply>,
    },
    /// Descendants that were there before their root was hidden.
    HideAlso {
        by: Hider,
        /// Before they were looked up.
        at: BootTime,
        processes: Vec<ProcessId>,
        replies: mpsc::Sender<Reply>,
    },
    Reveal {
        by: Hider,
    },
    Reloaded {
        read: Result<Box<(Config, PipelineSettings)>, String>,
        replies: mpsc::Sender<Reply>,
    },
}

impl Admin {
    pub(super) fn new(brake: Brake) -> Self {
        let (steps, taken) = mpsc::channel(STEPS);
        Self { link: None, brake, hidden: HiddenTrees::default(), hiders: 0, steps, taken }
    }

    /// The next thing to do; waits for it. Nothing is lost when the wait is given up.
    pub(super) async fn next(&mut self) -> Event {
        let asked = async {
            match &mut self.link {
                Some(link) => link.asked.recv().await,
                None => None,
            }
        };
        tokio::select! {
            biased;
            Some(step) = self.taken.recv() => Event::Step(step),
            Some(asked) = asked => Event::Asked(asked),
            // `self.steps` lives as long as this: one of the two waits for ever.
            else => std::future::pending().await,
        }
    }

    fn show(&self) {
        if let Some(link) = &self.link {
            link.readiness.set_switched_off(self.brake.is_pulled());
        }
    }
}

impl Observer {
    /// From now on the operator's requests are answered.
    pub fn connect_admin(&mut self, link: AdminLink) {
        self.admin.link = Some(link);
    }

    pub(super) fn handle_admin(&mut self, event: Event) {
        match event {
            Event::Asked(Asked { request, replies }) => match request {
                Request::Processes => self.report(replies),
                Request::Status => answer(&replies, Reply::Status(self.status())),
                Request::Detach => self.detach(&replies),
                Request::Attach => self.attach(&replies),
                Request::Sampling { ratio } => answer(&replies, self.set_sampling(ratio)),
                Request::Reload => self.read_config(replies),
                Request::Hide { pid } => self.hide(Pid(pid), replies),
            },
            Event::Step(step) => self.handle_step(step),
        }
    }

    fn handle_step(&mut self, step: Step) {
        match step {
            Step::LinksClosed { replies } => {
                tracing::warn!("detached: nothing is copied and no probe is left; `a11i control attach` brings both back");
                answer(&replies, Reply::done("detached: nothing is copied, no probe is left"));
            }
            Step::LinksBack { epoch, replies } => answer(&replies, self.copy_again(epoch)),
            Step::Failed { replies } => {
                answer(&replies, Reply::refused("the thread that attaches did not answer; whether anything is copied: `a11i processes`"));
            }
            Step::HideAlso { by, at, processes, replies } => {
                for process in processes {
                    self.admin.hidden.hide(process, at, by);
                }
                answer(&replies, Reply::done("hidden"));
            }
            Step::Reveal { by } => {
                // What was written while it was hidden is not for us to report.
                self.drain_all(self.ring_records());
                for flow in self.admin.hidden.reveal(by) {
                    self.tables.forget_session(flow.process, flow.session);
                }
            }
            Step::Reloaded { read, replies } => answer(&replies, self.apply(read)),
        }
    }

    fn status(&self) -> Status {
        let kernel: BTreeMap<String, u64> = self.counters.read().map(|(counter, value)| (counter.as_str().to_owned(), value)).collect();
        Status {
            pid: std::process::id(),
            version: env!("CARGO_PKG_VERSION").to_owned(),
            phase: self.admin.link.as_ref().map_or_else(String::new, |link| link.readiness.phase().as_str().to_owned()),
            switched_off: self.admin.brake.is_pulled(),
            probes: self.probes,
            calls: self.instruments.calls.value(),
            incomplete: self.instruments.incomplete_calls.value(),
            hidden_processes: self.admin.hidden.len(),
            sampling_ratio: self.out.exporter.as_ref().map(|exporter| exporter.sampler().ratio),
            sockets: self.sockets.clone(),
            late_attachments: self.pipeline.counters().late_attachments,
            lost_bytes: self.pipeline.counters().lost_bytes,
            kernel,
        }
    }

    fn report(&self, replies: mpsc::Sender<Reply>) {
        let (status, tally, missed) = (self.status(), self.out.tally.clone(), self.unseen.missed());
        let (done, report) = oneshot::channel();
        if self.coverage.try_send(CoverageCommand::Report { done }).is_err() {
            return answer(&replies, Reply::refused("the thread that attaches is busy; ask again"));
        }
        tokio::spawn(async move {
            let reply = match timeout(REPORT_TIME, report).await {
                Ok(Ok(mut coverage)) => {
                    tally.complete(&mut coverage);
                    unseen::complete(missed, &mut coverage);
                    name_programs(&mut coverage, &ProcFs::default());
                    Reply::Processes { status, coverage }
                }
                Ok(Err(_)) | Err(_) => Reply::refused("the thread that attaches does not answer: a file it looks at stands still"),
            };
            answer(&replies, reply);
        });
    }

    /// Copying has been stopped by whoever took the request; here, everything that was under way is brought to its end.
    fn detach(&mut self, replies: &mpsc::Sender<Reply>) {
        // Once more: another request may have released it since.
        if let Err(error) = self.admin.brake.pull() {
            tracing::error!(%error, "copying cannot be switched off by its switch; the probes are closed");
        }
        self.admin.show();
        self.instruments.switched_off.set(1);
        self.drain_all(self.ring_records());
        self.end_flows();
        let (progress, done) = self.coverage_channels(replies, |replies| Step::LinksClosed { replies });
        self.command(CoverageCommand::DetachAll { progress, done }, replies);
    }

    /// Nothing is copied until the probes are back and the sessions of the time before are forgotten.
    fn attach(&mut self, replies: &mpsc::Sender<Reply>) {
        let epoch = self.admin.brake.epoch();
        self.tables.forget_all_sessions();
        let (progress, done) = self.coverage_channels(replies, move |replies| Step::LinksBack { epoch, replies });
        self.command(CoverageCommand::AttachAll { progress, done }, replies);
    }

    fn copy_again(&mut self, epoch: u64) -> Reply {
        // Probes made sessions of what they saw while nothing was copied: connections begin anew, as at the agent's start.
        self.drain_all(self.ring_records());
        self.end_flows();
        self.tables.forget_all_sessions();
        let released = self.admin.brake.release(epoch);
        self.admin.show();
        self.instruments.switched_off.set(u64::from(self.admin.brake.is_pulled()));
        match released {
            Ok(true) => {
                tracing::info!("attached again");
                Reply::done("attached: the probes are back")
            }
            Ok(false) => Reply::refused("it was detached again meanwhile"),
            Err(error) => Reply::refused(&error),
        }
    }

    /// Every flow ends here: what was under way says that it was switched off.
    fn end_flows(&mut self) {
        let mut outputs = Vec::new();
        self.pipeline.interrupt(LossCauses::of_kernel(cause::SWITCHED_OFF), Clock::boot_now(), &mut |output| outputs.push(output));
        self.take_outputs(outputs);
    }

    /// Reads what was written so far; what comes meanwhile is not waited for.
    pub(super) fn drain_all(&mut self, most: usize) {
        let mut left = most;
        while self.drain() == RECORDS_PER_TURN && left > 0 {
            left = left.saturating_sub(RECORDS_PER_TURN);
        }
    }

    fn command(&mut self, command: CoverageCommand, replies: &mpsc::Sender<Reply>) {
        if self.coverage.try_send(command).is_err() {
            answer(replies, Reply::refused("the thread that attaches is busy; ask again"));
        }
    }

    /// Progress goes to whoever asked, the end becomes a step.
    fn coverage_channels(
        &self,
        replies: &mpsc::Sender<Reply>,
        step: impl FnOnce(mpsc::Sender<Reply>) -> Step + Send + 'static,
    ) -> (mpsc::UnboundedSender<Progress>, oneshot::Sender<()>) {
        // As many as there are files, which is bounded.
        #[expect(clippy::disallowed_methods, reason = "one message per attached file")]
        let (progress, mut told) = mpsc::unbounded_channel();
        let (done, is_done) = oneshot::channel();
        let (steps, replies) = (self.admin.steps.clone(), replies.clone());
        tokio::spawn(async move {
            // Ends when the command's own sender is dropped.
            while let Some(progress) = told.recv().await {
                drop(replies.try_send(Reply::Progress(progress)));
            }
            let step = if is_done.await.is_ok() { step(replies) } else { Step::Failed { replies } };
            drop(steps.send(step).await);
        });
        (progress, done)
    }

    fn set_sampling(&mut self, ratio: f64) -> Reply {
        if !(0.0..=1.0).contains(&ratio) {
            return Reply::refused("a sampling ratio is a number from 0 to 1");
        }
        let Some(exporter) = &self.out.exporter else {
            return Reply::refused("nothing is exported: sampling applies to exported traces");
        };
        let sampler = Sampler { ratio, ..exporter.sampler() };
        exporter.set_sampler(sampler);
        tracing::info!(ratio, "sampling changed");
        Reply::done(format!("{} of all traces are exported from now on, until the next start or reload", sampler.ratio))
    }

    fn read_config(&self, replies: mpsc::Sender<Reply>) {
        let Some(link) = &self.admin.link else { return };
        let (read_config, steps) = (Arc::clone(&link.read_config), self.admin.steps.clone());
        tokio::spawn(async move {
            // Files may be slow, or on another machine.
            let read = spawn_blocking(move || {
                let config = read_config().map_err(|mistakes| mistakes.to_string())?;
                let settings = setup::pipeline_settings(&config, config.content).map_err(|error| error.to_string())?;
                Ok(Box::new((config, settings)))
            });
            let read = read.await.unwrap_or_else(|error| Err(error.to_string()));
            drop(steps.send(Step::Reloaded { read, replies }).await);
        });
    }

    fn apply(&mut self, read: Result<Box<(Config, PipelineSettings)>, String>) -> Reply {
        let (config, settings) = match read {
            Ok(read) => *read,
            Err(mistakes) => {
                tracing::warn!(%mistakes, "the configuration was not taken over");
                return Reply::refused(&format!("nothing was changed: {mistakes}"));
            }
        };
        let mut current = (*self.config).clone();
        let difference = take_over(&mut current, config);
        let before = Arc::clone(&self.pipeline.settings().routes);
        take_over_settings(self.pipeline.settings_mut(), settings);
        setup::presume_instead(&mut self.tables, &before, &self.pipeline.settings().routes);
        if difference.applied.contains(&"log_level") {
            logging::set_level(current.log_level);
        }
        if let Some(exporter) = &self.out.exporter {
            exporter.set_sampler(current.sampler);
        }
        self.config = Arc::new(current);
        tracing::info!(applied = ?difference.applied, needs_restart = ?difference.needs_restart, "configuration read again");
        let names = |names: Vec<&str>| names.into_iter().map(str::to_owned).collect();
        Reply::Reloaded { applied: names(difference.applied), needs_restart: names(difference.needs_restart) }
    }

    /// Forks from now on are followed by the records; what the root had before is looked up.
    fn hide(&mut self, pid: Pid, replies: mpsc::Sender<Reply>) {
        let (proc, at) = (ProcFs::default(), Clock::boot_now());
        let root = match proc.identify(pid) {
            Ok(root) => root,
            Err(error) => return answer(&replies, Reply::refused(&format!("there is no process {}: {error}", pid.0))),
        };
        self.admin.hiders = self.admin.hiders.wrapping_add(1);
        let by = Hider(self.admin.hiders);
        self.admin.hidden.hide(root, at, by);
        let steps = self.admin.steps.clone();
        tokio::spawn(async move {
            let processes = spawn_blocking(move || descendants(&proc, pid)).await.unwrap_or_default();
            drop(steps.send(Step::HideAlso { by, at, processes, replies: replies.clone() }).await);
            replies.closed().await;
            drop(steps.send(Step::Reveal { by }).await);
        });
    }
}

/// Of a process that has none as a rule: `exec` hides its command before it runs, and again when `run` was started anew.
fn descendants(proc: &ProcFs, root: Pid) -> Vec<ProcessId> {
    let pids = proc.pids().unwrap_or_default();
    let stats: Vec<_> = pids.into_iter().filter_map(|pid| proc.stat(pid).ok()).collect();
    let mut found: Vec<ProcessId> = Vec::new();
    let mut parents = vec![root.0];
    while let Some(parent) = parents.pop() {
        // Nobody is its own descendant, whatever a changing /proc looks like.
        let children = stats.iter().filter(|stat| stat.parent == parent && stat.id.pid != root);
        let new: Vec<_> = children.map(|stat| stat.id).filter(|id| !found.contains(id)).collect();
        parents.extend(new.iter().map(|id| id.pid.0));
        found.extend(new);
    }
    found
}

/// Of processes that have something to say and no TLS library that was looked at: those whose calls are without TLS.
fn name_programs(coverage: &mut CoverageReport, proc: &ProcFs) {
    for process in coverage.processes.iter_mut().filter(|process| process.executable.is_none()) {
        let id = ProcessId { pid: Pid(process.pid), start_ticks: process.start_ticks };
        let program = proc.exe(id.pid).ok().filter(|_| proc.is_same(id));
        process.executable = program.map(|path| path.display().to_string());
    }
}

/// Whoever asked may have gone.
fn answer(replies: &mpsc::Sender<Reply>, reply: Reply) {
    if replies.try_send(reply).is_err() {
        tracing::debug!("nobody waits for the answer any more");
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn children_and_grandchildren_are_found() {
        let mut shell = std::process::Command::new("/bin/sh")
            .args(["-c", "sleep 60 & echo $!; wait"])
            .stdout(std::process::Stdio::piped())
            .spawn()
            .unwrap();
        let mut line = String::new();
        std::io::BufRead::read_line(&mut std::io::BufReader::new(shell.stdout.take().unwrap()), &mut line).unwrap();
        let grandchild: u32 = line.trim().parse().unwrap();
        let found = descendants(&ProcFs::default(), Pid(std::process::id()));
        let of_shell = descendants(&ProcFs::default(), Pid(shell.id()));
        let pid = rustix::process::Pid::from_raw(i32::try_from(grandchild).unwrap()).unwrap();
        rustix::process::kill_process(pid, rustix::process::Signal::KILL).unwrap();
        shell.wait().unwrap();
        assert!([shell.id(), grandchild].iter().all(|pid| found.iter().any(|id| id.pid == Pid(*pid))), "{found:?}");
        assert_eq!(of_shell.iter().map(|id| id.pid.0).collect::<Vec<_>>(), [grandchild]);
    }
}
