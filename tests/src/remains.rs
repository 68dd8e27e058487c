//! What an agent has put into the kernel and onto the host, to ask afterwards whether all of it is gone.

use std::{
    collections::BTreeSet,
    fs::{self, File},
    io::ErrorKind,
    os::unix::{fs::FileTypeExt as _, net::UnixStream},
    path::{Path, PathBuf},
    time::{Duration, Instant},
};

use tokio::process::Command;

use crate::{requirement::Unmet, workload::c_program};

/// Lists BPF objects of the running kernel: see `clients/c/bpf_objects.c`.
pub struct BpfObjects {
    program: PathBuf,
}

/// One program, map or link of the kernel.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct BpfObject {
    /// `prog`, `map`, `link`.
    pub kind: String,
    pub id: u32,
    /// The kernel keeps 15 bytes of it; for links the number of their kind.
    pub name: String,
    /// Of hash tables.
    pub entries: Option<u64>,
}

impl BpfObject {
    fn line(&self) -> String {
        format!("{} {} {}", self.kind, self.id, self.name)
    }
}

impl BpfObjects {
    /// # Errors
    /// When there is no C compiler or not the kernel's headers.
    pub async fn compiled() -> Result<Self, Unmet> {
        Ok(Self { program: c_program::compiled("bpf_objects", &[]).await? })
    }

    /// All of them, whoever owns them.
    ///
    /// # Panics
    /// With the program's own words when it fails.
    pub async fn list(&self) -> Vec<BpfObject> {
        self.ask(&[]).await
    }

    /// Programs and links. Nothing is opened that would stay by that: see the program.
    async fn programs(&self) -> Vec<BpfObject> {
        self.ask(&["programs"]).await
    }

    async fn ask(&self, arguments: &[&str]) -> Vec<BpfObject> {
        let output = Command::new(&self.program).args(arguments).output().await.expect("the program can be started");
        assert!(output.status.success(), "bpf_objects: {}", String::from_utf8_lossy(&output.stderr));
        String::from_utf8_lossy(&output.stdout).lines().map(object).collect()
    }
}

fn object(line: &str) -> BpfObject {
    let mut words = line.split(' ');
    let mut word = || words.next().unwrap_or_default().to_owned();
    let (kind, id, name) = (word(), word(), word());
    BpfObject { kind, id: id.parse().expect("an id"), name, entries: word().parse().ok() }
}

/// Everything that outlives a process, or could.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct HostState {
    /// `prog 12 tls_enter`.
    bpf: BTreeSet<String>,
    /// Files and folders of the BPF file system.
    pinned: BTreeSet<PathBuf>,
    mounts: BTreeSet<String>,
    /// Lines of tracefs's `uprobe_events`.
    uprobe_events: BTreeSet<String>,
    /// Files below `/run/a11i`.
    run: BTreeSet<PathBuf>,
}

impl HostState {
    /// As it is now.
    pub async fn now(objects: &BpfObjects) -> Self {
        let bpf = objects.list().await.iter().map(BpfObject::line).collect();
        let lines = |path: &str| fs::read_to_string(path).unwrap_or_default().lines().map(str::to_owned).collect::<BTreeSet<_>>();
        // Without the two numbers in front: they say nothing of what is mounted.
        let mounts = lines("/proc/self/mountinfo").iter().map(|line| line.splitn(3, ' ').skip(2).collect()).collect();
        Self {
            bpf,
            pinned: files_below(Path::new("/sys/fs/bpf")),
            mounts,
            uprobe_events: lines("/sys/kernel/tracing/uprobe_events"),
            run: files_below(Path::new(RUN_FOLDER)),
        }
    }

    /// What is there now and was not there in `self`, one line each. A lock file that nobody holds is no remainder; nor is, where
    /// the agent was killed and `killed` says so, a socket at which nobody listens.
    async fn remainders(&self, objects: &BpfObjects, killed: bool) -> Vec<String> {
        // Maps are looked at when the programs are gone, and with them what the kernel does at the end of a map of programs.
        let programs: BTreeSet<_> = objects.programs().await.iter().map(BpfObject::line).collect();
        if programs.difference(&self.bpf).next().is_some() {
            return programs.difference(&self.bpf).cloned().collect();
        }
        let now = Self::now(objects).await;
        let mut all: Vec<String> = now.bpf.difference(&self.bpf).cloned().collect();
        all.extend(now.pinned.difference(&self.pinned).map(|path| format!("pinned {}", path.display())));
        all.extend(now.mounts.difference(&self.mounts).map(|mount| format!("mount {mount}")));
        all.extend(now.uprobe_events.difference(&self.uprobe_events).map(|event| format!("uprobe event {event}")));
        let kept = |path: &Path| is_free_lock(path) || (killed && is_dead_socket(path));
        all.extend(now.run.difference(&self.run).filter(|path| !kept(path)).map(|path| format!("file {}", path.display())));
        all
    }

    /// Waits until everything that was not there in `self` is gone again: the kernel frees what nobody refers to a little later.
    ///
    /// # Panics
    /// With what is still there when patience ends.
    pub async fn is_restored(&self, objects: &BpfObjects, killed: bool, patience: Duration, when: &str) {
        let begun = Instant::now();
        loop {
            let remainders = self.remainders(objects, killed).await;
            if remainders.is_empty() {
                return;
            }
            assert!(begun.elapsed() < patience, "{when}: this is left of the agent: {remainders:#?}");
            tokio::time::sleep(LOOK_AGAIN).await;
        }
    }
}

/// Processes whose program is this file.
pub fn processes_of(program: &Path) -> Vec<u32> {
    let program = program.canonicalize().expect("the program is there");
    let entries = fs::read_dir("/proc").expect("/proc is mounted");
    let pids = entries.filter_map(|entry| entry.ok()?.file_name().to_str()?.parse().ok());
    pids.filter(|pid: &u32| fs::read_link(format!("/proc/{pid}/exe")).is_ok_and(|path| path == program)).collect()
}

const RUN_FOLDER: &str = "/run/a11i";
const LOOK_AGAIN: Duration = Duration::from_millis(20);

fn files_below(folder: &Path) -> BTreeSet<PathBuf> {
    let mut found = BTreeSet::new();
    let Ok(entries) = fs::read_dir(folder) else { return found };
    for entry in entries.flatten() {
        if entry.file_type().is_ok_and(|kind| kind.is_dir()) {
            found.extend(files_below(&entry.path()));
        } else {
            found.insert(entry.path());
        }
    }
    found
}

/// An ordinary file that can be locked: whoever held it is gone.
fn is_free_lock(path: &Path) -> bool {
    let is_lock = path.extension().is_some_and(|extension| extension == "lock") || path.file_name().is_some_and(|name| name == "lock");
    is_lock && File::options().read(true).write(true).open(path).is_ok_and(|file| file.try_lock().is_ok())
}

fn is_dead_socket(path: &Path) -> bool {
    path.metadata().is_ok_and(|facts| facts.file_type().is_socket())
        && UnixStream::connect(path).is_err_and(|error| error.kind() == ErrorKind::ConnectionRefused)
}
