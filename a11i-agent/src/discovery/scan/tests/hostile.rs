//! Paths, files, mounts and a `/proc` that are made to mislead or to hang the look.

use super::*;
use crate::discovery::file::OpenError;

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
    let program = compile(&dir, "bin/waits", WAITS, &[]);
    let child = Running::start(&program);
    let mut scan = Scan::new(ProcFs::default());
    let reports = handle(&mut scan, ScanRequest::Exec(child.id()));
    assert!(matches!(reports.last(), Some(ScanReport::Done { .. })), "{reports:?}");
    let offers_pipe = |report: &ScanReport| matches!(report, ScanReport::Library { candidate, .. } if candidate.path == pipe);
    assert!(!reports.iter().any(offers_pipe), "{reports:?}");
    assert_eq!(scan.statistics().unanswered, 0);
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
