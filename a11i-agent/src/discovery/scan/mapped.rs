//! The files that a process maps: each is opened, analysed and reported, or not covered with a reason, or left for a later look.

use std::os::unix::ffi::OsStrExt;

use a11i_common::identity::ProcessId;

use super::{
    super::{
        evidence::Evidence,
        file::OpenError,
        files::{Analysed, Place, Refused},
        maps::{Mapping, Mappings},
        scanner::{Candidate, NotCovered, ScanReport},
    },
    KnownProcess, Scan, soname_prefixes,
};
use crate::clock::Clock;

/// What became of one mapped file.
struct Outcome {
    reports: Vec<ScanReport>,
    /// Not to be looked at again for this process.
    is_final: bool,
}

impl Outcome {
    const fn done(reports: Vec<ScanReport>) -> Self {
        Self { reports, is_final: true }
    }

    const fn later(reports: Vec<ScanReport>) -> Self {
        Self { reports, is_final: false }
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
        // Those that most likely matter go first, before a budget is used up.
        let (first, rest): (Vec<Mapping>, Vec<Mapping>) = mappings.files.into_iter().partition(is_tls_name);
        let mut all = true;
        for mapping in first.into_iter().chain(rest) {
            let key = (mapping.device, mapping.inode);
            if known.files.contains(&key) {
                continue;
            }
            let Outcome { reports, is_final } = self.mapped_file(process, known.namespace, &mapping);
            if reports.iter().any(|report| matches!(report, ScanReport::Found { .. })) {
                known.found.push(mapping);
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

    fn mapped_file(&mut self, process: ProcessId, namespace: u64, mapping: &Mapping) -> Outcome {
        if self.empty.contains(mapping.device, mapping.inode, &mapping.path) {
            return Outcome::done(Vec::new());
        }
        let not_covered = |reason| ScanReport::NotCovered { process, reason };
        let path = mapping.path.clone();
        if self.proc.is_on_fuse(process.pid, mapping.device, &mut self.mounts) {
            return Outcome::done(vec![not_covered(NotCovered::Unopened { path: path.clone(), source: OpenError::Fuse { path } })]);
        }
        let (proc, which) = (self.proc.clone(), mapping.clone());
        let open = move || proc.open_located(process.pid, &which);
        let file = match self.files.open(Place::Device(mapping.device), namespace, Clock::boot_now(), open) {
            Ok(file) => file,
            // Unmapped or ended meanwhile; every library that is not TLS would be named here.
            Err(Refused::Open(OpenError::Io { .. } | OpenError::OtherFile { .. } | OpenError::NotRegular { .. }))
                if !is_tls_name(mapping) =>
            {
                return Outcome::done(Vec::new());
            }
            Err(Refused::Open(source)) => return Outcome::done(vec![not_covered(NotCovered::Unopened { path, source })]),
            Err(Refused::Unanswered(source)) => return Outcome::later(vec![not_covered(NotCovered::Unanswered { path, source })]),
            Err(Refused::OverBudget) if is_tls_name(mapping) => return Outcome::later(vec![not_covered(NotCovered::OverBudget { path })]),
            Err(Refused::OverBudget) => return Outcome::later(Vec::new()),
        };
        let (file, analysis, is_stable) = match self.files.analyse(file, namespace) {
            Ok(Analysed { file, analysis, is_stable }) => (file, analysis, is_stable),
            Err(source) => return Outcome::later(vec![not_covered(NotCovered::Unanswered { path, source })]),
        };
        if !is_stable {
            return Outcome::later(vec![not_covered(NotCovered::BeingWritten { path })]);
        }
        let analysis = match analysis {
            Ok(analysis) => analysis,
            // Data mapped executable is no library; a file named like one that cannot be read is worth a word.
            Err(_) if !is_tls_name(mapping) => return Outcome::done(Vec::new()),
            Err(source) => return Outcome::done(vec![not_covered(NotCovered::Unreadable { path, source })]),
        };
        if analysis.is_empty() {
            self.empty.add(mapping.device, mapping.inode, &mapping.path);
            return Outcome::done(Vec::new());
        }
        let unsupported = |evidence: &Evidence| not_covered(NotCovered::Unsupported { path: path.clone(), evidence: *evidence });
        let mut reports: Vec<_> = analysis.evidence.iter().map(unsupported).collect();
        if !analysis.plans.is_empty() {
            self.report_version(file.id(), &analysis, &mut |report| reports.push(report));
            reports.push(ScanReport::Found { process, candidate: Candidate { file, path, analysis } });
        }
        Outcome::done(reports)
    }
}

fn is_tls_name(mapping: &Mapping) -> bool {
    let name = mapping.file_name().as_bytes();
    soname_prefixes().iter().any(|prefix| name.starts_with(prefix.as_bytes()))
}
