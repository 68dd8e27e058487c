//! Files and who needs their probes.

use std::{
    collections::{BTreeSet, HashMap, HashSet},
    path::{Path, PathBuf},
    sync::Arc,
};

use a11i_common::identity::{BootTime, ProcessId};

use super::hazard::Hazard;
use crate::{
    attach::{Analysis, scope::Reach},
    call::{CaptureFacts, CaptureLibrary},
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
    /// It had probes and lost them: the kernel half may still know sessions of that time.
    pub was_covered: bool,
}

/// Why a file has no probes.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(super) struct Refusal {
    pub reason: String,
    pub remedy: &'static str,
}

/// When links that could not be made are tried again.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct Retry {
    pub at: BootTime,
    pause: u64,
}

/// As often as there are host scans.
const FIRST_RETRY_NANOS: u64 = 5 * 1_000_000_000;
/// Whatever keeps on failing costs next to nothing then.
const LONGEST_RETRY_NANOS: u64 = 10 * 60 * 1_000_000_000;

impl Retry {
    /// Each pause is twice the one before.
    pub(super) fn after(before: Option<Self>, now: BootTime) -> Self {
        let pause = before.map_or(FIRST_RETRY_NANOS, |before| before.pause.saturating_mul(2).min(LONGEST_RETRY_NANOS));
        Self { at: now.plus_nanos(pause), pause }
    }
}

/// A file with a plan.
#[derive(Debug, Default)]
pub(super) struct Used {
    /// As its first user sees it.
    pub path: PathBuf,
    /// What it holds.
    pub analysis: Arc<Analysis>,
    /// The version of the first library in it, as its file says.
    pub stated: Option<String>,
    /// Whether connections through it were read as HTTP, or as nothing known.
    pub seen: Vec<(CaptureFacts, bool)>,
    /// Programs map it beside their own code, and others will. The rest are programs.
    pub is_library: bool,
    /// Of its plans; while it is attached, those that it has.
    pub probes: usize,
    /// Mount namespaces whose ld.so.cache names it: attached before anyone maps it, for as long as one of them exists.
    pub standing: HashSet<u64>,
    pub processes: HashMap<ProcessId, User>,
    /// Mount namespaces of all who used it, until they are gone. 0: of a process whose namespace could not be read.
    pub namespaces: HashSet<u64>,
    /// Since when it is attached for some only, after it was for everyone.
    pub narrowed: Option<BootTime>,
    /// It was attached for everyone at the last look.
    pub was_everyone: bool,
    /// Processes without links of their own, and what was said about it.
    pub left_out: HashMap<ProcessId, String>,
    /// When the last user ended.
    pub idle_since: Option<BootTime>,
    pub refusal: Option<Refusal>,
    /// What was said of the last attempt.
    pub said: Option<String>,
    /// Some links are missing for a reason that may pass.
    pub retry: Option<Retry>,
    /// What it holds as well, and whose links are not all made yet.
    pub more: Option<Arc<Analysis>>,
    /// Its probes are counted as attached.
    pub is_attached: bool,
    pub aliases: Vec<PathBuf>,
    /// In the last reading.
    pub hits_per_second: u64,
}

impl Used {
    pub(super) fn of(path: PathBuf, analysis: &Arc<Analysis>) -> Self {
        let mut used = Self { is_library: analysis.soname.is_some() || is_library_name(&path), path, ..Self::default() };
        used.analysis = Arc::clone(analysis);
        used.probes = analysis.plans.iter().map(|planned| planned.plan.probes.len()).sum();
        used
    }

    /// The first of it.
    pub(super) fn library(&self) -> Option<CaptureLibrary> {
        self.analysis.plans.first().map(|planned| planned.plan.library)
    }

    /// What came through probes of this library and method. There are as many as the file has plans.
    pub(super) fn recognised(&mut self, facts: CaptureFacts, is_http: bool) {
        if self.seen.len() <= 2 * self.analysis.plans.len() && !self.seen.contains(&(facts, is_http)) {
            self.seen.push((facts, is_http));
        }
    }

    /// Remembers it, within bounds.
    pub(super) fn add(&mut self, need: Need) {
        self.idle_since = None;
        match need {
            Need::Process(process) if self.processes.len() < MAX_USERS => {
                // It began while the file was attached for everyone: it may have sessions although nobody knew it then.
                let was_covered = self.narrowed.is_some_and(|at| began_before(process, at));
                self.processes.entry(process).or_insert(User { was_covered, ..User::default() });
            }
            Need::Namespace(namespace) if self.standing.len() < MAX_USERS => {
                self.standing.insert(namespace);
                self.namespaces.insert(namespace);
            }
            Need::Process(_) | Need::Namespace(_) => {}
        }
    }

    /// Takes over the users of a file that turned out to be this one.
    pub(super) fn absorb(&mut self, other: Self) {
        self.idle_since = if other.idle_since.is_none() { None } else { self.idle_since };
        self.standing.extend(other.standing);
        self.namespaces.extend(other.namespaces);
        for (process, user) in other.processes {
            self.processes.entry(process).or_insert(user);
        }
        // As many as a report can use; the rest is only left out there.
        let room = MAX_ALIASES.saturating_sub(self.aliases.len());
        self.aliases.extend(std::iter::once(other.path).chain(other.aliases).take(room));
    }

    /// Users that have probes from now on; given back are those that have none any more.
    pub(super) fn handle_reach(&mut self, reach: &Reach, now: BootTime) -> Vec<ProcessId> {
        let mut lost = Vec::new();
        for (process, user) in &mut self.processes {
            if reach.has(*process) {
                user.covered_since = user.covered_since.or(Some(now));
                user.was_covered = false;
            } else if user.covered_since.take().is_some() {
                user.was_covered = true;
                lost.push(*process);
            }
        }
        match (std::mem::replace(&mut self.was_everyone, reach.is_everyone()), reach.is_everyone()) {
            (_, true) => self.narrowed = None,
            (true, false) => self.narrowed = Some(now),
            (false, false) => {}
        }
        lost
    }

    /// Users that lost their probes and would have them again.
    pub(super) fn returning(&self, reach: &Reach) -> HashSet<ProcessId> {
        self.processes.iter().filter(|(process, user)| user.was_covered && reach.has(**process)).map(|(process, _)| *process).collect()
    }
}

fn began_before(process: ProcessId, at: BootTime) -> bool {
    #[expect(clippy::cast_possible_truncation, reason = "wraps as ProcessId::from_boot_nanos does")]
    let ticks = (at.0 / ProcessId::NANOS_PER_TICK) as u32;
    // Half the range: what is further away lies before the wrap.
    ticks.wrapping_sub(process.start_ticks) < u32::MAX / 2
}

/// Whom a file should be attached for, and who is left out because they are too many.
#[derive(PartialEq, Eq, Debug, Default)]
pub(super) struct Wanted {
    pub reach: Reach,
    pub left_out: Vec<ProcessId>,
}

const MAX_ALIASES: usize = 256;

/// Whom a file should be attached for. `limited`: not for everyone, by the guard. `cautious`: not before a process was looked at.
/// `most`: processes with links of their own. `rank`: which of them go first where they are too many: None is none of them.
pub(super) fn wanted(used: &Used, limited: bool, cautious: bool, most: usize, rank: impl Fn(ProcessId) -> Option<u8>) -> Wanted {
    if !limited && !cautious {
        return Wanted { reach: Reach::Everyone, left_out: Vec::new() };
    }
    let safe = used.processes.iter().filter(|(_, user)| user.hazard.is_none());
    // Those that have probes keep them; then the younger ones before the older, which were seen for longer.
    let key = |process: ProcessId, user: &User| {
        Some((rank(process)?, user.covered_since.is_none(), std::cmp::Reverse(process.start_ticks), process))
    };
    let mut ranked: Vec<_> = safe.filter_map(|(process, user)| key(*process, user)).collect();
    ranked.sort_unstable();
    let left_out = ranked.split_off(most.min(ranked.len()));
    Wanted {
        reach: Reach::Processes(ranked.into_iter().map(|(.., process)| process).collect::<BTreeSet<_>>()),
        left_out: left_out.into_iter().map(|(.., process)| process).collect(),
    }
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

/// Libraries that have been idle for `nanos` or longer, those whose users' mount namespaces are all gone (nobody can map them by that name
/// again, and their descriptor would keep the file system from being unmounted), and programs from their last user on: a program is replaced when it has been
/// stopped, often by writing over it, and probes that are still there would go into the new code.
pub(super) fn idle(files: &HashMap<FileId, Used>, now: BootTime, nanos: u64) -> Vec<FileId> {
    let has_no_grace = |used: &Used| !used.is_library || used.namespaces.is_empty();
    let is_over = |used: &Used| used.idle_since.is_some_and(|since| has_no_grace(used) || now.nanos_since(since) >= nanos);
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
        let mut used = Used { is_library: true, namespaces: HashSet::from([1]), ..Used::default() };
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
            assert_eq!(Used::of(PathBuf::from(name), &Arc::new(Analysis::default())).is_library, is_library, "{name}");
        }
        let named = Analysis { soname: Some("libssl.so.3".to_owned()), ..Analysis::default() };
        assert!(Used::of(PathBuf::from("/lib/x"), &Arc::new(named)).is_library);
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
        assert_eq!(wanted(&used, false, false, 512, |_| Some(0)).reach, Reach::Everyone);
        used.processes.get_mut(&process(3)).unwrap().hazard = Some(Hazard::Seccomp);
        let rank = |process: ProcessId| match process.pid.0 {
            5 | 3 => Some(0),
            1000 => None,
            _ => Some(1),
        };
        let Wanted { reach: Reach::Processes(chosen), left_out } = wanted(&used, true, false, 512, rank) else { panic!("not scoped") };
        assert_eq!((chosen.len(), left_out.len()), (512, 1000 - 2 - 512));
        assert!(left_out.contains(&process(6)) && !left_out.contains(&process(3)) && !left_out.contains(&process(1000)));
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
        assert_eq!(used.handle_reach(&Reach::Everyone, BootTime(5)), []);
        assert_eq!(used.handle_reach(&Reach::Processes([process(1)].into()), BootTime(9)), [process(2)]);
        assert_eq!(used.processes[&process(1)].covered_since, Some(BootTime(5)));
        assert_eq!(used.processes[&process(2)].covered_since, None);
    }

    #[test]
    fn who_lost_its_probes_returns_once_and_so_does_who_was_there_before_and_not_known() {
        let mut used = used_by(&[1, 2]);
        used.handle_reach(&Reach::Everyone, BootTime(5));
        used.handle_reach(&Reach::Processes([process(1)].into()), BootTime(50 * ProcessId::NANOS_PER_TICK));
        used.add(Need::Process(process(49)));
        used.add(Need::Process(process(51)));
        assert_eq!(used.returning(&Reach::Everyone), HashSet::from([process(2), process(49)]));
        assert_eq!(used.returning(&Reach::Processes([process(1)].into())), HashSet::new());
        used.handle_reach(&Reach::Everyone, BootTime(u64::MAX));
        assert_eq!(used.returning(&Reach::Everyone), HashSet::new());
    }

    #[test]
    fn where_there_are_too_many_those_with_probes_keep_them() {
        let mut used = used_by(&[1, 2, 3]);
        used.handle_reach(&Reach::Processes([process(1), process(2)].into()), BootTime(5));
        let wanted = wanted(&used, true, false, 2, |_| Some(0));
        assert_eq!(wanted, Wanted { reach: Reach::Processes([process(1), process(2)].into()), left_out: vec![process(3)] });
    }

    #[test]
    fn a_library_of_a_mount_namespace_that_is_gone_has_no_grace() {
        let mut files = HashMap::from([(FILE, used_by(&[7]))]);
        retain_users(&mut files, |_| false, BootTime(10));
        assert_eq!(idle(&files, BootTime(10), 5), []);
        files.get_mut(&FILE).unwrap().namespaces.remove(&1);
        assert_eq!(idle(&files, BootTime(10), 5), [FILE]);
    }

    #[test]
    fn pauses_between_attempts_double_up_to_ten_minutes() {
        let (mut retry, mut pauses) = (None, Vec::new());
        for _ in 0..9 {
            let next = Retry::after(retry, BootTime(0));
            pauses.push(next.at.0 / 1_000_000_000);
            retry = Some(next);
        }
        assert_eq!(pauses, [5, 10, 20, 40, 80, 160, 320, 600, 600]);
    }
}
