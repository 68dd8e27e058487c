use std::{collections::BTreeSet, os::unix::fs::MetadataExt as _, path::Path};

use super::*;
use crate::{
    attach::{Analysis, analyse},
    discovery::{
        elf::{Elf, Machine},
        file::{ByteSource, OpenedFile},
    },
    machine_code::testing::{CODE, Part, UNWIND_TABLE, unwind_table},
};

fn found_in(source: &dyn ByteSource, file: &OpenedFile) -> Found {
    let Ok(elf) = Elf::parse(source) else { return Found::default() };
    let functions = elf.functions(&[]).unwrap_or_default();
    Rustls.find(&Binary::new(file.id(), &elf, functions))
}

/// This very program: rustls with ring in an unstripped debug build, whose functions are no leaves.
#[test]
fn a_program_without_optimisation_is_refused_or_proven_and_never_guessed() {
    let own = OpenedFile::open(&std::env::current_exe().unwrap()).unwrap();
    let found = found_in(&own, &own);
    for planned in &found.plans {
        assert_whole(&own, &planned.plan.probes);
    }
}

/// Every probe stands at the start of an instruction, and every decryption has its exits.
#[track_caller]
fn assert_whole(file: &OpenedFile, probes: &[Probe]) {
    let count = |program| probes.iter().filter(|probe| probe.program == program).count();
    assert!(count(ProgramName::RustlsDecrypt) > 0 && count(ProgramName::RustlsEncrypt) > 0, "{probes:?}");
    assert!(count(ProgramName::RustlsDecryptExit) >= count(ProgramName::RustlsDecrypt), "{probes:?}");
    assert!(probes.is_sorted_by_key(|probe| probe.offset));
    for exit in probes.iter().filter(|probe| probe.kind == ProbeKind::Exit) {
        let mut code = [0; 4];
        file.read_exact_at(exit.offset, &mut code).unwrap();
        assert!(code[0] == 0xc3 || u32::from_le_bytes(code) == 0xd65f_03c0, "{exit:?} is no return");
    }
}

/// Files that have rustls, optimised and stripped: from `A11I_RUSTLS_PROGRAMS`, or the clients of the end-to-end tests where they are built.
fn programs() -> Vec<std::path::PathBuf> {
    if let Some(named) = std::env::var_os("A11I_RUSTLS_PROGRAMS") {
        return std::env::split_paths(&named).collect();
    }
    let test = std::env::current_exe().unwrap();
    let cache = std::env::var_os("A11I_TEST_CACHE").map_or_else(|| test.ancestors().nth(3).unwrap().join("a11i-tests"), Into::into);
    ["rust-client-ring", "rust-client-aws-lc"].iter().map(|name| cache.join(name)).filter(|path| path.exists()).collect()
}

fn opened_programs() -> Vec<(std::path::PathBuf, OpenedFile)> {
    let programs = programs();
    if programs.is_empty() {
        eprintln!("skipped: no stripped program with rustls; the end-to-end tests build them (e2e runtimes_rust)");
    }
    programs.into_iter().map(|path| (path.clone(), OpenedFile::open(&path).unwrap())).collect()
}

#[test]
fn every_cipher_of_a_stripped_program_is_found_with_all_its_returns() {
    for (path, file) in opened_programs() {
        let found = found_in(&file, &file);
        let [planned] = found.plans.as_slice() else { panic!("{}: {found:?}", path.display()) };
        eprintln!("{}: rustls {:?}, {} probes", path.display(), planned.version, planned.plan.probes.len());
        assert_eq!((planned.plan.library, planned.plan.method), (CaptureLibrary::Rustls, CaptureMethod::Structure));
        assert_whole(&file, &planned.plan.probes);
        assert_eq!(planned.refused, []);
        let elf = Elf::parse(&file).unwrap();
        let image = Image::of(&elf);
        let functions = Functions::of(&image);
        let encrypters = method_table::encrypters(&image, functions.pointers());
        let growths: BTreeSet<u64> = encrypters.iter().map(|encrypter| encrypter.growth).collect();
        assert_eq!(growths, BTreeSet::from([16, 17, 24]), "{}", path.display());
        let pairs = constructor::pairs(&image, &functions, &encrypters);
        assert_eq!(pairs.len(), encrypters.len(), "{}: each encrypter has one decrypter: {pairs:?}", path.display());
    }
}

/// A program with some of its bytes replaced.
struct Mutated<'f> {
    file: &'f OpenedFile,
    at: u64,
    with: &'static [u8],
}

impl ByteSource for Mutated<'_> {
    fn len(&self) -> u64 {
        self.file.len()
    }

    fn read_exact_at(&self, offset: u64, into: &mut [u8]) -> std::io::Result<()> {
        self.file.read_exact_at(offset, into)?;
        for (place, byte) in (self.at..).zip(self.with) {
            let Some(index) = place.checked_sub(offset).and_then(|index| usize::try_from(index).ok()) else { continue };
            if let Some(target) = into.get_mut(index) {
                *target = *byte;
            }
        }
        Ok(())
    }
}

/// Code that is no code, or that jumps away, in a function that would be probed: that function is not probed any more, and no probe stands
/// elsewhere than before.
#[test]
fn a_damaged_decryption_is_left_out() {
    for (path, file) in opened_programs() {
        let whole = found_in(&file, &file);
        let offsets = |found: &Found| found.plans.iter().flat_map(|p| &p.plan.probes).map(|probe| probe.offset).collect::<BTreeSet<_>>();
        let all = offsets(&whole);
        for decrypt in whole.plans.iter().flat_map(|p| &p.plan.probes).filter(|probe| probe.program == ProgramName::RustlsDecrypt) {
            // An opcode that 64-bit code does not have; a jump far away.
            for with in [b"\x06\x06\x06\x06".as_slice(), b"\xe9\x00\x00\x00\x40"] {
                let left = offsets(&found_in(&Mutated { file: &file, at: decrypt.offset + 1, with }, &file));
                assert!(!left.contains(&decrypt.offset), "{}: {decrypt:?}", path.display());
                assert!(left.is_subset(&all), "{}: {decrypt:?}", path.display());
            }
        }
    }
}

/// Nothing is found in programs that do not have it. Those that have rustls do not hide its source paths.
#[test]
fn no_program_of_this_machine_is_taken_for_rustls() {
    let (mut looked_at, mut seen, mut with) = (0, BTreeSet::new(), Vec::new());
    let folders = std::env::var_os("A11I_PROGRAM_FOLDERS").unwrap_or_else(|| "/usr/bin:/usr/sbin".into());
    for entry in std::env::split_paths(&folders).filter_map(|folder| std::fs::read_dir(folder).ok()).flatten().flatten() {
        let Ok(metadata) = std::fs::metadata(entry.path()) else { continue };
        if !metadata.is_file() || !seen.insert(metadata.ino()) {
            continue;
        }
        let Ok(file) = OpenedFile::open(&entry.path()) else { continue };
        looked_at += 1;
        let found = found_in(&file, &file);
        if found != Found::default() {
            assert!(names_rustls(&entry.path()), "{}: {found:?}", entry.path().display());
            with.push(entry.path());
        }
    }
    eprintln!("{looked_at} files, rustls in {with:?}");
    assert!(looked_at > 0);
}

fn names_rustls(path: &Path) -> bool {
    let bytes = std::fs::read(path).unwrap();
    memchr::memmem::find(&bytes, b"rustls").is_some()
}

#[test]
fn a_program_with_rustls_is_attached_by_the_list_of_libraries() {
    for (_, file) in opened_programs() {
        let Analysis { plans, .. } = analyse(&file, file.id()).unwrap();
        assert!(plans.iter().any(|planned| planned.plan.library == CaptureLibrary::Rustls));
    }
}

/// Where the function made of these bytes returns, which has an entry in the unwind table.
fn exits_of(code: &[u8]) -> Option<Vec<u64>> {
    let table = unwind_table(Machine::X86_64, 0x3000, &[(0x1000, code.len() as u64, &[])]);
    let parts = [Part { vaddr: 0x1000, flags: CODE, bytes: code }, Part { vaddr: 0x3000, flags: UNWIND_TABLE, bytes: &table }];
    let file = crate::machine_code::testing::elf(Machine::X86_64, true, &parts);
    let elf = Elf::parse(&file).unwrap();
    let image = Image::of(&elf);
    exits(&image, &Functions::of(&image), 0x1000)
}

#[test]
fn a_decryption_that_returns_elsewhere_is_left_out() {
    // test edi, edi; je +1; ret; …
    let choice = [0x85, 0xff, 0x74, 0x01, 0xc3];
    let with = |end: &[u8]| exits_of(&[&choice[..], end].concat());
    assert_eq!(with(&[0xc3]), Some(vec![0x1004, 0x1005]));
    assert_eq!(with(&[0xff, 0x25, 0, 0x10, 0, 0]), None, "jmp [rip+0x1000]: a slot of the linkage table");
    assert_eq!(with(&[0x48, 0x8b, 0x06, 0xff, 0x60, 0x18]), None, "mov rax, [rsi]; jmp [rax+24]: a method");
    assert_eq!(with(&[0x48, 0x8b, 0x06, 0xff, 0xe0]), None, "mov rax, [rsi]; jmp rax");
    assert_eq!(with(&[0xe9, 0, 0x10, 0, 0]), None, "jmp elsewhere");
}

#[test]
fn a_choice_by_table_does_not_hide_that_a_branch_returns_elsewhere() {
    // push rbx; movsxd rax, [rsi+rdi*4]; add rax, rsi; jmp rax
    let choice = [0x53, 0x48, 0x63, 0x04, 0xbe, 0x48, 0x01, 0xf0, 0xff, 0xe0];
    let with = |branches: &[u8]| exits_of(&[&choice[..], branches].concat());
    assert_eq!(with(&[0x5b, 0xc3, 0x5b, 0xc3]), Some(vec![0x100b, 0x100d]));
    assert_eq!(with(&[0x5b, 0xc3, 0x5b, 0xff, 0x25, 0, 0x10, 0, 0]), None, "pop rbx; jmp [rip+0x1000]");
    assert_eq!(with(&[0x5b, 0xc3, 0x48, 0x8b, 0x06, 0x5b, 0xff, 0x60, 0x18]), None, "mov rax, [rsi]; pop rbx; jmp [rax+24]");
    assert_eq!(with(&[0x5b, 0xc3, 0x48, 0x8b, 0x06, 0x5b, 0xff, 0xe0]), None, "mov rax, [rsi]; pop rbx; jmp rax");
}
