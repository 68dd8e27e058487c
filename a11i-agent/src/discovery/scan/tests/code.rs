//! Code that is looked at after names: in which order, beside what, and what it adds.

use std::sync::Arc;

use super::*;
use crate::attach::Analysis;

/// As if it had GnuTLS as well.
const GNUTLS_INSIDE: &str = "#define G(n) __attribute__((used)) int n(void*a,void*b,int c){volatile int x=c; return x-__LINE__;}\n\
    G(gnutls_record_send)\nG(gnutls_record_recv)\n";

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
fn code_that_a_host_scan_waits_for_is_no_step_of_it() {
    let dir = TempDir::new("chores");
    let child = Running::start(&compile(&dir, "program", WAITS, &[]));
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
