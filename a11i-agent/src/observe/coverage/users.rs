//! Files and who needs their probes.

use std::{
    collections::{BTreeSet, HashMap, HashSet},
    path::{Path, PathBuf},
};

use a11i_common::identity::{BootTime, ProcessId};

use super::hazard::Hazard;
use crate::{
    attach::{Analysis, scope::Reach},
    call::CaptureLibrary,
    discovery::file::FileId,
};

/// Processes remembered as users of one file. One that is not remembered loses its probes with the last one that is, until a host scan
/// finds it again.
pub(super) const MAX_USERS: usize = 65_536;

/// Who needs a file's probes.
#[derive(Clone, Copy, Debug)]
pub(super) enum Need {
    Process(ProcessId),
    /// Programs of this mount namespace will map it.
    Namespace(u64),
}

/// One process that maps a file.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub(super) struct User {
    /// Since when its calls through the file are seen.
    pub covered_since: Option<BootTime>,
    /// Why it must not have probes.
    pub hazard: Option<Hazard>,
}

/// Why a file has no probes.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(super) struct Refusal {
    pub reason: String,
    pub remedy: &'static str,
}

/// A file with a plan.
#[derive(Debug, Default)]
pub(super) struct Used {
    /// As its first user sees it.
    pub path: PathBuf,
    pub library: Option<CaptureLibrary>,
    pub method: &'static str,
    pub version: Option<String>,
    /// Programs map it beside their own code, and others will. The rest are programs.
    pub is_library: bool,
    /// Of its plans.
    pub probes: usize,
    /// Mount namespaces whose ld.so.cache names it: attached before anyone maps it, for as long as one of them exists.
    pub standing: HashSet<u64>,
    pub processes: HashMap<ProcessId, User>,
    /// When the last user ended.
    pub idle_since: Option<BootTime>,
    pub refusal: Option<Refusal>,
    /// Its probes are counted as attached.
    pub is_attached: bool,
    pub aliases: Vec<PathBuf>,
    /// In the last reading.
    pub hits_per_second: u64,
}

impl Used {
    pub(super) fn of(path: PathBuf, analysis: &Analysis) -> Self {
        let (plans, first) = (&analysis.plans, analysis.plans.first());
        Self {
            is_library: analysis.soname.is_some() || is_library_name(&path),
            path,
            library: first.map(|planned| planned.plan.library),
            method: first.map(|planned| planned.plan.method.as_str()).unwrap_or_default(),
            version: first.and_then(|planned| planned.version.clone()),
            probes: plans.iter().map(|planned| planned.plan.probes.len()).sum(),
            ..Self::default()
        }
    }

    /// Remembers it, within bounds.
    pub(super) fn add(&mut self, need: Need) {
        self.idle_since = None;
        match need {
            Need::Process(process) if self.processes.len() < MAX_USERS => drop(self.processes.entry(process).or_default()),
            Need::Namespace(namespace) if self.standing.len() < MAX_USERS => drop(self.standing.insert(namespace)),
            Need::Process(_) | Need::Namespace(_) => {}
        }
    }

    /// Takes over the users of a file that turned out to be this one.
    pub(super) fn absorb(&mut self, other: Self) {
        self.idle_since = if other.idle_since.is_none() { None } else { self.idle_since };
        self.standing.extend(other.standing);
        for (process, user) in other.processes {
            self.processes.entry(process).or_insert(user);
        }
        // As many as a report can use; the rest is only left out there.
        let room = MAX_ALIASES.saturating_sub(self.aliases.len());
        self.aliases.extend(std::iter::once(other.path).chain(other.aliases).take(room));
    }

    /// Users that have probes from now on, and those that have none any more.
    pub(super) fn handle_reach(&mut self, reach: &Reach, now: BootTime) {
        for (process, user) in &mut self.processes {
            user.covered_since = if reach.has(*process) { user.covered_since.or(Some(now)) } else { None };
        }
    }
}

/// Processes with links of their own on one file; three links each.
const MAX_SCOPED_OF_FILE: usize = 512;

const MAX_ALIASES: usize = 256;

/// Whom a file should be attached for. `limited`: not for everyone, by the guard. `cautious`: not before a process was looked at.
/// `rank`: which processes go first where they are too many: None is left out.
pub(super) fn wanted(used: &Used, limited: bool, cautious: bool, rank: impl Fn(ProcessId) -> Option<u8>) -> Reach {
    if !limited && !cautious {
        return Reach::Everyone;
    }
    let safe = used.processes.iter().filter(|(_, user)| user.hazard.is_none());
    let mut ranked: Vec<(u8, std::cmp::Reverse<u32>, ProcessId)> =
        safe.filter_map(|(process, _)| Some((rank(*process)?, std::cmp::Reverse(process.start_ticks), *process))).collect();
    // The younger ones before the older: those were seen for longer.
    ranked.sort_unstable();
    Reach::Processes(ranked.into_iter().take(MAX_SCOPED_OF_FILE).map(|(_, _, process)| process).collect::<BTreeSet<_>>())
}

/// Users that are not kept have ended; a file without any begins to be idle.
pub(super) fn retain_users(files: &mut HashMap<FileId, Used>, keep: impl Fn(&ProcessId) -> bool, now: BootTime) {
    for used in files.values_mut() {
        used.processes.retain(|process, _| keep(process));
        if used.standing.is_empty() && used.processes.is_empty() && used.idle_since.is_none() {
            used.idle_since = Some(now);
        }
    }
}

/// `libssl.so.3`, `_ssl.cpython-313-x86_64-linux-gnu.so`: some have no soname.
fn is_library_name(path: &Path) -> bool {
    path.file_name().is_some_and(|name| {
        let name = name.as_encoded_bytes();
        name.ends_with(b".so") || name.windows(4).any(|part| part == b".so.")
    })
}

/// Libraries that have been idle for `nanos` or longer, and programs from their last user on: a program is replaced when it has been
/// stopped, often by writing over it, and probes that are still there would go into the new code.
pub(super) fn idle(files: &HashMap<FileId, Used>, now: BootTime, nanos: u64) -> Vec<FileId> {
    let is_over = |used: &Used| used.idle_since.is_some_and(|since| !used.is_library || now.nanos_since(since) >= nanos);
    files.iter().filter(|(_, used)| is_over(used)).map(|(file, _)| *file).collect()
}

#[cfg(test)]
mod tests {
    use a11i_common::identity::Pid;

    use super::*;

    const FILE: FileId = FileId { dev: 1, ino: 2, size: 3, mtime: 4, ctime: 5 };

    fn process(pid: u32) -> ProcessId {
        ProcessId { pid: Pid(pid), start_ticks: pid }
    }

    fn used_by(pids: &[u32]) -> Used {
        let mut used = Used { is_library: true, ..Used::default() };
        for pid in pids {
            used.add(Need::Process(process(*pid)));
        }
        used
    }

    #[test]
    fn a_file_is_idle_from_its_last_user_on_and_not_before() {
        let mut files = HashMap::from([(FILE, used_by(&[7, 8]))]);
        retain_users(&mut files, |user| *user != process(7), BootTime(10));
        assert_eq!(idle(&files, BootTime(1_000), 5), []);
        retain_users(&mut files, |user| *user != process(8), BootTime(1_000));
        assert_eq!(idle(&files, BootTime(1_004), 5), []);
        assert_eq!(idle(&files, BootTime(1_005), 5), [FILE]);
    }

    #[test]
    fn a_program_has_no_grace_after_its_last_user() {
        let mut files = HashMap::from([(FILE, Used { is_library: false, ..used_by(&[7]) })]);
        assert_eq!(idle(&files, BootTime(10), 5), []);
        retain_users(&mut files, |_| false, BootTime(10));
        assert_eq!(idle(&files, BootTime(10), 5), [FILE]);
        for (name, is_library) in
            [("/usr/lib/libssl.so.3", true), ("/py/_ssl.cpython-313.so", true), ("/usr/bin/node", false), ("/opt/a.solution", false)]
        {
            assert_eq!(Used::of(PathBuf::from(name), &Analysis::default()).is_library, is_library, "{name}");
        }
        let named = Analysis { soname: Some("libssl.so.3".to_owned()), ..Analysis::default() };
        assert!(Used::of(PathBuf::from("/lib/x"), &named).is_library);
    }

    #[test]
    fn a_library_that_programs_will_map_stays() {
        let mut files = HashMap::from([(FILE, used_by(&[7]))]);
        for used in files.values_mut() {
            used.add(Need::Namespace(1));
        }
        retain_users(&mut files, |_| false, BootTime(10));
        assert_eq!(idle(&files, BootTime(u64::MAX), 0), []);
    }

    #[test]
    fn endangered_processes_have_no_probes_and_when_there_are_too_many_the_first_in_rank_have() {
        let mut used = used_by(&(1..=1000).collect::<Vec<_>>());
        assert_eq!(wanted(&used, false, false, |_| Some(0)), Reach::Everyone);
        used.processes.get_mut(&process(3)).unwrap().hazard = Some(Hazard::Seccomp);
        let rank = |process: ProcessId| match process.pid.0 {
            5 | 3 => Some(0),
            1000 => None,
            _ => Some(1),
        };
        let Reach::Processes(chosen) = wanted(&used, true, false, rank) else { panic!("not scoped") };
        assert_eq!(chosen.len(), MAX_SCOPED_OF_FILE);
        assert!(chosen.contains(&process(5)) && chosen.contains(&process(999)));
        assert!(!chosen.contains(&process(3)) && !chosen.contains(&process(1000)) && !chosen.contains(&process(6)));
    }

    #[test]
    fn users_of_a_file_that_turned_out_to_be_another_move_there() {
        let (mut kept, mut other) = (used_by(&[1]), used_by(&[2]));
        kept.idle_since = Some(BootTime(3));
        other.path = PathBuf::from("/other");
        other.add(Need::Namespace(9));
        kept.absorb(other);
        assert_eq!((kept.processes.len(), kept.standing.len(), kept.idle_since), (2, 1, None));
        assert_eq!(kept.aliases, [PathBuf::from("/other")]);
    }

    #[test]
    fn a_user_is_covered_from_when_it_first_has_probes() {
        let mut used = used_by(&[1, 2]);
        used.handle_reach(&Reach::Everyone, BootTime(5));
        used.handle_reach(&Reach::Processes([process(1)].into()), BootTime(9));
        assert_eq!(used.processes[&process(1)].covered_since, Some(BootTime(5)));
        assert_eq!(used.processes[&process(2)].covered_since, None);
    }
}
