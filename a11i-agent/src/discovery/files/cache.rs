//! What files were found to offer.

use std::{
    collections::{HashMap, VecDeque},
    hash::Hash,
    sync::Arc,
};

use super::FileId;
use crate::attach::Analysis;

/// Distinct files that are mapped executable on one node: some ten thousand with many images.
const MAX_ANALYSES: usize = 16_384;

/// Bounded; the oldest entry goes first.
pub(super) struct AnalysisCache<K = FileId> {
    entries: HashMap<K, Arc<Analysis>>,
    order: VecDeque<K>,
}

impl<K> Default for AnalysisCache<K> {
    fn default() -> Self {
        Self { entries: HashMap::new(), order: VecDeque::new() }
    }
}

impl<K: Copy + Eq + Hash> AnalysisCache<K> {
    pub(super) fn get(&self, key: &K) -> Option<&Arc<Analysis>> {
        self.entries.get(key)
    }

    #[cfg(test)]
    pub(super) fn is_empty(&self) -> bool {
        self.entries.is_empty()
    }

    pub(super) fn insert(&mut self, key: K, analysis: Arc<Analysis>) {
        if self.entries.insert(key, analysis).is_none() {
            self.order.push_back(key);
        }
        while self.entries.len() > MAX_ANALYSES {
            let Some(oldest) = self.order.pop_front() else { break };
            self.entries.remove(&oldest);
        }
    }

    pub(super) fn remove(&mut self, key: &K) {
        if self.entries.remove(key).is_some() {
            self.order.retain(|known| known != key);
        }
    }
}
