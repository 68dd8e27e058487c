use std::{collections::BTreeMap, path::PathBuf, process::Command};

use super::*;
use crate::{
    attach::{Analysis, Found, ProbeKind, analyse},
    discovery::{
        elf::{Elf, Machine},
        file::OpenedFile,
        testing::{TempDir, compile},
    },
    machine_code::testing::{CODE, Part, READ_ONLY, UNWIND_TABLE, unwind_table},
};

/// What BoringSSL's functions look like from outside: who reports what, who calls whom.
const LIBRARY: &str = r#"
typedef struct { const void **method; char *pending; long left; int state; } SSL;
#define FILE_NAME "/build/third_party/boringssl/ssl/ssl_lib.cc"
#define OUT __attribute__((noinline, noclone))
OUT void put_error(int lib, int unused, int reason, const char *file, unsigned line) { __asm__ volatile("" :: "r"(lib), "r"(unused), "r"(reason), "r"(file), "r"(line) : "memory"); }
OUT void *copy(void *to, const void *from, long n) { char *t = to; const char *f = from; while (n-- > 0) { *t++ = *f++; __asm__ volatile("" ::: "memory"); } return to; }
OUT int work(SSL *s) { __asm__ volatile("" ::: "memory"); return s->state; }
#define ERROR(reason) put_error(16, 0, reason, FILE_NAME, __LINE__)
OUT int ssl_read_impl(SSL *s) { work(s); if (!s->method) { ERROR(226); return -1; } while (!s->left) { if (work(s) < 0) { ERROR(215); return -1; } } return 1; }
static inline __attribute__((always_inline)) int peek(SSL *s, void *b, int n) { if (s->state == 9) { ERROR(66); return -1; } int r = ssl_read_impl(s); if (r <= 0) return r; long k = s->left < n ? s->left : n; copy(b, s->pending, k); return k; }
OUT int SSL_peek(SSL *s, void *b, int n) { return peek(s, b, n); }
OUT int SSL_read(SSL *s, void *b, int n) { int r = peek(s, b, n); if (r <= 0) return r; s->pending += r; s->left -= r; return r; }
OUT int SSL_write(SSL *s, const void *b, int n) { work(s); if (!s->method) { ERROR(226); return -1; } if (n < 0) { ERROR(111); return -1; } if (work(s) < 0) { ERROR(215); return -1; } copy(s->pending, b, n); return n; }
OUT int SSL_shutdown(SSL *s) { work(s); if (!s->method) { ERROR(226); return -1; } if (ssl_read_impl(s) > 0) { ERROR(291); return -1; } return 1; }
OUT int SSL_set_tlsext_host_name(SSL *s, const char *n) { if (!n[0]) { ERROR(213); return 0; } copy(s->pending, n, 9); return 1; }
OUT void ssl_destroy(SSL *s) { work(s); if (s->method) { ((void (*)(SSL *))s->method[2])(s); } work(s); }
OUT void SSL_free(SSL *s) { if (s) { ssl_destroy(s); work(s); } }
OUT int unrelated(SSL *s) { if (work(s)) { put_error(20, 0, 226, FILE_NAME, 1); put_error(20, 0, 215, FILE_NAME, 2); put_error(20, 0, 111, FILE_NAME, 3); } return 0; }
int main(int c, char **v) { SSL s = { (const void **)v, v[0], c, c }; SSL_set_tlsext_host_name(&s, v[0]); SSL_write(&s, v[0], c); SSL_peek(&s, v[0], c); SSL_read(&s, v[0], c); unrelated(&s); SSL_shutdown(&s); SSL_free(&s); return s.state; }
"#;

/// With unwind tables and without, wherever the loader puts it and at a fixed address, optimised for speed and for size.
const BUILDS: [&[&str]; 4] = [
    &["-O2", "-fPIE", "-pie"],
    &["-O2", "-fPIE", "-pie", "-fno-asynchronous-unwind-tables", "-fno-unwind-tables"],
    &["-O2", "-fno-pie", "-no-pie", "-fno-asynchronous-unwind-tables", "-fno-unwind-tables", "-falign-functions=16"],
    &["-O1", "-fno-pie", "-no-pie", "-fno-asynchronous-unwind-tables", "-fno-unwind-tables"],
];

/// A program and its functions: offset in the file by name.
fn built(dir: &TempDir, name: &str, arguments: &[&str]) -> (PathBuf, BTreeMap<u64, String>) {
    built_of(dir, name, LIBRARY, arguments)
}

fn built_of(dir: &TempDir, name: &str, source: &str, arguments: &[&str]) -> (PathBuf, BTreeMap<u64, String>) {
    // As if the callees were in other files: registers are saved, the stack is aligned.
    let arguments: Vec<&str> = arguments.iter().copied().chain(["-fno-ipa-ra", "-fno-ipa-stack-alignment"]).collect();
    let whole = compile(dir, name, source, &arguments);
    let file = OpenedFile::open(&whole).unwrap();
    let elf = Elf::parse(&file).unwrap();
    let listed = Command::new("nm").arg(&whole).output().expect("these tests need binutils (nm)");
    let functions = String::from_utf8(listed.stdout).unwrap();
    let functions = functions.lines().filter_map(|line| {
        let [address, kind, name] = *line.split_whitespace().collect::<Vec<_>>() else { return None };
        let address = u64::from_str_radix(address, 16).ok().filter(|_| matches!(kind, "t" | "T"))?;
        Some((elf.code_offset(address, 1).ok()?, name.to_owned()))
    });
    let functions = functions.collect();
    let stripped = dir.path().join(format!("{name}.stripped"));
    assert!(Command::new("strip").arg(&whole).arg("-o").arg(&stripped).status().unwrap().success());
    (stripped, functions)
}

fn analysed(path: &std::path::Path) -> Analysis {
    let file = OpenedFile::open(path).unwrap();
    analyse(&file, file.id()).unwrap()
}

#[test]
fn functions_are_told_by_their_reasons_in_every_kind_of_build() {
    let dir = TempDir::new("boringssl");
    for (index, arguments) in BUILDS.iter().enumerate() {
        let (path, functions) = built(&dir, &format!("program{index}"), arguments);
        let analysis = analysed(&path);
        let [planned] = analysis.plans.as_slice() else { panic!("{arguments:?}: {analysis:?}") };
        assert_eq!((planned.plan.library, planned.plan.method), (CaptureLibrary::BoringSsl, CaptureMethod::Anchor));
        let found: BTreeMap<&str, &str> = planned
            .plan
            .probes
            .iter()
            .filter(|probe| probe.kind == ProbeKind::Entry)
            .map(|probe| (probe.symbol.as_str(), functions.get(&probe.offset).map_or("nowhere", String::as_str)))
            .collect();
        let wanted = [
            ("SSL_read", "SSL_read"),
            ("SSL_set_tlsext_host_name", "SSL_set_tlsext_host_name"),
            ("SSL_shutdown", "SSL_shutdown"),
            ("SSL_write", "SSL_write"),
            ("ssl_st::~ssl_st", "ssl_destroy"),
        ];
        assert_eq!(found, BTreeMap::from(wanted), "{arguments:?}");
        assert_eq!(analysis.evidence, [], "{arguments:?}");
    }
}

/// What differs until 2022: the length is looked at elsewhere, and `SSL_write` hands on what it was given.
fn older() -> String {
    let write = "OUT int SSL_write(SSL *s, const void *b, int n) { work(s); if (s->state == 9) { ERROR(66); return -1; } if (!s->method) { ERROR(226); return -1; } char again = 0; int r; do { if (work(s) < 0) { ERROR(215); return -1; } r = ((int (*)(SSL *, char *, const void *, int))s->method[9])(s, &again, b, n); } while (again); return r; }";
    let line = |line| if str::starts_with(line, "OUT int SSL_write(") { write } else { line };
    LIBRARY.lines().map(line).collect::<Vec<_>>().join("\n")
}

#[test]
fn functions_of_older_versions_are_told_by_what_they_hand_on() {
    let dir = TempDir::new("boringssl-older");
    let wanted = ["SSL_read", "SSL_set_tlsext_host_name", "SSL_shutdown", "SSL_write", "ssl_destroy"];
    for (index, arguments) in BUILDS.iter().enumerate() {
        let (path, functions) = built_of(&dir, &format!("program{index}"), &older(), arguments);
        let analysis = analysed(&path);
        let [planned] = analysis.plans.as_slice() else { panic!("{arguments:?}: {analysis:?}") };
        let entries = planned.plan.probes.iter().filter(|probe| probe.kind == ProbeKind::Entry);
        let mut found: Vec<(&str, &str)> =
            entries.map(|probe| (probe.symbol.as_str(), functions.get(&probe.offset).map_or("nowhere", String::as_str))).collect();
        found.sort_unstable_by_key(|(_, function)| *function);
        assert_eq!(found.iter().map(|(_, function)| *function).collect::<Vec<_>>(), wanted, "{arguments:?}");
        assert!(found.iter().all(|(role, function)| role == function || *function == "ssl_destroy"), "{arguments:?}: {found:?}");
    }
    // What hands nothing on is not taken for it.
    let other = older().replace("(s, &again, b, n)", "(s, &again, b, n + 1)");
    let (path, _) = built_of(&dir, "other", &other, BUILDS[0]);
    assert_eq!(analysed(&path).evidence, [Evidence::BoringSslWithoutSymbols]);
}

#[test]
fn a_library_with_symbols_is_left_to_them() {
    let dir = TempDir::new("boringssl-symbols");
    let analysis = analysed(&compile(&dir, "program", LIBRARY, &["-O2"]));
    let methods: Vec<_> = analysis.plans.iter().map(|planned| planned.plan.method).collect();
    assert_eq!(methods, [CaptureMethod::Symbol]);
}

#[test]
fn two_functions_with_the_same_reasons_are_both_refused() {
    let dir = TempDir::new("boringssl-twice");
    let twin = LIBRARY.replace("OUT int SSL_shutdown", "OUT int SSL_write2(SSL *s, int n) { if (!s->method) { ERROR(226); return -1; } if (n < 0) { ERROR(111); return -1; } if (work(s) < 0) { ERROR(215); return -1; } return n; }\nOUT int SSL_shutdown")
        .replace("unrelated(&s);", "SSL_write2(&s, c);");
    let analysis = analysed(&compile(&dir, "program", &twin, &["-O2", "-fno-ipa-ra", "-s"]));
    assert_eq!((analysis.plans, analysis.evidence), (vec![], vec![Evidence::BoringSslWithoutSymbols]));
}

#[test]
fn no_address_but_the_start_of_a_function_is_ever_proven() {
    let dir = TempDir::new("boringssl-offsets");
    for (index, arguments) in BUILDS.iter().enumerate() {
        let (path, functions) = built(&dir, &format!("program{index}"), arguments);
        let file = OpenedFile::open(&path).unwrap();
        let elf = Elf::parse(&file).unwrap();
        let image = Image::of(&elf);
        let finder = Functions::within(&image, u64::MAX);
        let every: Vec<u64> = image.code().flat_map(|segment| segment.vaddr..segment.vaddr + segment.file_size).collect();
        let proven = finder.proven(&every);
        assert!(proven.len() >= 5, "{arguments:?}: {proven:x?}");
        for start in proven {
            let offset = image.file_offset(start).unwrap();
            let is_linkage = ["._", ".plt", ".plt.got", ".plt.sec"].iter().filter_map(|name| elf.section(name)).any(|s| s.offset == offset);
            assert!(functions.contains_key(&offset) || is_linkage, "{arguments:?}: {start:#x}");
        }
        for address in every {
            if let Some(start) = finder.start_of(address) {
                assert!(start <= address, "{address:#x}");
            }
        }
    }
}

#[test]
fn no_mutation_makes_a_probe_go_elsewhere_than_to_a_function() {
    let dir = TempDir::new("boringssl-mutated");
    for (index, arguments) in BUILDS.iter().enumerate().skip(1) {
        let (path, functions) = built(&dir, &format!("program{index}"), arguments);
        let bytes = std::fs::read(path).unwrap();
        let mut found_some = 0;
        for place in (0..bytes.len()).step_by(61).chain(0..64) {
            let mut mutated = bytes.clone();
            mutated[place] = mutated[place].wrapping_add(if place % 2 == 0 { 1 } else { 0x80 });
            let Ok(analysis) = analyse(&mutated, crate::discovery::file::FileId::default()) else { continue };
            for probe in analysis.plans.iter().flat_map(|planned| &planned.plan.probes) {
                assert!(functions.contains_key(&probe.offset), "byte {place:#x}: {probe:?}");
                found_some += 1;
            }
        }
        assert!(found_some > 0);
    }
}

#[test]
fn every_truncation_is_refused_or_finds_functions() {
    let dir = TempDir::new("boringssl-truncated");
    let (path, functions) = built(&dir, "program", BUILDS[1]);
    let bytes = std::fs::read(path).unwrap();
    for length in (0..bytes.len()).step_by(97) {
        let cut = bytes[..length].to_vec();
        let Ok(elf) = Elf::parse(&cut) else { continue };
        let binary = Binary::new(crate::discovery::file::FileId::default(), &elf, crate::discovery::elf::Functions::default());
        let Found { plans, .. } = StrippedBoringSsl.find(&binary);
        assert!(
            plans
                .iter()
                .flat_map(|planned| &planned.plan.probes)
                .all(|probe| { functions.contains_key(&probe.offset) && probe.offset < length as u64 })
        );
    }
}

/// Functions of 8,000 instructions that report an error: more of them than any library has.
#[test]
fn memory_does_not_follow_how_much_code_mentions_the_file() {
    let (text, code) = (0x20_0000_u64, 0x1000_u64);
    let mut bytes = vec![0xc3_u8; 16]; // what reports
    let mut described: Vec<(u64, u64, &[u8])> = Vec::new();
    for _ in 0..40 {
        let start = code + bytes.len() as u64;
        let distance = |from: u64, to: u64| i32::try_from(to.wrapping_sub(from).cast_signed()).unwrap().to_le_bytes();
        bytes.extend([0x48, 0x8d, 0x0d].iter().chain(&distance(start + 7, text))); // lea rcx, [text]
        bytes.extend([0xbf, 16, 0, 0, 0, 0xba, 226, 0, 0, 0, 0xe8]); // mov edi, 16; mov edx, 226; call
        bytes.extend(distance(start + 22, code));
        bytes.extend([0x90; 8_000]);
        bytes.push(0xc3);
        described.push((start, 8_023, &[]));
    }
    let table = unwind_table(Machine::X86_64, 0x30_0000, &described);
    let parts = [
        Part { vaddr: code, flags: CODE, bytes: &bytes },
        Part { vaddr: text, flags: READ_ONLY, bytes: b"ssl/ssl_lib.cc\0" },
        Part { vaddr: 0x30_0000, flags: UNWIND_TABLE, bytes: &table },
    ];
    let file = crate::machine_code::testing::elf(Machine::X86_64, true, &parts);
    let elf = Elf::parse(&file).unwrap();
    let image = Image::of(&elf);
    let files = error_reports::files(&image, SOURCE_FILE);
    let [file] = files.as_slice() else { panic!("{}", files.len()) };
    let reporting = error_reports::functions(&Functions::of(&image), &image, file);
    assert_eq!(reporting.values().next().unwrap().reasons, std::collections::BTreeSet::from([226]));
    let kept: usize = reporting.values().map(|reporting| reporting.walk.instructions.len()).sum();
    assert!((100_000..=200_000).contains(&kept), "{kept}");
}

/// A function of 60,000 instructions that is looked at again and again costs its share of the file, not a share each time.
#[test]
fn work_does_not_follow_how_often_code_is_asked_for() {
    let mut bytes = vec![0x90_u8; 60_000];
    bytes.push(0xc3);
    let table = unwind_table(Machine::X86_64, 0x30_0000, &[(0x1000, 60_001, &[])]);
    let parts = [Part { vaddr: 0x1000, flags: CODE, bytes: &bytes }, Part { vaddr: 0x30_0000, flags: UNWIND_TABLE, bytes: &table }];
    let file = crate::machine_code::testing::elf(Machine::X86_64, true, &parts);
    let elf = Elf::parse(&file).unwrap();
    let image = Image::of(&elf);
    let functions = Functions::within(&image, 1_000_000);
    assert_eq!(functions.around(0x1000..0x1000 + 60_000).count(), 1);
    assert_eq!(1_000_000 - functions.work_left(), 60_001);
    let walks = (0..100).take_while(|_| functions.walk(0x1000).is_some()).count();
    assert_eq!((walks, functions.work_left()), (16, 0));
    assert_eq!((functions.proven(&[0x1000]), functions.around([0x1000]).count()), (vec![], 0), "nothing more is found");
}

#[test]
fn copies_of_the_name_beyond_all_measure_are_not_looked_at() {
    let text = b"ssl/ssl_lib.cc\0".repeat(100);
    let file = crate::machine_code::testing::elf(
        Machine::X86_64,
        true,
        &[Part { vaddr: 0x2000, flags: READ_ONLY, bytes: &[&text[..], &[0; 4096]].concat() }],
    );
    let elf = Elf::parse(&file).unwrap();
    assert_eq!(error_reports::files(&Image::of(&elf), SOURCE_FILE).len(), 8);
}
