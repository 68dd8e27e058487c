//! Every question about what this kernel and this process can do, answered by trying. One place, so that `doctor` and the
//! loader never disagree.

use std::{fs, io::Read as _, path::Path, sync::OnceLock};

use a11i_common::settings;
use aya::{
    programs::ProgramType,
    sys::{UProbeMultiFeature, is_helper_supported, is_map_supported, is_program_supported, is_uprobe_multi_supported},
};
use serde::Serialize;

use super::{
    btf::{self, Layouts, MemberOffsets as _},
    hazards::Hazards,
    mmap_events::MmapBuffers,
    sockets,
};

/// How uprobes are attached.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum AttachMode {
    /// One link for many offsets of a file, no CAP_SYS_ADMIN (6.6+).
    Multi,
    /// One perf event per probe.
    PerfEvent,
}

/// What was found by trying.
#[derive(Clone, Debug, Serialize)]
pub struct Features {
    pub kernel_release: String,
    pub ring_buffer: bool,
    pub uprobe_multi: bool,
    /// The pid filter of uprobe-multi links matches every thread of the process. Before 6.10 it matched one thread only; the same change
    /// made the kernel refuse an impossible pid, which is what is tried.
    pub uprobe_multi_process: bool,
    pub attach_cookie: bool,
    pub raw_tracepoint: bool,
    /// Offsets for the kernel half, `(global, offset)`; missing members are absent.
    #[serde(skip)]
    pub task_offsets: Vec<(&'static str, u32)>,
    pub btf: bool,
    /// How traffic without TLS can be seen.
    pub sockets: sockets::SocketFeatures,
    /// Why BTF is not there.
    pub btf_problem: Option<String>,
    /// Why mappings of code are not told by the kernel; None when they are.
    pub mapping_events_problem: Option<String>,
    pub capabilities: Capabilities,
    /// Whether pids here are those the kernel half sees; None when `/proc` does not say.
    pub initial_pid_namespace: Option<bool>,
    /// What probes would do to confined processes.
    pub hazards: Hazards,
}

/// Effective capabilities that matter here (Linux `capability.h` numbers).
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize)]
pub struct Capabilities {
    pub bpf: bool,
    pub perfmon: bool,
    pub sys_ptrace: bool,
    pub dac_read_search: bool,
    pub checkpoint_restore: bool,
    pub sys_admin: bool,
    pub sys_resource: bool,
}

impl Features {
    /// What was found when it was asked for first: trying takes time, and starts children, which the agent cannot do for ever.
    pub fn once() -> &'static Self {
        static FOUND: OnceLock<Features> = OnceLock::new();
        FOUND.get_or_init(Self::probe)
    }

    pub fn probe() -> Self {
        let (layouts, btf_problem) = match layouts() {
            Ok(layouts) => (layouts, None),
            Err(problem) => (Layouts::default(), Some(problem)),
        };
        let task_offsets = offsets(&layouts);
        Self {
            kernel_release: fs::read_to_string("/proc/sys/kernel/osrelease").unwrap_or_default().trim().to_owned(),
            ring_buffer: is_map_supported(aya::maps::MapType::RingBuf).unwrap_or(false),
            uprobe_multi: is_uprobe_multi_supported(UProbeMultiFeature::LinkCreation).unwrap_or(false),
            uprobe_multi_process: is_uprobe_multi_supported(UProbeMultiFeature::ProcessScopedPidFilter).unwrap_or(false),
            attach_cookie: is_helper_supported(ProgramType::KProbe, aya_obj::generated::bpf_func_id::BPF_FUNC_get_attach_cookie)
                .unwrap_or(false),
            raw_tracepoint: is_program_supported(ProgramType::RawTracePoint).unwrap_or(false),
            btf: btf_problem.is_none(),
            sockets: sockets::SocketFeatures::probe(&layouts, &task_offsets),
            task_offsets,
            btf_problem,
            mapping_events_problem: MmapBuffers::open().err().map(|error| error.to_string()),
            capabilities: Capabilities::of_this_process(),
            initial_pid_namespace: fs::read_link("/proc/self/ns/pid").ok().map(|link| is_initial_pid_namespace(&link)),
            hazards: Hazards::probe(),
        }
    }

    pub const fn attach_mode(&self) -> AttachMode {
        if self.uprobe_multi { AttachMode::Multi } else { AttachMode::PerfEvent }
    }

    /// How a file is attached for single processes. None: not at all, since perf events need a capability that is not there.
    pub const fn process_mode(&self) -> Option<AttachMode> {
        match (self.uprobe_multi && self.uprobe_multi_process, self.capabilities.sys_admin) {
            (true, _) => Some(AttachMode::Multi),
            (false, true) => Some(AttachMode::PerfEvent),
            (false, false) => None,
        }
    }
}

/// The kernel half tells processes by their pids in the initial namespace, whose inode never changes (`PROC_PID_INIT_INO` in the
/// kernel's `include/linux/proc_ns.h`). In another namespace the same numbers are other processes.
fn is_initial_pid_namespace(link: &Path) -> bool {
    const INITIAL: u32 = 0xEFFF_FFFC;
    link.as_os_str().to_str() == Some(format!("pid:[{INITIAL}]").as_str())
}

/// Structures and members the kernel half reads, with the globals that carry their offsets.
const MEMBERS: [(&str, &str, &str); 6] = [
    (settings::TASK_GROUP_LEADER, "task_struct", "group_leader"),
    (settings::TASK_START_BOOTTIME, "task_struct", "start_boottime"),
    (settings::TASK_PID, "task_struct", "pid"),
    (settings::TASK_TGID, "task_struct", "tgid"),
    (settings::TASK_SIGNAL, "task_struct", "signal"),
    (settings::SIGNAL_LIVE, "signal_struct", "live"),
];

/// What the running kernel's BTF says of the structures that are read, or why it says nothing.
fn layouts() -> Result<Layouts, String> {
    let mut blob = Vec::new();
    let said = |error: String| format!("{}: {error}", btf::VMLINUX);
    fs::File::open(Path::new(btf::VMLINUX))
        .and_then(|file| file.take(btf::MAX_BYTES).read_to_end(&mut blob))
        .map_err(|error| said(error.to_string()))?;
    let wanted: Vec<&str> = ["task_struct", "signal_struct"].into_iter().chain(sockets::TYPES).collect();
    Layouts::parse(&blob, &wanted).map_err(|error| said(error.to_string()))
}

fn offsets(layouts: &Layouts) -> Vec<(&'static str, u32)> {
    let of_tasks = MEMBERS.iter().filter_map(|(global, s, m)| layouts.member(s, m).map(|offset| (*global, offset)));
    of_tasks.chain(sockets::offsets(layouts)).collect()
}

impl Capabilities {
    fn of_this_process() -> Self {
        let status = fs::read_to_string("/proc/self/status").unwrap_or_default();
        let bits = status
            .lines()
            .find_map(|line| line.strip_prefix("CapEff:"))
            .and_then(|hex| u64::from_str_radix(hex.trim(), 16).ok())
            .unwrap_or(0);
        Self::from_bits(bits)
    }

    const fn from_bits(bits: u64) -> Self {
        const fn has(bits: u64, number: u32) -> bool {
            bits & (1 << number) != 0
        }
        Self {
            dac_read_search: has(bits, 2),
            sys_ptrace: has(bits, 19),
            sys_admin: has(bits, 21),
            sys_resource: has(bits, 24),
            perfmon: has(bits, 38),
            bpf: has(bits, 39),
            checkpoint_restore: has(bits, 40),
        }
    }

    /// What the main job lacks, by name: CAP_SYS_ADMIN stands for CAP_BPF and CAP_PERFMON (capabilities(7)).
    pub fn missing(&self, mode: AttachMode) -> Vec<&'static str> {
        let mut missing = Vec::new();
        let mut need = |have: bool, name| {
            if !have {
                missing.push(name);
            }
        };
        need(self.bpf || self.sys_admin, "CAP_BPF");
        need(self.perfmon || self.sys_admin, "CAP_PERFMON");
        need(self.sys_ptrace, "CAP_SYS_PTRACE");
        need(self.dac_read_search, "CAP_DAC_READ_SEARCH");
        match mode {
            AttachMode::Multi => {}
            AttachMode::PerfEvent => need(self.sys_admin, "CAP_SYS_ADMIN"),
        }
        missing
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn all_capabilities_leave_nothing_missing_and_none_names_each() {
        assert!(Capabilities::from_bits(u64::MAX).missing(AttachMode::PerfEvent).is_empty());
        let none = Capabilities::from_bits(0);
        assert_eq!(none.missing(AttachMode::Multi), ["CAP_BPF", "CAP_PERFMON", "CAP_SYS_PTRACE", "CAP_DAC_READ_SEARCH"]);
        assert_eq!(none.missing(AttachMode::PerfEvent).last(), Some(&"CAP_SYS_ADMIN"));
    }

    #[test]
    fn only_one_pid_namespace_is_the_initial_one() {
        assert!(is_initial_pid_namespace(Path::new("pid:[4026531836]")));
        assert!(!is_initial_pid_namespace(Path::new("pid:[4026532198]")));
    }

    #[test]
    fn sys_admin_stands_for_bpf_and_perfmon() {
        let admin = Capabilities::from_bits((1 << 21) | (1 << 19) | (1 << 2));
        assert!(admin.missing(AttachMode::Multi).is_empty());
    }
}
