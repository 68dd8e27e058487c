//! Libraries before anybody maps them: those that a root's ld.so.cache names, those in the prefix of a program, and what a program that is
//! about to run will need.

use std::{
    collections::HashSet,
    path::{Path, PathBuf},
};

use a11i_common::identity::Pid;

use super::{
    super::{
        elf::Machine,
        file::{OpenError, OpenedFile},
        files::{Analysed, Place, Refused},
        ld_so_cache,
        mounts::fuse_mount_points,
        prefix,
        scanner::{Candidate, ScanReport},
        script,
    },
    LD_SO_CACHE, Scan, soname_prefixes,
    stated::Neighbours,
};
use crate::clock::Clock;

impl Scan {
    /// Libraries of `root`'s ld.so.cache. A cache that is missing or broken gives none: libraries are then found when they are mapped.
    /// `false`: some could not be looked at now.
    pub(super) fn libraries_of(
        &mut self,
        root: &Path,
        namespace: u64,
        fuse_mounts: &[PathBuf],
        reports: &mut dyn FnMut(ScanReport),
    ) -> bool {
        let Some(machine) = Machine::host() else { return true };
        if fuse_mounts.iter().any(|mount| Path::new(LD_SO_CACHE).starts_with(mount)) {
            return true;
        }
        let below = root.to_owned();
        let look = move || ld_so_cache::libraries(&below, machine, &soname_prefixes()).unwrap_or_default();
        let Ok(libraries) = self.files.within_time(Place::Namespace(namespace), namespace, look) else { return false };
        self.offer(root, namespace, libraries.into_iter().map(|library| library.path).collect(), fuse_mounts, reports)
    }

    /// Libraries in the folder that belongs to the program's own prefix. `false`: some could not be looked at now.
    fn libraries_beside(
        &mut self,
        root: &Path,
        namespace: u64,
        dir: &Path,
        fuse_mounts: &[PathBuf],
        reports: &mut dyn FnMut(ScanReport),
    ) -> bool {
        if fuse_mounts.iter().any(|mount| dir.starts_with(mount)) {
            return true;
        }
        let (below, folder) = (root.to_owned(), dir.to_owned());
        let look = move || prefix::libraries(&below, &folder, &soname_prefixes());
        let Ok(paths) = self.files.within_time(Place::Namespace(namespace), namespace, look) else { return false };
        self.offer(root, namespace, paths, fuse_mounts, reports)
    }

    fn offer(
        &mut self,
        root: &Path,
        namespace: u64,
        paths: Vec<PathBuf>,
        fuse_mounts: &[PathBuf],
        reports: &mut dyn FnMut(ScanReport),
    ) -> bool {
        let mut seen = HashSet::new(); // `libssl.so` of the development package is a link to the same file
        let mut complete = true;
        for path in paths {
            if fuse_mounts.iter().any(|mount| path.starts_with(mount)) {
                continue;
            }
            let (below, name) = (root.to_owned(), path.clone());
            let open = move || OpenedFile::open_in_root(&below, &name);
            let file = match self.files.open(Place::Namespace(namespace), namespace, Clock::boot_now(), open) {
                Ok(file) => file,
                Err(Refused::Open(_)) => continue,
                Err(Refused::Unanswered(_) | Refused::OverBudget) => {
                    complete = false;
                    continue;
                }
            };
            if !seen.insert(file.id()) {
                continue;
            }
            match self.files.analyse(file, namespace) {
                Ok(Analysed { file, analysis: Ok(analysis), is_stable: true, .. }) if !analysis.plans.is_empty() => {
                    let (file, analysis) = self.report_version(file, analysis, reports);
                    self.namespaces.offered(namespace, self.generation);
                    let candidate = Candidate { file, path, analysis };
                    self.stated.ask(&candidate, namespace, &Neighbours::Root(root.to_owned()));
                    reports(ScanReport::Library { candidate, namespace });
                }
                Ok(Analysed { is_stable, .. }) => complete &= is_stable,
                Err(_) => complete = false,
            }
        }
        complete
    }

    /// A program that is about to run, before it maps anything: itself, the interpreter of a script, the libraries of
    /// their prefixes and of our root.
    pub fn program(&mut self, path: &Path, reports: &mut dyn FnMut(ScanReport)) -> Result<(), OpenError> {
        let namespace = self.namespaces.own();
        let mut next = Some(path.to_owned());
        for _ in 0..MAX_SCRIPT_DEPTH {
            let Some(path) = next.take() else { break };
            let file = OpenedFile::open(&path)?;
            // A virtual environment's python is a link into the prefix.
            if let Some(dir) = path.canonicalize().ok().and_then(|path| prefix::library_dir(&path)) {
                self.libraries_beside(Path::new("/"), namespace, &dir, &[], reports);
            }
            match self.files.analyse(file, namespace) {
                Ok(Analysed { file, analysis: Ok(analysis), .. }) if !analysis.plans.is_empty() => {
                    let (file, analysis) = self.report_version(file, analysis, reports);
                    reports(ScanReport::Library { candidate: Candidate { file, path, analysis }, namespace });
                }
                Ok(Analysed { file, analysis: Err(_), .. }) => next = script::interpreter(&file),
                Ok(_) | Err(_) => {}
            }
        }
        self.libraries_of(Path::new("/"), namespace, &[], reports);
        Ok(())
    }

    /// Libraries that the process or others like it will map: the first process seen in a mount namespace leads to the
    /// namespace's ld.so.cache, the first one of a program to its prefix. `false`: some could not be looked at now.
    pub(super) fn unmapped_libraries(&mut self, pid: Pid, namespace: u64, reports: &mut dyn FnMut(ScanReport)) -> bool {
        if namespace == 0 {
            return true;
        }
        let dir = self.proc.exe(pid).ok().and_then(|exe| prefix::library_dir(&exe));
        let new_dir = dir.filter(|dir| self.namespaces.is_new_prefix(namespace, dir));
        let new_namespace = self.namespaces.is_new(namespace);
        if new_dir.is_none() && !new_namespace {
            return true;
        }
        // Without its mounts nobody knows what is FUSE: then these are found when they are mapped.
        let Ok(mountinfo) = self.proc.mountinfo(pid) else { return true };
        let (root, fuse_mounts) = (self.proc.root_of(pid), fuse_mount_points(&mountinfo));
        let of_cache = !new_namespace || self.libraries_of(&root, namespace, &fuse_mounts, reports);
        let of_prefix = new_dir.as_ref().is_none_or(|dir| self.libraries_beside(&root, namespace, dir, &fuse_mounts, reports));
        if !of_cache || !of_prefix {
            self.namespaces.again(namespace, new_dir);
        }
        of_cache && of_prefix
    }
}

/// A script whose interpreter is a script: Linux allows four levels, two are used.
const MAX_SCRIPT_DEPTH: usize = 4;
