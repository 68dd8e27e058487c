//! What a process maps is found once, in whatever way the look at it was asked for, and what it will map is offered before.

use super::*;

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
fn a_file_that_is_known_to_be_empty_is_not_opened_for_another_process() {
    let dir = TempDir::new("empty-twice");
    let program = compile(&dir, "program", WAITS, &[]);
    let mut scan = Scan::new(ProcFs::default());
    let child = Running::start(&program);
    handle(&mut scan, ScanRequest::Exec(child.id()));
    let opened = scan.statistics().files_opened;
    let another = Running::start(&program);
    handle(&mut scan, ScanRequest::Exec(another.id()));
    assert_eq!(scan.statistics().files_opened, opened);
}

#[test]
fn a_library_beside_the_program_is_offered_before_it_is_mapped() {
    let dir = TempDir::new("beside");
    for name in ["bin", "lib"] {
        std::fs::create_dir(dir.path().join(name)).unwrap();
    }
    let library = dir.path().join("lib/libssl.so.3");
    std::fs::rename(openssl_look_alike(&dir), &library).unwrap();
    let program = compile(&dir, "bin/waits", WAITS, &[]);
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
