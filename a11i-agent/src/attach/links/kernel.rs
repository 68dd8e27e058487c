//! What makes and closes links: the loaded programs.

use std::{num::NonZeroU32, path::Path};

use a11i_common::{identity::AttachmentId, probe};
use aya::{
    Ebpf,
    programs::{
        UProbe,
        uprobe::{UProbeAttachLocation, UProbeAttachPoint, UProbeLinkId, UProbeScope},
    },
};

use super::{
    super::{AttachError, groups::Group},
    Links,
};
use crate::capture::features::Features;

/// Makes links, and closes them. All that is left are closed when it is dropped.
pub trait Kernel {
    /// One link of one program.
    type Link;

    /// A link for all points of the group, or none. `process`: for it alone.
    fn attach(&mut self, group: &Group, target: &Path, process: Option<NonZeroU32>, id: AttachmentId) -> Result<Self::Link, AttachError>;

    fn detach(&mut self, program: &'static str, link: Self::Link) -> Result<(), AttachError>;
}

/// The programs of the kernel object.
pub struct Programs {
    ebpf: Ebpf,
    has_cookie: bool,
}

impl Links {
    pub fn new(ebpf: Ebpf, features: &Features) -> Self {
        let has_cookie = features.attach_cookie;
        Self::over(Programs { ebpf, has_cookie }, features.attach_mode(), features.process_mode(), has_cookie)
    }
}

impl Programs {
    fn program(&mut self, name: &'static str) -> Result<&mut UProbe, AttachError> {
        self.ebpf.program_mut(name).and_then(|program| program.try_into().ok()).ok_or(AttachError::NoProgram(name))
    }
}

impl Kernel for Programs {
    type Link = UProbeLinkId;

    fn attach(&mut self, group: &Group, target: &Path, process: Option<NonZeroU32>, id: AttachmentId) -> Result<UProbeLinkId, AttachError> {
        let has_cookie = self.has_cookie;
        let points = group.points.iter().map(|(offset, operation)| UProbeAttachPoint {
            location: UProbeAttachLocation::AbsoluteOffset(*offset),
            cookie: has_cookie.then(|| probe::cookie(id.0, *operation)),
        });
        let scope = process.map_or(UProbeScope::AllProcesses, UProbeScope::OneProcess);
        self.program(group.program)?.attach(points, target, scope).map_err(|source| AttachError::Kernel {
            program: group.program,
            count: group.points.len(),
            source,
        })
    }

    fn detach(&mut self, program: &'static str, link: UProbeLinkId) -> Result<(), AttachError> {
        self.program(program)?.detach(link).map_err(|source| AttachError::Kernel { program, count: 1, source })
    }
}
