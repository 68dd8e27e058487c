//! Files that are not what they were: rewritten, renamed, built again, mapped again, written while they are looked at.

use super::*;

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
fn a_program_that_is_built_again_with_tls_on_the_same_inode_is_found() {
    let dir = TempDir::new("rebuilt");
    let program = compile(&dir, "program", WAITS, &[]);
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
