//! Synthetic Go programs: a function table, machine code of the shape that Go's compiler gives it, and what hostile hands make of them.

use super::{body::Body, *};
use crate::{discovery::file::FileId, machine_code::Instructions};

const TEXT: u64 = 0x40_1000;
const TEXT_OFFSET: u64 = 0x1000;
const DATA: u64 = 0x60_0000;
const DATA_OFFSET: u64 = 0x2000;

/// What `Read` looks like on x86-64: stack check, arguments kept, a call, two returns, growth. 96 bytes with its padding.
fn x86_function() -> Vec<u8> {
    let mut code = Vec::new();
    code.extend([0x49, 0x3b, 0x66, 0x10]); // cmp rsp, [r14+16]
    code.extend([0x76, 0x26]); // jbe more (0x2c)
    code.extend([0x55, 0x48, 0x89, 0xe5]); // push rbp; mov rbp, rsp
    code.extend([0x48, 0x83, 0xec, 0x20]); // sub rsp, 32
    code.extend([0x48, 0x89, 0x44, 0x24, 0x30]); // mov [rsp+48], rax
    code.extend([0x48, 0x89, 0x5c, 0x24, 0x38]); // mov [rsp+56], rbx
    code.extend([0x48, 0x89, 0x4c, 0x24, 0x40]); // mov [rsp+64], rcx
    code.extend([0xb9, 0xc3, 0xc3, 0xc3, 0xc3]); // mov ecx, 0xc3c3c3c3: no returns
    code.extend([0x48, 0x83, 0xc4, 0x20, 0x5d, 0xc3]); // add rsp, 32; pop rbp; ret
    code.extend([0x31, 0xc0, 0xc3, 0x90]); // xor eax, eax; ret; nop
    assert_eq!(code.len(), 0x2c);
    code.extend([0x48, 0x89, 0x44, 0x24, 0x08, 0x48, 0x89, 0x5c, 0x24, 0x10, 0x48, 0x89, 0x4c, 0x24, 0x18]); // keep arguments
    code.extend([0xe8, 0x00, 0x01, 0x00, 0x00]); // call runtime.morestack
    code.extend([0x48, 0x8b, 0x44, 0x24, 0x08, 0x48, 0x8b, 0x5c, 0x24, 0x10, 0x48, 0x8b, 0x4c, 0x24, 0x18]); // and take them back
    let back = 0_i8 - i8::try_from(code.len() + 2).unwrap();
    code.extend([0xeb, back.cast_unsigned()]); // jmp start
    code.resize(96, 0xcc);
    code
}

/// The same shape on arm64. 64 bytes.
fn arm64_function() -> Vec<u8> {
    let words: [u32; 12] = [
        0xf940_0b90, // ldr x16, [x28, #16]
        0xeb30_63ff, // cmp sp, x16
        0x5400_00e9, // b.ls more
        0xf81e_0ffe, // str x30, [sp, #-32]!
        0xd503_201f, // nop
        0xf842_07fe, // ldr x30, [sp], #32
        0xd65f_03c0, // ret
        0xd65f_03c0, // ret
        0xd503_201f, // nop
        0xaa1e_03e3, // more: mov x3, x30
        0x9400_0040, // bl runtime.morestack
        0x17ff_fff5, // b start
    ];
    let mut code: Vec<u8> = words.iter().flat_map(|word| word.to_le_bytes()).collect();
    code.resize(64, 0);
    code
}

#[test]
fn entries_are_behind_the_stack_check_and_returns_are_instructions() {
    let body = Body::of_bytes(Machine::X86_64, TEXT, &x86_function()).unwrap();
    assert_eq!(body, Body { entry: TEXT + 6, returns: vec![TEXT + 0x27, TEXT + 0x2a], keeps_arguments: true, calls: vec![TEXT + 0x140] });
    let body = Body::of_bytes(Machine::Aarch64, TEXT, &arm64_function()).unwrap();
    assert_eq!(body, Body { entry: TEXT + 12, returns: vec![TEXT + 24, TEXT + 28], keeps_arguments: false, calls: vec![TEXT + 40 + 256] });
}

#[test]
fn a_function_that_needs_no_check_is_probed_at_its_start() {
    let code = [0x31, 0xc0, 0xc3, 0xcc];
    assert_eq!(Body::of_bytes(Machine::X86_64, TEXT, &code).unwrap().entry, TEXT);
}

#[test]
fn arguments_that_something_else_overwrites_are_not_kept() {
    let mut code = x86_function();
    // mov ecx, imm32 becomes mov [rsp+56], rdx
    code[0x1d..0x22].copy_from_slice(&[0x48, 0x89, 0x54, 0x24, 0x38]);
    let body = Body::of_bytes(Machine::X86_64, TEXT, &code).unwrap();
    assert_eq!((body.entry, body.keeps_arguments), (TEXT + 6, false));
}

#[test]
fn what_is_not_wholly_instructions_or_has_other_ends_is_refused() {
    let refused = |change: &dyn Fn(&mut Vec<u8>)| {
        let mut code = x86_function();
        change(&mut code);
        Body::of_bytes(Machine::X86_64, TEXT, &code)
    };
    // Cut inside an instruction, or begun inside one.
    assert_eq!(refused(&|code| code.truncate(0x2b)), Err(GoRefusal::Leaves), "the branch to its rest leads out");
    assert_eq!(refused(&|code| code.truncate(0x2f)), Err(GoRefusal::Decode));
    // An invalid opcode; a jump into an instruction; a tail call.
    assert_eq!(refused(&|code| code[0x1d] = 0x06), Err(GoRefusal::Decode));
    assert_eq!(refused(&|code| code[5] = 0x27), Err(GoRefusal::Decode));
    assert_eq!(refused(&|code| code[0x1d..0x22].copy_from_slice(&[0xe9, 0, 1, 0, 0])), Err(GoRefusal::Leaves));
    // `g` in thread-local storage, as in the ABI before: cmp rsp, [rcx+16].
    assert_eq!(refused(&|code| code[..4].copy_from_slice(&[0x48, 0x3b, 0x61, 0x10])), Err(GoRefusal::Prologue));
    // A loop to the place where the probe would go.
    assert_eq!(refused(&|code| code[0x28..0x2a].copy_from_slice(&[0xeb, 0xdc])), Err(GoRefusal::Prologue));
}

#[test]
fn from_no_other_start_does_a_probe_go_anywhere_but_onto_an_instruction() {
    for (machine, code) in [(Machine::X86_64, x86_function()), (Machine::Aarch64, arm64_function())] {
        let boundaries: Vec<u64> = Instructions::new(machine, TEXT, &code).map(|instruction| instruction.address).collect();
        for start in 0..code.len() {
            for end in start..=code.len() {
                let Ok(body) = Body::of_bytes(machine, TEXT + start as u64, &code[start..end]) else { continue };
                if boundaries.contains(&(TEXT + start as u64)) {
                    assert!(
                        boundaries.contains(&body.entry) && body.returns.iter().all(|at| boundaries.contains(at)),
                        "{machine:?} {start}..{end}: {body:?}"
                    );
                }
            }
        }
    }
}

/// How the synthetic program differs from one of a new toolchain.
#[derive(Clone, Copy)]
struct Shape {
    magic: u32,
    /// The header says where the text begins (before Go 1.26).
    text_in_header: bool,
    module: bool,
    version: Option<&'static str>,
}

const NEW: Shape = Shape { magic: 0xffff_fff1, text_in_header: false, module: true, version: Some("go1.27.3") };

/// A program of two segments and no sections, with two functions, and where its table lies in the file.
fn program(shape: Shape) -> (Vec<u8>, std::ops::Range<usize>) {
    let old = shape.magic == 0xffff_fffa;
    let code = x86_function();
    let length = code.len() as u64;
    let names = [b"\0".as_slice(), WRITE.as_bytes(), b"\0", READ.as_bytes(), b"\0"].concat();
    let (write_name, read_name) = (1_u32, 2 + u32::try_from(WRITE.len()).unwrap());
    let header = 72_u64;
    let index_at = (header + names.len() as u64).next_multiple_of(8);
    // The index, then a record for each function: its start, and its name.
    let number = |value: u64| if old { value.to_le_bytes().to_vec() } else { u32::try_from(value).unwrap().to_le_bytes().to_vec() };
    let base = if old { TEXT } else { 0 };
    let width = if old { 8 } else { 4 };
    let records_at = 5 * width;
    let mut index = Vec::new();
    for function in 0..2_u64 {
        index.extend(number(base + function * length));
        index.extend(number(records_at + function * 16));
    }
    index.extend(number(base + 2 * length));
    for (function, name) in [write_name, read_name].into_iter().enumerate() {
        let mut record = number(base + function as u64 * length);
        record.extend(name.to_le_bytes());
        record.resize(16, 0);
        index.extend(record);
    }
    let mut table = shape.magic.to_le_bytes().to_vec();
    table.extend([0, 0, 1, 8]);
    table.extend(2_u64.to_le_bytes());
    table.extend(0_u64.to_le_bytes());
    if !old {
        table.extend(if shape.text_in_header { TEXT } else { 0 }.to_le_bytes());
    }
    for offset in [header, index_at, index_at, index_at, index_at] {
        table.extend(offset.to_le_bytes());
    }
    table.resize(usize::try_from(header).unwrap(), 0);
    table.extend(&names);
    table.resize(usize::try_from(index_at).unwrap(), 0);
    table.extend(&index);
    let table_length = table.len();

    let mut data = table;
    data.resize(data.len().next_multiple_of(16), 0);
    if shape.module {
        let mut module = [0_u64; 24];
        module[0] = DATA;
        module[13] = DATA + index_at;
        module[16] = DATA + index_at;
        module[17] = 3;
        module[20] = TEXT;
        module[21] = TEXT + 2 * length;
        module[22] = TEXT;
        module[23] = TEXT + 2 * length;
        data.extend(module.iter().flat_map(|word| word.to_le_bytes()));
    }
    if let Some(version) = shape.version {
        let mut info = b"\xff Go buildinf:\x08\x02".to_vec();
        info.resize(32, 0);
        info.push(u8::try_from(version.len()).unwrap());
        info.extend(version.as_bytes());
        data.extend(info);
    }
    let text: Vec<u8> = [code.as_slice(), &code].concat();
    let mut file = vec![0x7f, b'E', b'L', b'F', 2, 1, 1, 0, 0, 0, 0, 0, 0, 0, 0, 0];
    file.extend(2_u16.to_le_bytes()); // ET_EXEC
    file.extend(62_u16.to_le_bytes()); // EM_X86_64
    file.extend(1_u32.to_le_bytes());
    file.extend(TEXT.to_le_bytes());
    file.extend(64_u64.to_le_bytes()); // program headers
    file.extend(0_u64.to_le_bytes()); // no section headers
    file.extend(0_u32.to_le_bytes());
    for half in [64_u16, 56, 2, 64, 0, 0] {
        file.extend(half.to_le_bytes());
    }
    for (flags, offset, vaddr, size) in [(5_u32, TEXT_OFFSET, TEXT, text.len()), (6, DATA_OFFSET, DATA, data.len())] {
        file.extend(1_u32.to_le_bytes()); // PT_LOAD
        file.extend(flags.to_le_bytes());
        for word in [offset, vaddr, vaddr, size as u64, size as u64, 0x1000] {
            file.extend(word.to_le_bytes());
        }
    }
    file.resize(usize::try_from(TEXT_OFFSET).unwrap(), 0);
    file.extend(text);
    let table_at = usize::try_from(DATA_OFFSET).unwrap();
    file.resize(table_at, 0);
    file.extend(data);
    (file, table_at..table_at + table_length)
}

fn planned(file: &[u8]) -> Result<Option<Planned>, GoRefusal> {
    let file = file.to_vec();
    let Ok(elf) = Elf::parse(&file) else { return Ok(None) };
    let functions = elf.functions(NAMES).unwrap_or_default();
    plan(&Binary::new(FileId::default(), &elf, functions)).map(|found| found.plans.into_iter().next())
}

fn probed(planned: &Planned) -> Vec<(ProgramName, ProbeKind, u64)> {
    planned.plan.probes.iter().map(|probe| (probe.program, probe.kind, probe.offset)).collect()
}

#[test]
fn a_program_without_sections_is_planned_by_its_function_table() {
    let (file, _) = program(NEW);
    let planned = planned(&file).unwrap().unwrap();
    assert_eq!((planned.plan.method, planned.version.as_deref()), (CaptureMethod::Gopclntab, Some("1.27.3")));
    let write = TEXT_OFFSET;
    let read = TEXT_OFFSET + x86_function().len() as u64;
    assert_eq!(
        probed(&planned),
        [
            (ProgramName::GoWrite, ProbeKind::Entry, write + 6),
            (ProgramName::GoWriteReturn, ProbeKind::Exit, write + 0x27),
            (ProgramName::GoWriteReturn, ProbeKind::Exit, write + 0x2a),
            (ProgramName::GoRead, ProbeKind::Entry, read + 6),
            (ProgramName::GoReadReturnKept, ProbeKind::Exit, read + 0x27),
            (ProgramName::GoReadReturnKept, ProbeKind::Exit, read + 0x2a),
        ]
    );
}

#[test]
fn every_layout_of_the_table_gives_the_same_probes() {
    let expected = probed(&planned(&program(NEW).0).unwrap().unwrap());
    let shapes = [
        Shape { magic: 0xffff_fff1, text_in_header: true, module: false, version: Some("go1.25.5") },
        Shape { magic: 0xffff_fff0, text_in_header: true, module: false, version: None },
        Shape { magic: 0xffff_fffa, text_in_header: false, module: false, version: Some("go1.17.13") },
    ];
    for shape in shapes {
        assert_eq!(probed(&planned(&program(shape).0).unwrap().unwrap()), expected, "{:#x}", shape.magic);
    }
}

#[test]
fn the_stack_abi_an_unknown_version_and_an_unproven_text_are_refused() {
    let old = Shape { magic: 0xffff_fffa, text_in_header: false, module: false, version: Some("go1.16.15") };
    let refused = |shape| planned(&program(shape).0).unwrap_err();
    assert_eq!(refused(old), GoRefusal::StackAbi);
    assert_eq!(refused(Shape { version: None, ..old }), GoRefusal::VersionUnknown);
    assert_eq!(refused(Shape { version: Some("go1.18 X:noregabi"), ..NEW }), GoRefusal::StackAbi);
    assert_eq!(refused(Shape { module: false, ..NEW }), GoRefusal::TextStart);
    assert_eq!(has_register_abi(Machine::Aarch64, Layout::V116, Some("go1.17")), Err(GoRefusal::StackAbi));
    assert_eq!(has_register_abi(Machine::Aarch64, Layout::V118, Some("go1.18")), Ok(()));
    // A magic number of tomorrow is no table without a section that says so.
    assert_eq!(planned(&program(Shape { magic: 0xffff_fff2, ..NEW }).0), Ok(None));
}

#[test]
fn a_damaged_table_gives_no_probe_off_an_instruction() {
    let code = x86_function();
    let text: Vec<u8> = [code.as_slice(), &code].concat();
    let boundaries: Vec<u64> = Instructions::new(Machine::X86_64, TEXT_OFFSET, &text).map(|instruction| instruction.address).collect();
    let shapes = [NEW, Shape { text_in_header: true, module: false, ..NEW }, Shape { magic: 0xffff_fffa, version: Some("go1.17"), ..NEW }];
    for shape in shapes {
        let (mut file, table) = program(shape);
        let (mut refused, end) = (0, file.len());
        // The table, and the module and the version behind it.
        for at in table.start..end {
            for flip in [1_u8, 2, 4, 8, 16, 32, 64, 128, 255] {
                file[at] ^= flip;
                match planned(&file) {
                    Ok(Some(planned)) => {
                        let off: Vec<_> = planned.plan.probes.iter().filter(|probe| !boundaries.contains(&probe.offset)).collect();
                        assert!(off.is_empty(), "byte {:#x} ^ {flip:#x}: {off:?}", at - table.start);
                    }
                    Ok(None) | Err(_) => refused += 1,
                }
                file[at] ^= flip;
            }
        }
        assert!(refused > 200, "most of it matters: {refused}");
    }
}

#[test]
fn a_program_that_ends_early_is_no_plan_and_no_panic() {
    let (file, _) = program(NEW);
    for length in 0..file.len() {
        let cut = file.get(..length).unwrap().to_vec();
        if let Ok(Some(planned)) = planned(&cut) {
            assert!(length > file.len() - 64, "only the version and what is not asked for may be missing: {length}: {planned:?}");
        }
    }
}

/// Counts what is read of it.
struct Counting {
    file: Vec<u8>,
    reads: std::cell::Cell<usize>,
    bytes: std::cell::Cell<usize>,
}

impl crate::discovery::file::ByteSource for Counting {
    fn len(&self) -> u64 {
        self.file.len() as u64
    }

    fn read_exact_at(&self, offset: u64, into: &mut [u8]) -> std::io::Result<()> {
        self.reads.set(self.reads.get() + 1);
        self.bytes.set(self.bytes.get() + into.len());
        self.file.read_exact_at(offset, into)
    }
}

/// Data that is nothing but the table's address: each word could be where the runtime describes the module.
#[test]
fn look_alikes_of_the_module_cost_little_and_are_not_looked_at_without_end() {
    let (mut file, _) = program(Shape { module: false, ..NEW });
    let words = 200_000;
    file.resize(file.len().next_multiple_of(8), 0);
    file.extend(std::iter::repeat_n(DATA.to_le_bytes(), words).flatten());
    let size = file.len() as u64 - DATA_OFFSET;
    file[64 + 56 + 32..64 + 56 + 40].copy_from_slice(&size.to_le_bytes());
    let length = file.len();
    let source = Counting { file, reads: std::cell::Cell::default(), bytes: std::cell::Cell::default() };
    let elf = Elf::parse(&source).unwrap();
    let functions = elf.functions(NAMES).unwrap_or_default();
    assert_eq!(plan(&Binary::new(FileId::default(), &elf, functions)).err(), Some(GoRefusal::TextStart));
    assert!(source.reads.get() < 2_000 && source.bytes.get() < 4 * length, "{} reads, {} bytes", source.reads.get(), source.bytes.get());
}
