use super::*;
use crate::{
    discovery::testing::{TempDir, compile, openssl_look_alike},
    machine_code::testing::{CODE, Part, elf as elf_of},
};

const NAMES: &[&str] = &["SSL_read", "SSL_write", "SSL_free", "SSL_absent"];

fn offsets(bytes: &[u8]) -> Result<Vec<(&'static str, u64)>, ElfError> {
    let bytes = bytes.to_vec();
    let elf = Elf::parse(&bytes)?;
    Ok(elf.functions(NAMES)?.found.iter().map(|f| (f.name, f.offset)).collect())
}

/// Offsets as binutils' `nm` and program headers give them: the compiler puts this function's marker bytes at the offset.
#[test]
fn functions_are_found_at_their_bytes_in_the_file() {
    let dir = TempDir::new("elf-bytes");
    let path = compile(
        &dir,
        "marked.so",
        "__asm__(\".text\\n.globl SSL_read\\n.type SSL_read,@function\\nSSL_read: .ascii \\\"HERE-IS-SSL_READ\\\"\\n.size SSL_read,16\\n\");\n\
         __asm__(\".data\\n.globl SSL_write\\n.type SSL_write,@function\\nSSL_write: .ascii \\\"in a data segment\\\"\\n.text\\n\");\n\
         int SSL_free = 3;",
        &["-shared", "-fPIC"],
    );
    let bytes = std::fs::read(path).unwrap();
    let elf = Elf::parse(&bytes).unwrap();
    let functions = elf.functions(NAMES).unwrap();
    let [read] = functions.found.as_slice() else { panic!("{functions:?}") };
    let at = usize::try_from(read.offset).unwrap();
    assert_eq!((read.name, &bytes[at..at + 16]), ("SSL_read", b"HERE-IS-SSL_READ".as_slice()));
    assert_eq!(functions.refused.iter().map(|r| (r.name, r.why)).collect::<Vec<_>>(), [("SSL_write", Refusal::NotExecutable)]);
}

#[test]
fn names_and_build_id_are_read() {
    let dir = TempDir::new("elf-names");
    let bytes = std::fs::read(openssl_look_alike(&dir)).unwrap();
    let elf = Elf::parse(&bytes).unwrap();
    assert_eq!(elf.soname(), Some("libssl.so.3"));
    assert_eq!(elf.build_id().map(|id| id.len()), Some(40));
    assert_eq!(Some(elf.machine()), Machine::host());
    assert!(elf.needed().iter().any(|n| n.starts_with("libc.")));
    assert_eq!(elf.interpreter(), None);
}

#[test]
fn a_file_without_sections_still_has_its_dynamic_symbols() {
    for style in ["gnu", "sysv"] {
        let dir = TempDir::new("elf-nosections");
        let hash = format!("-Wl,--hash-style={style}");
        let source = "int SSL_read(int a){return a+1;} int SSL_write(int a){return a+2;} int SSL_free(int a){return a+3;}";
        let bytes = std::fs::read(compile(&dir, "lib.so", source, &["-shared", "-fPIC", "-O1", &hash])).unwrap();
        let whole = offsets(&bytes).unwrap();
        assert_eq!(whole.len(), 3);
        let mut bare = bytes.clone();
        bare[0x28..0x30].fill(0); // e_shoff
        bare[0x3c..0x40].fill(0); // e_shnum, e_shstrndx
        assert_eq!(offsets(&bare).unwrap(), whole, "{style}");
    }
}

#[test]
fn local_functions_of_an_executable_are_found_until_it_is_stripped() {
    let dir = TempDir::new("elf-exe");
    let source =
        "__attribute__((noinline)) static int SSL_read(int a){volatile int b=a;return b;} int main(int c,char**v){return SSL_read(c);}";
    let path = compile(&dir, "program", source, &["-O1"]);
    assert_eq!(offsets(&std::fs::read(&path).unwrap()).unwrap().len(), 1);
    let stripped = compile(&dir, "stripped", source, &["-O1", "-s"]);
    assert_eq!(offsets(&std::fs::read(stripped).unwrap()).unwrap(), []);
}

#[test]
fn an_indirect_function_is_refused() {
    let dir = TempDir::new("elf-ifunc");
    let source =
        "static int f(int a){return a;} static void*pick(void){return (void*)f;} int SSL_read(int) __attribute__((ifunc(\"pick\")));";
    let bytes = std::fs::read(compile(&dir, "ifunc.so", source, &["-shared", "-fPIC"])).unwrap();
    let elf = Elf::parse(&bytes).unwrap();
    let functions = elf.functions(NAMES).unwrap();
    assert_eq!(functions.found, []);
    assert!(functions.refused.iter().all(|r| r.why == Refusal::Indirect) && !functions.refused.is_empty());
}

#[test]
fn every_truncation_is_an_error_or_gives_no_other_offset() {
    let dir = TempDir::new("elf-truncated");
    let bytes = std::fs::read(openssl_look_alike(&dir)).unwrap();
    let whole = offsets(&bytes).unwrap();
    assert_eq!(whole.len(), 3);
    for length in 0..bytes.len() {
        match offsets(&bytes[..length]) {
            Ok(found) => assert!(found.iter().all(|f| whole.contains(f)), "cut at {length}: {found:?}"),
            Err(ElfError::NotElf) => assert!(length < 4),
            Err(_) => {}
        }
    }
}

#[test]
fn no_mutation_panics_or_yields_an_offset_outside_the_file() {
    let dir = TempDir::new("elf-mutated");
    let bytes = std::fs::read(openssl_look_alike(&dir)).unwrap();
    let headers = 64 + 56 * 12;
    let sections_at = usize::try_from(u64::from_le_bytes(bytes[0x28..0x30].try_into().unwrap())).unwrap();
    let places = (0..headers.min(bytes.len())).chain(sections_at..bytes.len()).chain((headers..sections_at).step_by(41));
    for place in places {
        for value in [0x00, 0x7f, 0xff] {
            let mut mutated = bytes.clone();
            mutated[place] = value;
            if let Ok(found) = offsets(&mutated) {
                assert!(found.iter().all(|(_, offset)| *offset + 16 <= bytes.len() as u64));
            }
        }
    }
}

#[test]
fn what_is_not_a_program_of_this_kind_is_named() {
    assert!(matches!(offsets(b"#!/bin/sh\necho"), Err(ElfError::NotElf)));
    let dir = TempDir::new("elf-other");
    let mut bytes = std::fs::read(openssl_look_alike(&dir)).unwrap();
    bytes[4] = 1;
    assert!(matches!(offsets(&bytes), Err(ElfError::OtherClass)));
    bytes[4] = 2;
    bytes[18] = 243; // RISC-V
    assert!(matches!(offsets(&bytes), Err(ElfError::OtherMachine(243))));
}

/// A file of `length` bytes with a code segment for each of `claims`: offset and size as its header states them.
fn with_segments(length: usize, claims: &[(u64, u64)]) -> Vec<u8> {
    let mut file =
        elf_of(Machine::X86_64, true, &claims.iter().map(|_| Part { vaddr: 0x1000, flags: CODE, bytes: &[] }).collect::<Vec<_>>());
    file.resize(length, 0);
    for (header, (offset, size)) in file[64..].chunks_exact_mut(56).zip(claims) {
        header[8..16].copy_from_slice(&offset.to_le_bytes());
        header[32..40].copy_from_slice(&size.to_le_bytes());
    }
    file
}

#[test]
fn a_segment_has_no_more_bytes_than_the_file_and_all_of_them_not_many_times_as_many() {
    let sizes = |claims: &[(u64, u64)]| {
        let file = with_segments(0x4000, claims);
        Elf::parse(&file)
            .map(|elf| elf.segments().iter().map(|segment| segment.file_size).collect::<Vec<_>>())
            .map_err(|error| error.to_string())
    };
    assert_eq!(sizes(&[(0x1000, 0x1000), (0x2000, 0x2000)]).unwrap(), [0x1000, 0x2000]);
    assert_eq!(sizes(&[(0x1000, 1 << 40), (0x4000, 1 << 40), (u64::MAX, u64::MAX)]).unwrap(), [0x3000, 0, 0]);
    assert_eq!(sizes(&[(0, 0x4000), (0, 0x4000)]).unwrap(), [0x4000, 0x4000]);
    let refused = sizes(&vec![(0, u64::MAX); 60]).unwrap_err();
    assert_eq!(refused, "bytes of segments: 983040 are more than 32768");
}
