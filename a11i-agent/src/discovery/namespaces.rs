//! Mount namespaces: whose libraries were looked through before anyone mapped them, and which exist no more.

use std::{
    collections::{HashMap, HashSet},
    path::{Path, PathBuf},
};

/// By number, as `/proc/PID/ns/mnt` shows it.
pub(super) struct Namespaces {
    own: u64,
    /// Whose ld.so.cache was read.
    read: HashSet<u64>,
    /// Library folders that were looked through.
    prefixes: HashSet<(u64, PathBuf)>,
    /// Those for which libraries were reported, and the host scan in which a process of them was last seen.
    offered: HashMap<u64, u64>,
}

impl Namespaces {
    pub(super) fn new(own: u64) -> Self {
        Self { own, read: HashSet::new(), prefixes: HashSet::new(), offered: HashMap::new() }
    }

    /// Our own one, which does not end while we run.
    pub(super) const fn own(&self) -> u64 {
        self.own
    }

    /// Seen for the first time.
    pub(super) fn is_new(&mut self, namespace: u64) -> bool {
        self.make_room();
        self.read.insert(namespace)
    }

    pub(super) fn is_new_prefix(&mut self, namespace: u64, dir: &Path) -> bool {
        self.make_room();
        self.prefixes.insert((namespace, dir.to_owned()))
    }

    /// Not everything could be looked at: as if it had not been seen.
    pub(super) fn again(&mut self, namespace: u64, dir: Option<PathBuf>) {
        self.read.remove(&namespace);
        if let Some(dir) = dir {
            self.prefixes.remove(&(namespace, dir));
        }
    }

    /// From time to time: libraries are installed while containers run.
    pub(super) fn look_again(&mut self) {
        self.read.clear();
        self.prefixes.clear();
    }

    pub(super) fn offered(&mut self, namespace: u64, generation: u64) {
        if namespace != self.own && (self.offered.len() < MAX_NAMESPACES || self.offered.contains_key(&namespace)) {
            self.offered.insert(namespace, generation);
        }
    }

    /// After a host scan: those without a living process, which are then forgotten. A process may be missed once, between two lists.
    pub(super) fn gone(&mut self, living: impl Iterator<Item = u64>, generation: u64) -> Vec<u64> {
        for namespace in living {
            if let Some(seen) = self.offered.get_mut(&namespace) {
                *seen = generation;
            }
        }
        let mut gone = Vec::new();
        self.offered.retain(|namespace, seen| {
            let lives = generation.saturating_sub(*seen) < SCANS_UNTIL_GONE;
            if !lives {
                gone.push(*namespace);
            }
            lives
        });
        // The number may be given anew.
        for namespace in &gone {
            self.read.remove(namespace);
        }
        self.prefixes.retain(|(namespace, _)| !gone.contains(namespace));
        gone
    }

    fn make_room(&mut self) {
        if self.read.len() >= MAX_NAMESPACES || self.prefixes.len() >= MAX_NAMESPACES {
            self.look_again(); // costs a second look, loses nothing
        }
    }
}

const MAX_NAMESPACES: usize = 16_384;
const SCANS_UNTIL_GONE: u64 = 2;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_namespace_is_gone_after_two_scans_without_a_process_and_new_when_its_number_returns() {
        let mut namespaces = Namespaces::new(1);
        assert!(namespaces.is_new(7) && !namespaces.is_new(7));
        namespaces.offered(7, 3);
        assert!(namespaces.gone([7].into_iter(), 4).is_empty());
        assert!(namespaces.gone([8].into_iter(), 5).is_empty());
        assert_eq!(namespaces.gone([8].into_iter(), 6), [7]);
        assert!(namespaces.gone([8].into_iter(), 7).is_empty(), "said once");
        assert!(namespaces.is_new(7));
    }

    #[test]
    fn our_own_namespace_is_never_gone() {
        let mut namespaces = Namespaces::new(1);
        namespaces.offered(1, 0);
        assert!(namespaces.gone(std::iter::empty(), 100).is_empty());
    }

    #[test]
    fn what_could_not_be_looked_at_is_new_again() {
        let mut namespaces = Namespaces::new(1);
        let dir = PathBuf::from("/opt/lib");
        assert!(namespaces.is_new(7) && namespaces.is_new_prefix(7, &dir));
        namespaces.again(7, Some(dir.clone()));
        assert!(namespaces.is_new(7) && namespaces.is_new_prefix(7, &dir));
    }
}
