use std::{
    io::Read as _,
    path::PathBuf,
    process::{Child, Command, Stdio},
    sync::Arc,
};

use super::*;
use crate::attach::Analysis;
use crate::discovery::{
    file::OpenError,
    scanner::Candidate,
    testing::{TempDir, compile, openssl_look_alike},
};

/// A child that tells when it runs, and is ended with the test.
struct Running(Child);
impl Running {
    fn start(program: &Path) -> Self {
        let mut child = Command::new(program).stdout(Stdio::piped()).spawn().unwrap();
        child.stdout.as_mut().unwrap().read_exact(&mut [0]).unwrap();
        Self(child)
    }

    fn id(&self) -> ProcessId {
        ProcFs::default().identify(Pid(self.0.id())).unwrap()
    }
}
impl Drop for Running {
    fn drop(&mut self) {
        self.0.kill().ok();
        self.0.wait().ok();
    }
}

fn tls_client(dir: &TempDir) -> PathBuf {
    openssl_look_alike(dir);
    let library = format!("-L{}", dir.path().display());
    let rpath = format!("-Wl,-rpath,{}", dir.path().display());
    let source = "#include <unistd.h>\nint SSL_read(void*,void*,int);int main(void){SSL_read(0,0,0);write(1,\"x\",1);pause();}";
    compile(dir, "client", source, &[&library, &rpath, "-l:libssl.so.3"])
}

fn of_process(reports: &[ScanReport], wanted: ProcessId) -> Vec<&Candidate> {
    let candidate = |report| {
        let &ScanReport::Found { process, ref candidate } = report else { return None };
        (process == wanted).then_some(candidate)
    };
    reports.iter().filter_map(candidate).collect()
}

fn handle(scan: &mut Scan, request: ScanRequest) -> Vec<ScanReport> {
    let mut reports = Vec::new();
    scan.handle(request, &mut |report| reports.push(report));
    reports
}

#[test]
fn a_process_with_a_tls_library_is_found_once_until_it_execs() {
    let dir = TempDir::new("scan");
    let child = Running::start(&tls_client(&dir));
    let mut scan = Scan::new(ProcFs::default());
    let reports = handle(&mut scan, ScanRequest::Exec(child.id()));
    let found = of_process(&reports, child.id());
    let [candidate] = found.as_slice() else { panic!("{reports:?}") };
    assert_eq!(candidate.path, dir.path().join("libssl.so.3"));
    assert_eq!(candidate.analysis.plans[0].plan.file, candidate.file.id());
    let analysed = scan.statistics().files_analysed;
    assert!(of_process(&handle(&mut scan, ScanRequest::Process(child.id())), child.id()).is_empty());
    assert_eq!(of_process(&handle(&mut scan, ScanRequest::Exec(child.id())), child.id()).len(), 1);
    assert_eq!(scan.statistics().files_analysed, analysed, "the second look analyses nothing");
}

#[test]
fn a_host_scan_finds_running_processes_and_the_second_one_reads_little() {
    let dir = TempDir::new("host");
    let child = Running::start(&tls_client(&dir));
    let mut scan = Scan::new(ProcFs::default());
    let reports = handle(&mut scan, ScanRequest::Host);
    assert_eq!(of_process(&reports, child.id()).len(), 1);
    assert!(matches!(reports.last(), Some(ScanReport::Done { request: ScanRequest::Host, .. })));
    assert!(of_process(&handle(&mut scan, ScanRequest::Host), child.id()).is_empty());
    assert!(scan.statistics().processes_unchanged > 0);
}

#[test]
fn a_file_that_was_found_changed_when_it_was_probed_is_looked_at_again() {
    let dir = TempDir::new("found-changed");
    let child = Running::start(&tls_client(&dir));
    let mut scan = Scan::new(ProcFs::default());
    let reports = handle(&mut scan, ScanRequest::Exec(child.id()));
    let [candidate] = of_process(&reports, child.id())[..] else { panic!("{reports:?}") };
    let analysed = scan.statistics().files_analysed;
    scan.handle_changed(&candidate.file.id());
    let reports = handle(&mut scan, ScanRequest::Process(child.id()));
    assert_eq!(of_process(&reports, child.id()).len(), 1, "{reports:?}");
    assert!(scan.statistics().files_analysed > analysed, "what was known of it does not hold");
}

#[test]
fn a_library_that_gets_another_name_is_the_same_file_to_the_next_process() {
    let dir = TempDir::new("another-name");
    let program = tls_client(&dir);
    let (one, mut scan) = (Running::start(&program), Scan::new(ProcFs::default()));
    let reports = handle(&mut scan, ScanRequest::Exec(one.id()));
    let [first] = of_process(&reports, one.id())[..] else { panic!("{reports:?}") };
    std::fs::hard_link(dir.path().join("libssl.so.3"), dir.path().join("backup")).unwrap();
    let two = Running::start(&program);
    let reports = handle(&mut scan, ScanRequest::Exec(two.id()));
    assert!(!reports.iter().any(|report| matches!(report, ScanReport::Changed { .. })), "{reports:?}");
    let [second] = of_process(&reports, two.id())[..] else { panic!("{reports:?}") };
    assert_eq!(second.file.id(), first.file.id());
    assert!(second.analysis.plans.iter().all(|planned| planned.plan.file == first.file.id()));
}

#[test]
fn code_that_a_host_scan_waits_for_is_no_step_of_it() {
    let dir = TempDir::new("chores");
    let child = Running::start(&compile(&dir, "program", "#include <unistd.h>\nint main(void){write(1,\"x\",1);pause();}", &[]));
    let mut scan = Scan::new(ProcFs::default());
    begin(&mut scan, ScanRequest::Exec(child.id()));
    assert_eq!(scan.background(), Some(Chore::Deep));
    scan.begin_host(&mut |_| {});
    let (mut looks, mut steps) = (0, 0);
    while scan.is_scanning_host() {
        match scan.background() {
            Some(Chore::HostScan) => {
                assert!(looks == 0 || !scan.has_code(), "processes first, their code next, the end last");
                scan.step_host(&mut |_| {});
                steps += 1;
            }
            Some(Chore::Deep) => {
                scan.step_deep(&mut |_| {});
                looks += 1;
            }
            None => panic!("it is under way"),
        }
    }
    assert!(steps > 1 && looks > 0);
}

#[test]
fn a_request_is_answered_while_a_host_scan_is_under_way() {
    let dir = TempDir::new("between");
    let child = Running::start(&tls_client(&dir));
    let mut scan = Scan::new(ProcFs::default());
    let mut reports = Vec::new();
    scan.begin_host(&mut |report| reports.push(report));
    assert!(scan.is_scanning_host());
    assert_eq!(of_process(&handle(&mut scan, ScanRequest::Exec(child.id())), child.id()).len(), 1);
    while scan.step_host(&mut |report| reports.push(report)) {}
    assert!(of_process(&reports, child.id()).is_empty(), "found once");
    assert!(matches!(reports.last(), Some(ScanReport::Done { request: ScanRequest::Host, .. })));
    assert!(of_process(&handle(&mut scan, ScanRequest::Process(child.id())), child.id()).is_empty(), "still remembered");
}

#[test]
fn another_process_with_the_same_pid_is_not_reported_as_the_old_one() {
    let dir = TempDir::new("reuse");
    let child = Running::start(&tls_client(&dir));
    let earlier = ProcessId { start_ticks: child.id().start_ticks - 1, ..child.id() };
    let mut scan = Scan::new(ProcFs::default());
    let reports = handle(&mut scan, ScanRequest::Exec(earlier));
    assert!(matches!(reports.as_slice(), [ScanReport::Done { .. }]), "{reports:?}");
    assert_eq!(scan.statistics().processes_vanished, 1);
}

#[test]
fn a_library_beside_the_program_is_offered_before_it_is_mapped() {
    let dir = TempDir::new("beside");
    for name in ["bin", "lib"] {
        std::fs::create_dir(dir.path().join(name)).unwrap();
    }
    let library = dir.path().join("lib/libssl.so.3");
    std::fs::rename(openssl_look_alike(&dir), &library).unwrap();
    let program = compile(&dir, "bin/waits", "#include <unistd.h>\nint main(void){write(1,\"x\",1);pause();}", &[]);
    let is_library = |report: &ScanReport| matches!(report, ScanReport::Library { candidate, .. } if candidate.path == library);

    let child = Running::start(&program);
    let reports = handle(&mut Scan::new(ProcFs::default()), ScanRequest::Exec(child.id()));
    assert!(reports.iter().any(is_library), "{reports:?}");

    let mut reports = Vec::new();
    Scan::new(ProcFs::default()).program(&program, &mut |report| reports.push(report)).unwrap();
    assert!(reports.iter().any(is_library), "{reports:?}");
}

#[test]
fn a_script_leads_to_its_interpreter_before_it_runs() {
    let dir = TempDir::new("script");
    let program = compile(
        &dir,
        "static-client",
        "int SSL_read(int a){return a;}int SSL_write(int a){return a+1;}int main(void){return 0;}",
        &["-O1"],
    );
    let script = dir.path().join("script");
    std::fs::write(&script, format!("#! {} -x\n", program.display())).unwrap();
    let mut reports = Vec::new();
    Scan::new(ProcFs::default()).program(&script, &mut |report| reports.push(report)).unwrap();
    let is_program = |report: &ScanReport| matches!(report, ScanReport::Library { candidate, .. } if candidate.path == program);
    assert!(reports.iter().any(is_program), "{reports:?}");
}

#[test]
fn a_library_whose_path_holds_a_newline_is_found_under_its_name() {
    let dir = TempDir::new("new\nline (deleted)");
    let child = Running::start(&tls_client(&dir));
    let reports = handle(&mut Scan::new(ProcFs::default()), ScanRequest::Exec(child.id()));
    let found = of_process(&reports, child.id());
    assert_eq!(found.iter().map(|candidate| candidate.path.clone()).collect::<Vec<_>>(), [dir.path().join("libssl.so.3")]);
}

#[test]
fn a_pipe_where_a_library_is_expected_is_passed_over_without_waiting() {
    let dir = TempDir::new("pipe");
    for name in ["bin", "lib"] {
        std::fs::create_dir(dir.path().join(name)).unwrap();
    }
    let pipe = dir.path().join("lib/libssl.so.3");
    rustix::fs::mknodat(rustix::fs::CWD, &pipe, rustix::fs::FileType::Fifo, rustix::fs::Mode::RUSR, 0).unwrap();
    let program = compile(&dir, "bin/waits", "#include <unistd.h>\nint main(void){write(1,\"x\",1);pause();}", &[]);
    let child = Running::start(&program);
    let mut scan = Scan::new(ProcFs::default());
    let reports = handle(&mut scan, ScanRequest::Exec(child.id()));
    assert!(matches!(reports.last(), Some(ScanReport::Done { .. })), "{reports:?}");
    let offers_pipe = |report: &ScanReport| matches!(report, ScanReport::Library { candidate, .. } if candidate.path == pipe);
    assert!(!reports.iter().any(offers_pipe), "{reports:?}");
    assert_eq!(scan.statistics().unanswered, 0);
}

#[test]
fn a_library_that_is_rewritten_in_place_is_withdrawn_and_found_anew() {
    let dir = TempDir::new("rewritten");
    let child = Running::start(&tls_client(&dir));
    let library = dir.path().join("libssl.so.3");
    let mut scan = Scan::new(ProcFs::default());
    let reports = handle(&mut scan, ScanRequest::Host);
    let [candidate] = of_process(&reports, child.id())[..] else { panic!("{reports:?}") };
    let before = candidate.file.id();

    // Another name is no other bytes.
    std::fs::hard_link(&library, dir.path().join("second-name")).unwrap();
    let reports = handle(&mut scan, ScanRequest::Host);
    assert!(!reports.iter().any(|report| matches!(report, ScanReport::Changed { .. })), "{reports:?}");

    let mut bytes = std::fs::read(&library).unwrap();
    bytes.extend([0; 64]);
    std::fs::write(&library, bytes).unwrap();
    let reports = handle(&mut scan, ScanRequest::Host);
    assert!(reports.iter().any(|report| matches!(report, ScanReport::Changed { file } if *file == before)), "{reports:?}");
    let reports = handle(&mut scan, ScanRequest::Host);
    let [candidate] = of_process(&reports, child.id())[..] else { panic!("{reports:?}") };
    assert!(candidate.file.id() != before && candidate.file.id().ino == before.ino);
}

/// The program of TLS linked in, under a name that says nothing.
const TLS_INSIDE: &str = "#include <unistd.h>\n#define F(n) __attribute__((used)) int n(void*a,void*b,int c){volatile int x=c; return x+__LINE__;}\n\
    F(SSL_read)\nF(SSL_write)\nF(SSL_read_ex)\nF(SSL_write_ex)\nF(SSL_write_ex2)\nF(SSL_read_early_data)\nF(SSL_write_early_data)\n\
    F(SSL_clear)\nF(SSL_free)\nF(SSL_shutdown)\nF(SSL_ctrl)\nF(OPENSSL_init_ssl)\nF(SSL_get1_peer_certificate)\n\
    int main(void){write(1,\"x\",1);pause();}";

/// As if it had GnuTLS as well.
const GNUTLS_INSIDE: &str = "#define G(n) __attribute__((used)) int n(void*a,void*b,int c){volatile int x=c; return x-__LINE__;}\n\
    G(gnutls_record_send)\nG(gnutls_record_recv)\n";

#[test]
fn a_program_that_is_built_again_with_tls_on_the_same_inode_is_found() {
    let dir = TempDir::new("rebuilt");
    let program = compile(&dir, "program", "#include <unistd.h>\nint main(void){write(1,\"x\",1);pause();}", &[]);
    let with_tls = std::fs::read(compile(&dir, "with-tls", TLS_INSIDE, &["-rdynamic"])).unwrap();
    let mut scan = Scan::new(ProcFs::default());
    for _ in 0..2 {
        let child = Running::start(&program);
        assert!(of_process(&handle(&mut scan, ScanRequest::Exec(child.id())), child.id()).is_empty());
    }
    let before = id_of(&program).unwrap();
    std::fs::write(&program, with_tls).unwrap();
    assert_eq!(id_of(&program).unwrap().ino, before.ino);
    let child = Running::start(&program);
    let reports = handle(&mut scan, ScanRequest::Exec(child.id()));
    assert_eq!(of_process(&reports, child.id()).len(), 1, "{reports:?}");
}

#[test]
fn a_file_that_is_known_to_be_empty_is_not_opened_for_another_process() {
    let dir = TempDir::new("empty-twice");
    let program = compile(&dir, "program", "#include <unistd.h>\nint main(void){write(1,\"x\",1);pause();}", &[]);
    let mut scan = Scan::new(ProcFs::default());
    let child = Running::start(&program);
    handle(&mut scan, ScanRequest::Exec(child.id()));
    let opened = scan.statistics().files_opened;
    let another = Running::start(&program);
    handle(&mut scan, ScanRequest::Exec(another.id()));
    assert_eq!(scan.statistics().files_opened, opened);
}

#[test]
fn a_process_that_has_mapped_code_is_looked_at_whatever_its_size() {
    let dir = TempDir::new("same-size");
    let child = Running::start(&tls_client(&dir));
    let mut scan = Scan::new(ProcFs::default());
    assert_eq!(of_process(&handle(&mut scan, ScanRequest::Exec(child.id())), child.id()).len(), 1);
    // As if what is there now had come in place of something as large.
    let known = scan.processes.get_mut(&child.id()).unwrap();
    known.files.clear();
    known.found.clear();
    assert!(of_process(&handle(&mut scan, ScanRequest::Process(child.id())), child.id()).is_empty());
    assert_eq!(of_process(&handle(&mut scan, ScanRequest::Mapped(child.id().pid)), child.id()).len(), 1);
}

#[test]
fn a_file_that_was_unmapped_is_looked_at_anew_when_its_inode_is_mapped_again() {
    let mapping = |inode| Mapping { start: 1, end: 2, device: Device::default(), inode, path: PathBuf::new(), deleted: false };
    let mut known = KnownProcess::default();
    known.files.extend([1, 2].map(|inode| (Device::default(), inode)));
    known.found.extend([1, 2].map(|inode| Mapped { mapping: mapping(inode), file: (Device::default(), inode) }));
    known.forget_unmapped(&[mapping(2), mapping(3)]);
    assert_eq!(known.files, HashSet::from([(Device::default(), 2)]));
    assert_eq!(known.found.iter().map(|found| found.file.1).collect::<Vec<_>>(), [2]);
}

#[test]
fn a_rewritten_file_is_withdrawn_also_where_mappings_show_another_device_than_the_file() {
    let dir = TempDir::new("subvolume");
    let child = Running::start(&tls_client(&dir));
    let mut scan = Scan::new(ProcFs::default());
    handle(&mut scan, ScanRequest::Host);
    // As btrfs shows it: the device of the file system in maps, the subvolume's in stat.
    let elsewhere = Device { major: 0, minor: 9_999 };
    let known = scan.processes.get_mut(&child.id()).unwrap();
    let [found] = known.found.as_mut_slice() else { panic!("one library") };
    known.files.remove(&(found.mapping.device, found.mapping.inode));
    known.files.insert((elsewhere, found.mapping.inode));
    found.mapping.device = elsewhere;
    std::io::Write::write_all(&mut std::fs::File::options().append(true).open(dir.path().join("libssl.so.3")).unwrap(), &[0; 64]).unwrap();
    let reports = handle(&mut scan, ScanRequest::Host);
    assert_eq!(reports.iter().filter(|report| matches!(report, ScanReport::Changed { .. })).count(), 1, "{reports:?}");
    let known = &scan.processes[&child.id()];
    assert!(known.found.is_empty() && !known.files.iter().any(|(device, _)| *device == elsewhere));
}

#[test]
fn a_library_on_fuse_is_neither_opened_when_it_is_mapped_nor_offered_beside_a_program() {
    let dir = TempDir::new("fuse");
    let process = dir.path().join("proc/77");
    for folder in ["bin", "lib", "proc/77/ns"] {
        std::fs::create_dir_all(dir.path().join(folder)).unwrap();
    }
    let library = dir.path().join("lib/libssl.so.3");
    std::fs::copy(openssl_look_alike(&dir), &library).unwrap();
    for (link, target) in [("ns/mnt", "mnt:[4026539999]".into()), ("exe", dir.path().join("bin/program")), ("root", PathBuf::from("/"))] {
        std::os::unix::fs::symlink(target, process.join(link)).unwrap();
    }
    let id = id_of(&library).unwrap();
    let Device { major, minor } = Device::of(id.dev);
    let path = library.display();
    std::fs::write(process.join("stat"), "77 (a) S 42 77 77 0 -1 4194560 1 2 3 4 5 6 7 8 20 0 1 0 987654 9 9\n").unwrap();
    std::fs::write(process.join("status"), "Name:\ta\nVmExe:\t 900 kB\nVmLib:\t 1800 kB\n").unwrap();
    let maps = format!("7f0000000000-7f0000001000 r-xp 00000000 {major:x}:{minor:x} {} {path}\n", id.ino);
    std::fs::write(process.join("maps"), maps).unwrap();
    for (kind, reached) in [("ext4", true), ("fuse.sshfs", false), ("fuseblk", false)] {
        let mounts = format!(
            "36 35 259:9 / / rw - ext4 /dev/root rw\n40 36 {major}:{minor} / {} rw - {kind} x rw\n",
            dir.path().join("lib").display()
        );
        std::fs::write(process.join("mountinfo"), mounts).unwrap();
        let reports = handle(&mut Scan::new(ProcFs::at(dir.path().join("proc"))), ScanRequest::Host);
        let offered = |report: &ScanReport| matches!(report, ScanReport::Library { candidate, .. } if candidate.path == library);
        assert_eq!(reports.iter().any(offered), reached, "{kind}: {reports:?}");
        assert_eq!(reports.iter().any(|report| matches!(report, ScanReport::Found { .. })), reached, "{kind}: {reports:?}");
        let refused = |report: &ScanReport| {
            matches!(report, ScanReport::NotCovered { reason: NotCovered::Unopened { source: OpenError::Fuse { .. }, .. }, .. })
        };
        assert_eq!(reports.iter().any(refused), !reached, "{kind}: {reports:?}");
    }
}

/// Requests as the scanner's thread begins them: code waits.
fn begin(scan: &mut Scan, request: ScanRequest) -> Vec<ScanReport> {
    let mut reports = Vec::new();
    scan.begin(request, &mut |report| reports.push(report));
    reports
}

fn all_deep(scan: &mut Scan) -> Vec<ScanReport> {
    let mut reports = Vec::new();
    while scan.step_deep(&mut |report| reports.push(report)) {}
    reports
}

#[test]
fn a_file_that_is_written_before_its_code_was_looked_at_is_said_once_and_looked_at_later() {
    let dir = TempDir::new("written");
    let child = Running::start(&tls_client(&dir));
    let library = dir.path().join("libssl.so.3");
    let mut scan = Scan::new(ProcFs::default());
    begin(&mut scan, ScanRequest::Exec(child.id()));
    std::io::Write::write_all(&mut std::fs::File::options().append(true).open(&library).unwrap(), &[0; 64]).unwrap();
    let said = |reports: &[ScanReport]| {
        let is_said = |report: &&ScanReport| matches!(report, ScanReport::NotCovered { process, reason: NotCovered::BeingWritten { path } } if *process == child.id() && *path == library);
        reports.iter().filter(is_said).count()
    };
    assert_eq!(said(&all_deep(&mut scan)), 1);
    let again = begin(&mut scan, ScanRequest::Process(child.id()));
    assert_eq!((of_process(&again, child.id()).len(), said(&again)), (1, 0), "{again:?}");
    assert_eq!(said(&all_deep(&mut scan)), 0);
}

#[test]
fn what_code_adds_to_what_names_told_is_reported_as_more_and_withdraws_nothing() {
    let dir = TempDir::new("more");
    let child = Running::start(&compile(&dir, "program", &format!("{GNUTLS_INSIDE}{TLS_INSIDE}"), &["-rdynamic"]));
    let mut scan = Scan::new(ProcFs::default());
    let reports = begin(&mut scan, ScanRequest::Exec(child.id()));
    let [candidate] = of_process(&reports, child.id())[..] else { panic!("{reports:?}") };
    assert_eq!(candidate.analysis.plans.len(), 2);
    // As if the second had no names.
    let named = Analysis { plans: candidate.analysis.plans[..1].to_vec(), ..Analysis::clone(&candidate.analysis) };
    scan.reported.extend(&candidate.file.id(), Arc::new(named));
    let reports = all_deep(&mut scan);
    let more: Vec<_> =
        reports.iter().filter_map(|report| if let ScanReport::More { candidate } = report { Some(candidate) } else { None }).collect();
    let [more] = more[..] else { panic!("{reports:?}") };
    assert_eq!((more.file.id(), more.analysis.plans.len()), (candidate.file.id(), 2));
    assert!(!reports.iter().any(|report| matches!(report, ScanReport::Changed { .. })), "{reports:?}");
    assert_eq!(scan.reported.plans(&candidate.file.id()), Some(2));
}

#[test]
fn who_waits_for_the_code_of_a_file_is_who_maps_it_and_not_its_namesake() {
    let dir = TempDir::new("namesakes");
    let (one, other) = (Running::start(&tls_client(&dir)), Running::start(&dir.path().join("client")));
    let mut scan = Scan::new(ProcFs::default());
    begin(&mut scan, ScanRequest::Exec(one.id()));
    begin(&mut scan, ScanRequest::Exec(other.id()));
    // As in containers whose files have the same numbers in their mappings.
    let files = std::mem::take(&mut scan.processes.get_mut(&other.id()).unwrap().deep);
    assert!(!files.is_empty());
    let read = scan.statistics().processes_read;
    let id = id_of(&dir.path().join("libssl.so.3")).unwrap();
    scan.reported.withdraw(&id);
    let found = of_process(&all_deep(&mut scan), one.id()).len();
    assert_eq!((found, scan.statistics().processes_read), (1, read + 1), "one of the two is looked at again");
}

#[test]
fn the_version_of_a_library_is_told_when_the_one_beside_it_states_it() {
    let dir = TempDir::new("stated");
    compile(
        &dir,
        "libcrypto-1a2b.so.3",
        "char const s[]=\"OpenSSL 3.0.17 1 Jul 2025\";int crypto(void){return s[1];}",
        &["-shared", "-fPIC"],
    );
    openssl_look_alike(&dir);
    let (library, rpath) = (format!("-L{}", dir.path().display()), format!("-Wl,-rpath,{}", dir.path().display()));
    let source = "#include <unistd.h>\nint crypto(void);int SSL_read(void*,void*,int);int main(void){SSL_read(0,0,crypto());write(1,\"x\",1);pause();}";
    let program = compile(&dir, "client", source, &[&library, &rpath, "-l:libssl.so.3", "-l:libcrypto-1a2b.so.3"]);
    let child = Running::start(&program);
    let mut scan = Scan::new(ProcFs::default());
    let found = begin(&mut scan, ScanRequest::Exec(child.id()));
    let [candidate] = of_process(&found, child.id())[..] else { panic!("{found:?}") };
    let reports = all_deep(&mut scan);
    let told = |report: &&ScanReport| matches!(report, ScanReport::Version { file, version } if *file == candidate.file.id() && version == "3.0.17");
    assert_eq!(reports.iter().filter(told).count(), 1, "{reports:?}");
    begin(&mut scan, ScanRequest::Exec(child.id()));
    assert!(all_deep(&mut scan).is_empty(), "once");
}

#[test]
fn requests_are_answered_while_the_code_of_a_file_is_looked_at() {
    let dir = TempDir::new("meanwhile");
    let (one, other) = (Running::start(&tls_client(&dir)), Running::start(&dir.path().join("client")));
    let mut scan = Scan::new(ProcFs::default());
    begin(&mut scan, ScanRequest::Exec(one.id()));
    let mut reports = Vec::new();
    // A search that is over at once is followed by the next.
    while !scan.is_searching() && scan.step_deep(&mut |report| reports.push(report)) {}
    assert!(scan.is_searching(), "several files are mapped, and none was known");
    let found = begin(&mut scan, ScanRequest::Exec(other.id()));
    assert_eq!(of_process(&found, other.id()).len(), 1, "{found:?}");
    assert!(scan.is_searching());
    all_deep(&mut scan);
    assert!(!scan.has_code());
}

#[test]
fn code_that_somebody_waits_for_goes_before_what_those_left_behind_who_have_ended() {
    let dir = TempDir::new("awaited");
    let program = tls_client(&dir);
    let second = dir.path().join("second");
    std::fs::copy(&program, &second).unwrap();
    let (one, other) = (Running::start(&program), Running::start(&second));
    let mut scan = Scan::new(ProcFs::default());
    begin(&mut scan, ScanRequest::Exec(one.id()));
    begin(&mut scan, ScanRequest::Exec(other.id()));
    begin(&mut scan, ScanRequest::Forget(one.id()));
    let mut order = Vec::new();
    while scan.step_code(PATIENCE, &mut |_| {}) {
        order.push(scan.deep.waiting());
    }
    // Each list is one shorter than the one before.
    let turn_of = |path: &Path| order.iter().position(|left| !left.iter().any(|waiting| waiting == path)).unwrap();
    assert!(turn_of(&second) < turn_of(&program), "{order:?}");
    assert_eq!(turn_of(&program), order.len() - 1, "what nobody waits for is looked at last, and is looked at: {order:?}");
}

#[test]
fn a_file_whose_code_cannot_wait_is_looked_at_whole_at_once() {
    let dir = TempDir::new("no-room");
    let child = Running::start(&compile(
        &dir,
        "program",
        "char const s[]=\"../../third_party/boringssl/src/ssl/ssl_lib.cc\";\n#include <unistd.h>\nint main(int c,char**v){write(1,s,1);pause();}",
        &["-s"],
    ));
    let mut scan = Scan::new(ProcFs::default());
    scan.deep.close();
    let reports = begin(&mut scan, ScanRequest::Exec(child.id()));
    let said = |report: &ScanReport| matches!(report, ScanReport::NotCovered { reason: NotCovered::Unsupported { .. }, .. });
    assert!(reports.iter().any(said) && !scan.step_code(Duration::ZERO, &mut |_| {}), "{reports:?}");
}

#[test]
fn a_hostile_proc_is_survived_whatever_its_files_hold() {
    const GOOD: [(&str, &[u8]); 4] = [
        ("stat", b"77 (a) R 1 (b c)\n) S 42 77 77 0 -1 4194560 1 2 3 4 5 6 7 8 20 0 1 0 987654 9 9\n"),
        ("status", b"Name:\ta\nVmExe:\t     900 kB\nVmLib:\t    1800 kB\n"),
        (
            "maps",
            b"55d0c0028000-55d0c01e0000 r-xp 00028000 fd:01 1234     /usr/bin/python3.11\n\
              7f0000000000-7f0000001000 r-xp 00000000 00:2a 77   /tmp/with space/libssl.so\\012x (deleted)\n",
        ),
        ("mountinfo", b"36 35 98:0 /mnt1 /mnt2 rw,noatime master:1 - ext3 /dev/root rw\n40 35 0:45 / /home/s3 rw - fuse.sshfs x rw\n"),
    ];
    let dir = TempDir::new("hostile-proc");
    let process = dir.path().join("77");
    std::fs::create_dir_all(process.join("ns")).unwrap();
    std::os::unix::fs::symlink("mnt:[4026539999]", process.join("ns/mnt")).unwrap();
    std::os::unix::fs::symlink("/opt/x/bin/python", process.join("exe")).unwrap();
    std::os::unix::fs::symlink("/", process.join("root")).unwrap();
    let mut scan = Scan::new(ProcFs::at(dir.path()));
    let mut random = 88_172_645_463_325_252_u64;
    let mut next = |below: usize| {
        random ^= random << 13;
        random ^= random >> 7;
        random ^= random << 17;
        usize::try_from(random % below as u64).unwrap()
    };
    for round in 0..400 {
        for (name, good) in GOOD {
            let mut bytes = good.to_vec();
            for _ in 0..next(4) {
                let at = next(bytes.len());
                match next(5) {
                    0 => bytes.truncate(at.max(1)),
                    1 => bytes.insert(at, b"\0\n ()-:/9\xff"[next(10)]),
                    2 => drop(bytes.remove(at)),
                    3 => bytes.extend_from_within(at..),
                    _ => bytes[at] ^= 1 << next(8),
                }
                if bytes.is_empty() {
                    bytes.push(b'\n');
                }
            }
            std::fs::write(process.join(name), bytes).unwrap();
        }
        let reports = handle(&mut scan, ScanRequest::Host);
        assert!(matches!(reports.last(), Some(ScanReport::Done { .. })), "round {round}");
        let invented = |report: &ScanReport| matches!(report, ScanReport::Found { .. });
        assert!(!reports.iter().any(invented), "nothing that is mapped there exists: {reports:?}");
    }
}
