//! The files that a process maps: each is opened, analysed and reported, or not covered with a reason, or left for a later look.

use std::{
    collections::{HashMap, HashSet},
    os::unix::ffi::OsStrExt,
    sync::Arc,
};

use a11i_common::identity::{Pid, ProcessId};

use super::{
    super::{
        elf::ElfError,
        evidence::Evidence,
        file::{Device, FileId, OpenError},
        files::{Analysed, Place, Refused},
        maps::{Mapping, Mappings},
        reported::key_of,
        scanner::{Candidate, NotCovered, ScanReport},
    },
    KnownProcess, Mapped, Scan,
    deep::Turn,
    soname_prefixes,
    stated::{Neighbours, states_for_others},
};
use crate::{attach::Depth, clock::Clock};

/// What became of one mapped file.
struct Outcome {
    reports: Vec<ScanReport>,
    /// Not to be looked at again for this process.
    is_final: bool,
    /// But for its code, which waits.
    waits: Option<FileId>,
}

impl Outcome {
    const fn done(reports: Vec<ScanReport>) -> Self {
        Self { reports, is_final: true, waits: None }
    }

    const fn later(reports: Vec<ScanReport>) -> Self {
        Self { reports, is_final: false, waits: None }
    }
}

impl Scan {
    /// `false`: some of them are to be looked at again.
    pub(super) fn mapped_files(
        &mut self,
        process: ProcessId,
        known: &mut KnownProcess,
        mappings: Mappings,
        found: &mut Vec<ScanReport>,
    ) -> bool {
        if !mappings.truncated {
            known.forget_unmapped(&mappings.files);
        }
        let empty = self.still_empty(process.pid, known, &mappings.files);
        // Those that most likely matter go first, before a budget is used up.
        let (first, rest): (Vec<Mapping>, Vec<Mapping>) = mappings.files.into_iter().partition(is_tls_name);
        let stating: Vec<Mapping> = rest.iter().filter(|mapping| states_for_others(mapping)).cloned().collect();
        let mut all = true;
        for mapping in first.into_iter().chain(rest) {
            let key = (mapping.device, mapping.inode);
            if known.files.contains(&key) {
                continue;
            }
            if empty.contains(&key) {
                known.files.insert(key);
                continue;
            }
            let Outcome { reports, is_final, waits } = self.mapped_file(process, known.namespace, &mapping);
            if let Some(ScanReport::Found { candidate, .. }) = reports.iter().find(|report| matches!(report, ScanReport::Found { .. })) {
                self.stated.ask(candidate, known.namespace, &Neighbours::Mapped(process.pid, &stating));
                known.found.push(Mapped { mapping, file: key_of(&candidate.file.id()) });
            }
            if let Some(id) = waits {
                known.deep.insert(id, key);
            }
            if is_final {
                known.files.insert(key);
                found.extend(reports);
            } else {
                all = false;
                if !reports.is_empty() && known.said.insert(key) {
                    found.extend(reports);
                }
            }
        }
        all
    }

    /// Files that were found empty and are still the same ones: an inode number alone may be another file's by now.
    fn still_empty(&mut self, pid: Pid, known: &KnownProcess, mappings: &[Mapping]) -> HashSet<(Device, u64)> {
        let mut by_device: HashMap<Device, Vec<(Mapping, FileId)>> = HashMap::new();
        for mapping in mappings.iter().filter(|mapping| !known.files.contains(&(mapping.device, mapping.inode))) {
            if let Some(version) = self.empty.version(mapping.device, mapping.inode) {
                by_device.entry(mapping.device).or_default().push((mapping.clone(), version));
            }
        }
        let mut same = HashSet::new();
        for (device, files) in by_device {
            let proc = self.proc.clone();
            let compare = move || {
                let is_same = |(mapping, version): (Mapping, FileId)| (mapping.inode, proc.mapped_version(pid, &mapping) == Some(version));
                files.into_iter().map(is_same).collect::<Vec<_>>()
            };
            // Without an answer each of them is tried to be opened, which says so.
            for (inode, is_same) in self.files.within_time(Place::Device(device), known.namespace, compare).unwrap_or_default() {
                if is_same {
                    same.insert((device, inode));
                } else {
                    self.empty.remove(device, inode);
                }
            }
        }
        same
    }

    fn mapped_file(&mut self, process: ProcessId, namespace: u64, mapping: &Mapping) -> Outcome {
        let not_covered = |reason| ScanReport::NotCovered { process, reason };
        let path = mapping.path.clone();
        if self.proc.is_on_fuse(process.pid, mapping.device, &mut self.mounts) {
            return Outcome::done(vec![not_covered(NotCovered::Unopened { path: path.clone(), source: OpenError::Fuse { path } })]);
        }
        let (proc, which) = (self.proc.clone(), mapping.clone());
        let open = move || proc.open_located(process.pid, &which);
        let file = match self.files.open(Place::Device(mapping.device), namespace, Clock::boot_now(), open) {
            Ok(file) => file,
            Err(Refused::Open(source)) => {
                let is_final = !source.may_pass();
                // Unmapped or ended meanwhile; every library that is not TLS would be named here.
                let usual = matches!(source, OpenError::Io { .. } | OpenError::OtherFile { .. } | OpenError::NotRegular { .. });
                let said = !usual || is_tls_name(mapping) || self.is_program(process.pid, mapping);
                let reports = said.then(|| not_covered(NotCovered::Unopened { path, source })).into_iter().collect();
                return Outcome { reports, is_final, waits: None };
            }
            Err(Refused::Unanswered(source)) => {
                return Outcome::later(vec![not_covered(NotCovered::Unanswered { path, source: Arc::new(source) })]);
            }
            Err(Refused::OverBudget) if is_tls_name(mapping) => return Outcome::later(vec![not_covered(NotCovered::OverBudget { path })]),
            Err(Refused::OverBudget) => return Outcome::later(Vec::new()),
        };
        let turn = self.deep.turn(&file);
        let (file, analysis, is_stable, depth) = match self.files.analyse_to(file, namespace, turn.depth()) {
            Ok(Analysed { file, analysis, is_stable, depth }) => (file, analysis, is_stable, depth),
            Err(source) => return Outcome::later(vec![not_covered(NotCovered::Unanswered { path, source: Arc::new(source) })]),
        };
        if !is_stable {
            return Outcome::later(vec![not_covered(NotCovered::BeingWritten { path })]);
        }
        let analysis = match analysis {
            Ok(analysis) => analysis,
            Err(source @ ElfError::Read(_)) => {
                let said = is_tls_name(mapping) || self.is_program(process.pid, mapping);
                return Outcome::later(
                    said.then(|| not_covered(NotCovered::Unreadable { path, source: Arc::new(source) })).into_iter().collect(),
                );
            }
            // Data mapped executable is no library; a file named like one that cannot be read is worth a word.
            Err(_) if !is_tls_name(mapping) => return Outcome::done(Vec::new()),
            Err(source) => return Outcome::done(vec![not_covered(NotCovered::Unreadable { path, source: Arc::new(source) })]),
        };
        let is_whole = depth == Depth::Whole;
        let waits = (!is_whole).then(|| file.id());
        if let (false, Turn::MayWait(held)) = (is_whole, turn) {
            let is_program = self.is_program(process.pid, mapping);
            self.deep.push(held, mapping, namespace, is_program, is_program || is_tls_name(mapping));
        }
        if is_whole && analysis.is_empty() {
            self.empty.add(mapping.device, mapping.inode, file.id());
            return Outcome::done(Vec::new());
        }
        let unsupported = |evidence: &Evidence| not_covered(NotCovered::Unsupported { path: path.clone(), evidence: *evidence });
        // What is missing is said when all was looked at.
        let mut reports: Vec<_> = analysis.evidence.iter().filter(|_| is_whole).map(unsupported).collect();
        if !analysis.plans.is_empty() {
            let (file, analysis) = self.report_version(file, analysis, &mut |report| reports.push(report));
            reports.push(ScanReport::Found { process, candidate: Candidate { file, path, analysis } });
        }
        Outcome { waits, ..Outcome::done(reports) }
    }

    /// The process runs this very file, which may have TLS linked in whatever its name.
    fn is_program(&self, pid: Pid, mapping: &Mapping) -> bool {
        self.proc.exe(pid).is_ok_and(|program| program == mapping.path)
    }
}

impl KnownProcess {
    /// What was unmapped may come back as another file with the same inode number.
    pub(super) fn forget_unmapped(&mut self, mappings: &[Mapping]) {
        let mapped: HashSet<_> = mappings.iter().map(|mapping| (mapping.device, mapping.inode)).collect();
        self.files.retain(|key| mapped.contains(key));
        self.deep.retain(|_, key| mapped.contains(key));
        self.found.retain(|found| mapped.contains(&(found.mapping.device, found.mapping.inode)));
    }
}

fn is_tls_name(mapping: &Mapping) -> bool {
    let name = mapping.file_name().as_bytes();
    soname_prefixes().iter().any(|prefix| name.starts_with(prefix.as_bytes()))
}
