//! How often probes are hit, by file and process, and which attachments are one: what the kernel half counts and the agent takes away.

use a11i_common::{
    decision::{DuplicateKey, HitKey},
    identity::{AttachmentId, Pid},
};
use aya::{
    Ebpf,
    maps::{HashMap, MapData},
};

use super::{
    control::{Plain, table},
    loader::LoadError,
};

/// The maps `HITS` and `DUPLICATES`.
pub struct HitTable {
    hits: HashMap<MapData, Plain<HitKey>, u64>,
    duplicates: HashMap<MapData, Plain<DuplicateKey>, u8>,
}

impl HitTable {
    pub fn take(ebpf: &mut Ebpf) -> Result<Self, LoadError> {
        Ok(Self { hits: table(ebpf, "HITS")?, duplicates: table(ebpf, "DUPLICATES")? })
    }

    /// Hits of entry probes since the pair was first seen. As many system calls as there are pairs: ask
    /// [`a11i_common::event::Counter::Hits`] first whether it is worth it.
    pub fn hits(&self) -> Vec<(AttachmentId, Pid, u64)> {
        let entries = self.hits.iter().filter_map(Result::ok);
        entries.map(|(Plain(key), hits)| (AttachmentId(key.attachment), Pid(key.tgid), hits)).collect()
    }

    /// Drops pairs whose process has ended or whose attachment is no more.
    pub fn forget(&mut self, gone: &mut dyn FnMut(AttachmentId, Pid) -> bool) {
        let keys: Vec<_> = self.hits.keys().filter_map(Result::ok).collect();
        for key in keys {
            if gone(AttachmentId(key.0.attachment), Pid(key.0.tgid))
                && let Err(error) = self.hits.remove(&key)
            {
                tracing::trace!(%error, "hits already gone");
            }
        }
    }

    /// Pairs of attachments that turned out to be of one file since the last question.
    pub fn take_duplicates(&mut self) -> Vec<(AttachmentId, AttachmentId)> {
        let keys: Vec<_> = self.duplicates.keys().filter_map(Result::ok).collect();
        for key in &keys {
            if let Err(error) = self.duplicates.remove(key) {
                tracing::trace!(%error, "duplicate already gone");
            }
        }
        keys.into_iter().map(|Plain(key)| (AttachmentId(key.one), AttachmentId(key.other))).collect()
    }
}
