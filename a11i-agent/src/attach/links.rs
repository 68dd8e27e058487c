//! Executes plans: one attachment per file, until `observe::coverage` finds it without users for long enough.
//!
//! With `capture` the only place that imports aya. A plan that cannot be executed is a fact about one file, never fatal.

use std::{collections::HashMap, path::Path};

use a11i_common::{
    identity::AttachmentId,
    probe::{self, Operation},
};
use aya::{
    Ebpf,
    programs::{
        ProgramError, UProbe,
        uprobe::{UProbeAttachLocation, UProbeAttachPoint, UProbeLinkId, UProbeScope},
    },
};
use thiserror::Error;

use super::{Probe, ProbeKind, ProbePlan, ProgramName};
use crate::{
    call::CaptureFacts,
    capture::{
        features::AttachMode,
        loader::{MULTI_ENTER, MULTI_LEAVE, MULTI_LIFE, SINGLE_PROGRAMS, SINGLE_RETURN},
    },
    discovery::file::{FileId, OpenedFile},
};

/// Files attached at once: far more TLS libraries than a node has, and a bound on links.
pub const MAX_FILES: usize = 4096;

#[derive(Debug, Error)]
pub enum AttachError {
    #[error("the file changed after it was analysed")]
    Changed,
    #[error("{MAX_FILES} files are attached already")]
    TooManyFiles,
    #[error("the kernel object lacks the program `{0}`")]
    NoProgram(&'static str),
    #[error("the kernel refused `{program}` on {count} functions: {source}")]
    Kernel { program: &'static str, count: usize, source: ProgramError },
}

/// The loaded programs and everything they are attached to. Dropping it detaches all.
pub struct Links {
    ebpf: Ebpf,
    mode: AttachMode,
    has_cookie: bool,
    files: HashMap<FileId, Attached>,
    next_serial: u32,
}

struct Attached {
    id: AttachmentId,
    links: Vec<(&'static str, UProbeLinkId)>,
}

impl Links {
    pub fn new(ebpf: Ebpf, mode: AttachMode, has_cookie: bool) -> Self {
        Self { ebpf, mode, has_cookie, files: HashMap::new(), next_serial: 1 }
    }

    pub fn is_attached(&self, file: &FileId) -> bool {
        self.files.contains_key(file)
    }

    pub fn len(&self) -> usize {
        self.files.len()
    }

    pub fn is_empty(&self) -> bool {
        self.files.is_empty()
    }

    pub const fn programs(&self) -> &Ebpf {
        &self.ebpf
    }

    /// Attaches every probe of the plan to the very file that was analysed, or none. A file attached already keeps its attachment.
    pub fn attach(&mut self, plan: &ProbePlan, file: &OpenedFile) -> Result<AttachmentId, AttachError> {
        if let Some(attached) = self.files.get(&plan.file) {
            return Ok(attached.id);
        }
        if self.files.len() >= MAX_FILES {
            return Err(AttachError::TooManyFiles);
        }
        if file.id() != plan.file || !file.is_unchanged() {
            return Err(AttachError::Changed);
        }
        let facts = CaptureFacts { library: Some(plan.library), method: Some(plan.method) };
        let id = facts.to_attachment(self.next_serial);
        self.next_serial = self.next_serial.wrapping_add(1);

        let mut attached = Attached { id, links: Vec::new() };
        // Returns first: a call that enters in between then finds its return armed, never the other way round.
        for group in groups(self.mode, &plan.probes) {
            match self.attach_group(&group, &file.attach_path(), id) {
                Ok(link) => attached.links.push((group.program, link)),
                Err(error) => {
                    self.detach_links(attached.links);
                    return Err(error);
                }
            }
        }
        if !file.is_unchanged() {
            self.detach_links(attached.links);
            return Err(AttachError::Changed);
        }
        self.files.insert(plan.file, attached);
        Ok(id)
    }

    /// Detaches a file; its users are gone. Unknown files are as good as detached.
    pub fn detach(&mut self, file: &FileId) {
        if let Some(attached) = self.files.remove(file) {
            self.detach_links(attached.links);
        }
    }

    fn attach_group(&mut self, group: &Group, target: &Path, id: AttachmentId) -> Result<UProbeLinkId, AttachError> {
        let has_cookie = self.has_cookie;
        let points = group.points.iter().map(|(offset, operation)| UProbeAttachPoint {
            location: UProbeAttachLocation::AbsoluteOffset(*offset),
            cookie: has_cookie.then(|| probe::cookie(id.0, *operation)),
        });
        program(&mut self.ebpf, group.program)?.attach(points, target, UProbeScope::AllProcesses).map_err(|source| AttachError::Kernel {
            program: group.program,
            count: group.points.len(),
            source,
        })
    }

    fn detach_links(&mut self, links: Vec<(&'static str, UProbeLinkId)>) {
        // Entries first: what enters afterwards is not followed, what is inside still finds its return.
        for (name, link) in links.into_iter().rev() {
            let detached = program(&mut self.ebpf, name)
                .and_then(|program| program.detach(link).map_err(|source| AttachError::Kernel { program: name, count: 1, source }));
            if let Err(error) = detached {
                tracing::warn!(%error, program = name, "cannot detach");
            }
        }
    }
}

fn program<'a>(ebpf: &'a mut Ebpf, name: &'static str) -> Result<&'a mut UProbe, AttachError> {
    ebpf.program_mut(name).and_then(|program| program.try_into().ok()).ok_or(AttachError::NoProgram(name))
}

/// Probes that one link (or, without uprobe-multi, one program) serves.
#[derive(Debug, PartialEq, Eq)]
struct Group {
    program: &'static str,
    points: Vec<(u64, Operation)>,
}

/// The plan's probes by kernel program, in the order of attachment: returns, session life, entries.
fn groups(mode: AttachMode, probes: &[Probe]) -> Vec<Group> {
    let mut groups: Vec<(u8, Group)> = Vec::new();
    for probe in probes {
        let operation = operation(probe.program);
        let (rank, program) = match (mode, probe.kind) {
            (AttachMode::Multi, ProbeKind::Return) => (0, MULTI_LEAVE),
            (AttachMode::PerfEvent, ProbeKind::Return) => (0, SINGLE_RETURN),
            (AttachMode::Multi, ProbeKind::Entry) if operation.has_return() => (2, MULTI_ENTER),
            (AttachMode::Multi, ProbeKind::Entry) => (1, MULTI_LIFE),
            (AttachMode::PerfEvent, ProbeKind::Entry) => {
                let Some((name, _)) = SINGLE_PROGRAMS.iter().find(|(_, known)| *known == operation) else { continue };
                (if operation.has_return() { 2 } else { 1 }, *name)
            }
        };
        let point = (probe.offset, operation);
        match groups.iter_mut().find(|(_, group)| group.program == program) {
            Some((_, group)) => group.points.push(point),
            None => groups.push((rank, Group { program, points: vec![point] })),
        }
    }
    groups.sort_by_key(|(rank, _)| *rank);
    groups.into_iter().map(|(_, group)| group).collect()
}

/// What the cookie of a probe says. For returns it is not looked at.
const fn operation(program: ProgramName) -> Operation {
    match program {
        ProgramName::TlsWrite | ProgramName::TlsReturn => Operation::Write,
        ProgramName::TlsRead => Operation::Read,
        ProgramName::TlsWriteEx => Operation::WriteEx,
        ProgramName::TlsReadEx => Operation::ReadEx,
        ProgramName::TlsWriteEx2 => Operation::WriteEx2,
        ProgramName::TlsWriteEarlyData => Operation::WriteEarlyData,
        ProgramName::TlsReadEarlyData => Operation::ReadEarlyData,
        ProgramName::SessionFree => Operation::Free,
        ProgramName::SessionClear => Operation::Clear,
        ProgramName::SessionShutdown => Operation::Shutdown,
        ProgramName::SslCtrl => Operation::Control,
        ProgramName::SetHostName => Operation::SetHostName,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn probe(program: ProgramName, kind: ProbeKind, offset: u64) -> Probe {
        Probe { program, kind, symbol: String::new(), offset }
    }

    fn plan() -> Vec<Probe> {
        vec![
            probe(ProgramName::TlsWrite, ProbeKind::Entry, 1),
            probe(ProgramName::TlsReturn, ProbeKind::Return, 1),
            probe(ProgramName::TlsRead, ProbeKind::Entry, 2),
            probe(ProgramName::TlsReturn, ProbeKind::Return, 2),
            probe(ProgramName::SessionFree, ProbeKind::Entry, 3),
        ]
    }

    #[test]
    fn a_multi_plan_needs_three_links_and_returns_are_armed_before_entries() {
        let groups = groups(AttachMode::Multi, &plan());
        let shown: Vec<_> = groups.iter().map(|g| (g.program, g.points.len())).collect();
        assert_eq!(shown, [(MULTI_LEAVE, 2), (MULTI_LIFE, 1), (MULTI_ENTER, 2)]);
    }

    #[test]
    fn single_probes_go_to_the_program_of_their_function() {
        let groups = groups(AttachMode::PerfEvent, &plan());
        let shown: Vec<_> = groups.iter().map(|g| (g.program, g.points.len())).collect();
        assert_eq!(shown, [(SINGLE_RETURN, 2), ("session_free", 1), ("tls_write", 1), ("tls_read", 1)]);
    }
}
