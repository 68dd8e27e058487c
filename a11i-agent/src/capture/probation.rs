//! What the kernel half says of functions that were found without names, and the layouts that it is told.

use a11i_common::{
    identity::AttachmentId,
    probation::ProbeEvidence,
    rustls::{RustlsLayout, RustlsSample, RustlsSampleKey},
};
use aya::{
    Ebpf,
    maps::{HashMap, MapData},
};

use super::{
    control::{Plain, table},
    loader::LoadError,
};

/// The maps `EVIDENCE`, `RUSTLS_LAYOUTS` and `RUSTLS_SAMPLES`.
pub struct ProbationTables {
    evidence: HashMap<MapData, u64, Plain<ProbeEvidence>>,
    layouts: HashMap<MapData, u64, Plain<RustlsLayout>>,
    samples: HashMap<MapData, Plain<RustlsSampleKey>, Plain<RustlsSample>>,
}

impl ProbationTables {
    pub fn take(ebpf: &mut Ebpf) -> Result<Self, LoadError> {
        let samples = table(ebpf, "RUSTLS_SAMPLES")?;
        Ok(Self { evidence: table(ebpf, "EVIDENCE")?, layouts: table(ebpf, "RUSTLS_LAYOUTS")?, samples })
    }

    /// From now on what speaks for and against it is counted. Without room it is not, and it stays unproven.
    pub fn begin(&mut self, attachment: AttachmentId) {
        said(self.evidence.insert(&attachment.0, &Plain(ProbeEvidence::default()), 0));
    }

    /// Nothing is counted any more.
    pub fn end(&mut self, attachment: AttachmentId) {
        said(self.evidence.remove(&attachment.0));
    }

    /// What was counted; None where nothing is.
    pub fn evidence(&self, attachment: AttachmentId) -> Option<ProbeEvidence> {
        self.evidence.get(&attachment.0, 0).ok().map(|Plain(evidence)| evidence)
    }

    /// Where the arguments of its functions have what. False: there is no room.
    pub fn lay_out(&mut self, attachment: AttachmentId, layout: RustlsLayout) -> bool {
        self.layouts.insert(&attachment.0, &Plain(layout), 0).is_ok()
    }

    /// The attachment is no more.
    pub fn forget_layout(&mut self, attachment: AttachmentId) {
        said(self.layouts.remove(&attachment.0));
    }

    /// Arguments that had another layout than expected, since the last question.
    pub fn take_samples(&mut self) -> Vec<(AttachmentId, RustlsSample)> {
        let keys: Vec<_> = self.samples.keys().filter_map(Result::ok).collect();
        let mut found = Vec::new();
        for key in keys {
            if let Ok(Plain(sample)) = self.samples.get(&key, 0) {
                found.push((AttachmentId(key.0.attachment), sample));
            }
            said(self.samples.remove(&key));
        }
        found
    }
}

/// Entries may be gone, or find no room: both are known by what is read later.
fn said(outcome: Result<(), aya::maps::MapError>) {
    if let Err(error) = outcome {
        tracing::trace!(%error, "a table of probation");
    }
}
