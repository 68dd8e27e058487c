use super::{
    testing::{CODE, DATA, Part, READ_ONLY, UNWIND_TABLE, elf, unwind_table, words},
    walk::Incomplete,
    *,
};
use crate::discovery::{
    elf::{Elf, Machine, Refusal},
    file::OpenedFile,
    testing::{TempDir, compile},
};

fn x86(bytes: &[u8]) -> Kind {
    decode(Machine::X86_64, 0x1000, bytes).unwrap().kind
}

fn arm(word: u32) -> Kind {
    decode(Machine::Aarch64, 0x1000, &word.to_le_bytes()).unwrap().kind
}

const fn r(number: u8) -> Register {
    Register::numbered(number)
}

/// Encodings from binutils.
#[test]
fn x86_64_instructions_are_told() {
    let cases: &[(&[u8], Kind)] = &[
        (&[0xe8, 0xfb, 0x0f, 0, 0], Kind::Call(0x2000)),
        (&[0xff, 0xd0], Kind::CallRegister(r(0))),
        (&[0xff, 0x50, 0x10], Kind::CallMemory { base: Some(r(0)), displacement: 16 }),
        (&[0xff, 0x15, 0xfa, 0x0f, 0, 0], Kind::CallSlot(0x2000)),
        (&[0xeb, 0xfe], Kind::Jump(0x1000)),
        (&[0xff, 0x60, 0x08], Kind::JumpIndirect(Indirect::Memory { base: r(0), displacement: 8 })),
        (&[0xff, 0x24, 0xc1], Kind::JumpIndirect(Indirect::Indexed)),
        // To where another segment or an interrupted program says: no function ends so.
        (&[0xcb], Kind::JumpIndirect(Indirect::Indexed)),                   // retf
        (&[0x48, 0xca, 0x08, 0x00], Kind::JumpIndirect(Indirect::Indexed)), // retfq 8
        (&[0x48, 0xcf], Kind::JumpIndirect(Indirect::Indexed)),             // iretq
        (&[0xc2, 0x08, 0x00], Kind::Return),                                // ret 8
        (&[0xff, 0xe1], Kind::JumpIndirect(Indirect::Register(r(1)))),
        (&[0xff, 0x25, 0xfa, 0x0f, 0, 0], Kind::JumpIndirect(Indirect::Slot(0x2000))),
        (&[0x0f, 0x84, 0xfa, 0x0f, 0, 0], Kind::Branch(0x2000)),
        (&[0xe2, 0xfe], Kind::Branch(0x1000)), // loop
        (&[0xc3], Kind::Return),
        (&[0xf3, 0xc3], Kind::Return),
        (&[0x0f, 0x0b], Kind::Trap),
        (&[0xcc], Kind::Trap),
        (&[0xf3, 0x0f, 0x1e, 0xfa], Kind::Nop),
        (&[0x66, 0x90], Kind::Nop),
        (&[0x0f, 0x1f, 0x44, 0, 0], Kind::Nop),
        (&[0x48, 0x8d, 0x35, 0xf9, 0x0f, 0, 0], Kind::Address { to: r(6), value: 0x2000 }),
        (&[0x48, 0x8d, 0x46, 0x11], Kind::Add { to: r(0), from: r(6), value: 17 }),
        (&[0xbf, 0x10, 0, 0, 0], Kind::Constant { to: r(7), value: 16 }),
        (&[0x31, 0xf6], Kind::Constant { to: r(6), value: 0 }),
        (&[0x45, 0x31, 0xc0], Kind::Constant { to: r(8), value: 0 }),
        (&[0x6a, 0x42], Kind::PushConstant(0x42)),
        (&[0x5a], Kind::Pop(r(2))),
        (&[0x41, 0x57], Kind::Push(Some(r(15)))),
        (&[0x48, 0x89, 0xfb], Kind::Move { to: r(3), from: r(7) }),
        (&[0x48, 0x8b, 0x07], Kind::Load { to: r(0), base: r(7), displacement: 0, size: 8 }),
        (&[0x0f, 0xb6, 0x47, 0x20], Kind::Load { to: r(0), base: r(7), displacement: 32, size: 1 }),
        (&[0x48, 0x8b, 0x05, 0xf9, 0x0f, 0, 0], Kind::LoadAbsolute { to: r(0), address: 0x2000, size: 8 }),
        (&[0x48, 0x01, 0x43, 0x08], Kind::Store { from: Some(r(0)), base: r(3), displacement: 8, size: 8 }),
        (&[0xc7, 0x43, 0x08, 1, 0, 0, 0], Kind::Store { from: None, base: r(3), displacement: 8, size: 4 }),
        (&[0x83, 0xf8, 0x16], Kind::Compare { register: r(0), value: 22 }),
        (&[0x48, 0x83, 0xec, 0x28], Kind::Add { to: r(4), from: r(4), value: -40 }),
        (&[0x85, 0xc0], Kind::Other { destination: None }),
        (&[0x0f, 0x44, 0xd0], Kind::Other { destination: Some(r(2)) }), // cmov
        (&[0x64, 0x48, 0x8b, 0x04, 0x25, 0, 0, 0, 0], Kind::Other { destination: Some(r(0)) }), // thread-local
    ];
    for (bytes, kind) in cases {
        assert_eq!(x86(bytes), *kind, "{bytes:02x?}");
    }
    assert_eq!(decode(Machine::X86_64, 0, &[0x06]), None, "invalid in 64-bit mode");
    assert_eq!(decode(Machine::X86_64, 0, &[0x48, 0x8d, 0x35]), None, "cut");
    assert_eq!(decode(Machine::X86_64, 0, &[]), None);
}

/// Encodings from LLVM's assembler.
#[test]
fn arm64_instructions_are_told() {
    let load = |to, base, displacement, size| Kind::Load { to: r(to), base: r(base), displacement, size };
    let cases = [
        (0xd503_201f, Kind::Nop),
        (0xd503_245f, Kind::Nop), // bti c
        (0xd503_233f, Kind::Nop), // paciasp
        (0xd65f_03c0, Kind::Return),
        (0xd65f_0bff, Kind::Return), // retaa
        (0x9400_0400, Kind::Call(0x2000)),
        (0x17ff_fffe, Kind::Jump(0xff8)),
        (0x5400_0081, Kind::Branch(0x1010)),
        (0xb400_0103, Kind::Branch(0x1020)),
        (0x371f_ffe4, Kind::Branch(0xffc)),
        (0xb000_0001, Kind::Address { to: r(1), value: 0x2000 }),
        (0x1000_0062, Kind::Address { to: r(2), value: 0x100c }),
        (0x9100_4420, Kind::Add { to: r(0), from: r(1), value: 17 }),
        (0x9140_4020, Kind::Add { to: r(0), from: r(1), value: 0x1_0000 }),
        (0xd101_03ff, Kind::Add { to: r(31), from: r(31), value: -64 }),
        (0x9100_03fd, Kind::Move { to: r(29), from: r(31) }),
        (0x5280_0200, Kind::Constant { to: r(0), value: 16 }),
        (0x5280_1c42, Kind::Constant { to: r(2), value: 226 }),
        (0x9280_0003, Kind::Constant { to: r(3), value: u64::MAX }),
        (0xf2a0_00a3, Kind::Other { destination: Some(r(3)) }), // movk
        (0xaa00_03f3, Kind::Move { to: r(19), from: r(0) }),
        (0x2a1f_03e1, Kind::Constant { to: r(1), value: 0 }),
        (0xf940_0008, load(8, 0, 0, 8)),
        (0xf940_0909, load(9, 8, 16, 8)),
        (0xb940_2022, load(2, 1, 32, 4)),
        (0x3940_8022, load(2, 1, 32, 1)),
        (0x7940_4422, load(2, 1, 34, 2)),
        (0xf900_0660, Kind::Store { from: Some(r(0)), base: r(19), displacement: 8, size: 8 }),
        (0xa9be_7bfd, Kind::Store { from: None, base: r(31), displacement: -32, size: 0 }),
        (0xa8c2_7bfd, load(29, 31, 0, 0)),
        (0xa941_4ff4, load(20, 31, 16, 0)),
        (0xad01_0500, Kind::Store { from: None, base: r(8), displacement: 32, size: 0 }),
        (0xd63f_0120, Kind::CallRegister(r(9))),
        (0xd61f_0200, Kind::JumpIndirect(Indirect::Register(r(16)))),
        (0xd420_0020, Kind::Trap),
        (0x0000_0000, Kind::Trap),
        (0xf100_581f, Kind::Compare { register: r(0), value: 22 }),
        (0x7100_0508, Kind::Other { destination: Some(r(8)) }), // subs
        (0xfa41_1800, Kind::Other { destination: None }),       // ccmp
        (0x9a82_0020, Kind::Other { destination: Some(r(0)) }), // csel
        (0x5800_0205, Kind::LoadAbsolute { to: r(5), address: 0x1040, size: 8 }),
        (0x9e66_0000, Kind::Other { destination: Some(r(0)) }), // fmov
        (0xd400_0001, Kind::Other { destination: Some(r(0)) }), // svc
        (0xd53b_d040, Kind::Other { destination: Some(r(0)) }), // mrs
        (0xb240_1fe9, Kind::Other { destination: Some(r(9)) }), // orr of a mask
        (0xc8df_fc20, Kind::Other { destination: Some(r(0)) }), // ldar
    ];
    for (word, kind) in cases {
        assert_eq!(arm(word), kind, "{word:08x}");
    }
    let stack = |word: u32| decode(Machine::Aarch64, 0, &word.to_le_bytes()).unwrap().stack;
    assert_eq!(stack(0xa9be_7bfd), StackChange::By(-32));
    assert_eq!(stack(0xa8c2_7bfd), StackChange::By(32));
    assert_eq!(stack(0x3c9f_0fe0), StackChange::By(-16));
    assert_eq!(stack(0xf841_07e0), StackChange::By(16));
    assert_eq!(stack(0xa941_4ff4), StackChange::None);
    assert_eq!(decode(Machine::Aarch64, 2, &[0x1f, 0x20, 3, 0xd5]), None, "off a boundary");
    assert_eq!(decode(Machine::Aarch64, 0, &[0x1f, 0x20, 3]), None, "cut");
}

#[test]
fn no_bytes_make_a_decoder_panic_and_none_go_beyond_their_end() {
    let mut state = 1_u32;
    for _ in 0..200_000 {
        state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        let bytes = u64::from(state).wrapping_mul(0x9e37_79b9_7f4a_7c15).to_le_bytes();
        for machine in [Machine::X86_64, Machine::Aarch64] {
            let length = usize::from(bytes[0] % 9);
            if let Some(instruction) = decode(machine, u64::MAX - 3, &bytes[..length]) {
                assert!(usize::from(instruction.length) <= length && instruction.length > 0);
            }
        }
    }
}

fn walk(machine: Machine, code: &[u8], start: u64) -> Walk {
    let file = elf(machine, true, &[Part { vaddr: 0x1000, flags: CODE, bytes: code }]);
    let elf = Elf::parse(&file).unwrap();
    Function::walk(&Image::of(&elf), start, 0x1000 + code.len() as u64)
}

#[test]
fn a_function_is_walked_to_all_of_its_returns() {
    // push rbx; test edi,edi; je +4; pop rbx; ret; (2 bytes of rubbish) ; call +0; pop rbx; ret
    let code = [0x53, 0x85, 0xff, 0x74, 4, 0x5b, 0xc3, 0x06, 0x06, 0xe8, 0, 0, 0, 0, 0x5b, 0xc3];
    let found = walk(Machine::X86_64, &code, 0x1000);
    assert!(found.is_complete() && found.is_balanced, "{found:?}");
    assert_eq!(found.returns, [0x1006, 0x100f]);
    assert_eq!(found.calls().collect::<Vec<_>>(), [(0x1009, 0x100e)]);
    assert!(found.at(0x1009).is_some() && found.at(0x100a).is_none());

    let code = words(&[
        0xa9be_7bfd, // stp x29, x30, [sp, #-32]!
        0x9100_03fd, // mov x29, sp
        0xb400_0060, // cbz x0, +12
        0xa8c2_7bfd, // ldp x29, x30, [sp], #32
        0xd65f_03c0, // ret
        0x9100_03bf, // mov sp, x29
        0xa8c2_7bfd,
        0xd65f_03c0,
    ]);
    let found = walk(Machine::Aarch64, &code, 0x1000);
    assert!(found.is_complete() && found.is_balanced, "{found:?}");
    assert_eq!(found.returns, [0x1010, 0x101c]);
}

#[test]
fn a_start_inside_a_function_is_not_balanced() {
    let code = [0x53, 0x85, 0xff, 0x74, 4, 0x5b, 0xc3, 0x06, 0x06, 0xe8, 0, 0, 0, 0, 0x5b, 0xc3];
    for start in [1, 3, 5, 9, 14] {
        let found = walk(Machine::X86_64, &code, 0x1000 + start);
        assert!(!found.is_balanced, "{start}: {found:?}");
    }
}

#[test]
fn what_keeps_a_walk_from_being_complete_is_named() {
    let why = |code: &[u8]| walk(Machine::X86_64, code, 0x1000).incomplete;
    assert_eq!(why(&[0x06]), Some(Incomplete::Undecodable(0x1000)));
    assert_eq!(why(&[0x90]), Some(Incomplete::RunsOut(0x1001)));
    assert_eq!(why(&[0x90, 0xff, 0x24, 0xc1]), Some(Incomplete::IndirectJump(0x1001)));
    // jne into the middle of the `mov` that follows: 0xb8 .. 0x90 0x90 0xc3
    assert_eq!(why(&[0x75, 1, 0xb8, 0x90, 0x90, 0x90, 0xc3, 0xc3]), Some(Incomplete::Overlap(0x1003)));
    assert_eq!(why(&[0xe8, 0, 0, 0, 0]), None, "a call that does not return");
    let tail = walk(Machine::X86_64, &[0x48, 0x8b, 0x07, 0xff, 0x60, 0x10], 0x1000);
    assert!(tail.is_complete() && tail.returns.is_empty());
    let tail = walk(Machine::X86_64, &[0xe9, 0xfb, 0x0f, 0, 0], 0x1000);
    assert!(tail.is_complete() && tail.tail_jumps == [0x2000]);
}

#[test]
fn an_image_reads_only_what_the_file_holds() {
    let file = elf(Machine::X86_64, true, &[Part { vaddr: 0x3010, flags: CODE, bytes: &[1, 2, 3, 4, 5, 6, 7, 8, 9] }]);
    let elf = Elf::parse(&file).unwrap();
    let image = Image::of(&elf);
    assert_eq!(image.bytes(0x3011, 3), Some(vec![2, 3, 4]));
    assert_eq!((image.bytes(0x3011, 9), image.bytes(0x300f, 1), image.bytes(0, u64::MAX)), (None, None, None));
    assert_eq!(image.bytes_up_to(0x3017, 100), Some(vec![8, 9]));
    assert_eq!(image.word(0x3010), Some(0x0807_0605_0403_0201));
    assert_eq!((image.file_offset(0x3012), image.file_offset(0x3019)), (Ok(0x1012), Err(Refusal::NotExecutable)));
    let mut seen = Vec::new();
    image.windows(image.code().next().unwrap(), 4, |at, bytes| {
        seen.push((at, bytes.len()));
        true
    });
    assert_eq!(seen, [(0x3010, 9)]);
}

fn reference(at: u64, target: u64, to: u8) -> Reference {
    Reference { at, target, to: r(to) }
}

#[test]
fn references_of_x86_64_are_found_wherever_they_stand() {
    // lea rdx, [rip+0xff8]; 41 mov r9d, 0x2000; mov edi, 0x2001; mov rax, 0x2002 (48 c7 c0); lea r8, [rip+0xfe2]
    let mut code = vec![0x90_u8];
    code.extend([0x48, 0x8d, 0x15, 0xf8, 0x0f, 0, 0]);
    code.extend([0x41, 0xb9, 0x00, 0x20, 0, 0]);
    code.extend([0xbf, 0x01, 0x20, 0, 0]);
    code.extend([0x48, 0xc7, 0xc0, 0x02, 0x20, 0, 0]);
    code.extend([0x4c, 0x8d, 0x05, 0xdf, 0x0f, 0, 0]);
    let find = |is_position_independent| {
        let file = elf(Machine::X86_64, is_position_independent, &[Part { vaddr: 0x1000, flags: CODE, bytes: &code }]);
        references(&Image::of(&Elf::parse(&file).unwrap()), &[0x2000, 0x2001, 0x2002])
    };
    let relative = [reference(0x1001, 0x2000, 2), reference(0x101a, 0x2000, 8)];
    assert_eq!(find(true), relative);
    let absolute = [reference(0x1008, 0x2000, 9), reference(0x100e, 0x2001, 7), reference(0x1013, 0x2002, 0)];
    let mut all = [&relative[..], &absolute[..]].concat();
    all.sort();
    assert_eq!(find(false), all);
}

#[test]
fn references_and_calls_of_arm64_are_found() {
    let code = words(&[
        0xb000_0001, // 1000: adrp x1, 0x2000
        0xd503_201f, // nop
        0x9100_4420, // 1008: add x0, x1, #17
        0x9100_2021, // 100c: add x1, x1, #8
        0x9100_4420, // 1010: add x0, x1, #17: x1 is another by now, told from the first
        0x1000_7f62, // 1014: adr x2, 0x2000
        0x9400_03fa, // 1018: bl 0x2000
    ]);
    let file = elf(Machine::Aarch64, true, &[Part { vaddr: 0x1000, flags: CODE, bytes: &code }]);
    let elf = Elf::parse(&file).unwrap();
    let image = Image::of(&elf);
    let wanted = [reference(0x1008, 0x2011, 0), reference(0x100c, 0x2008, 1), reference(0x1010, 0x2019, 0), reference(0x1014, 0x2000, 2)];
    assert_eq!(references(&image, &[0x2000, 0x2008, 0x2011, 0x2019]), wanted);
    assert_eq!(calls_to(&image, &[0x2000]), [(0x1018, 0x2000)]);
}

#[test]
fn text_is_found_with_its_beginning_and_only_where_nobody_writes() {
    let text = b"\0/build/ssl/ssl_lib.cc\0";
    let mut room = vec![0; 5_000];
    room.extend(text);
    let parts = [Part { vaddr: 0x2000, flags: READ_ONLY, bytes: &room }, Part { vaddr: 0x5000, flags: DATA, bytes: text }];
    let file = elf(Machine::X86_64, true, &parts);
    let elf = Elf::parse(&file).unwrap();
    let found = literals(&Image::of(&elf), b"ssl_lib.c");
    assert_eq!(found, [Literal { start: 0x2000 + 5_001, at: 0x2000 + 5_001 + 11 }]);
}

/// RELA, RELR and plain words say the same of the same table.
#[test]
fn pointers_are_read_however_they_are_relocated() {
    let dir = TempDir::new("pointers");
    let source = "int first_one(void){return 1;} int other_one(void){return 2;} int (*volatile table[])(void)={first_one,other_one,first_one}; int main(void){return table[1]();}";
    for arguments in [&["-fPIE", "-pie"][..], &["-fPIE", "-pie", "-Wl,-z,pack-relative-relocs"], &["-fno-pie", "-no-pie"]] {
        let path = compile(&dir, "table", source, arguments);
        let file = OpenedFile::open(&path).unwrap();
        let elf = Elf::parse(&file).unwrap();
        let functions = elf.functions(&["first_one", "other_one"]);
        let functions = functions.unwrap().found;
        let address = |name: &str| functions.iter().find(|function| function.name == name).map(|function| function.vaddr).unwrap();
        let pointers = Pointers::of(&Image::of(&elf));
        let slots: Vec<u64> = pointers.slots_of(address("first_one")).collect();
        let [first, third] = *slots.as_slice() else { panic!("{arguments:?}: {slots:x?}") };
        assert_eq!((third - first, pointers.value_at(first + 8)), (16, Some(address("other_one"))), "{arguments:?}");
        assert!(pointers.iter().any(|pair| pair == (first, address("first_one"))));
    }
}

#[test]
fn an_error_report_whose_end_is_shared_is_told_by_its_own_way() {
    // 0: test edi,edi; je +12 → 16; mov edx,1; mov esi,9; jmp → 26; 16: mov edx,2; mov esi,8; 26: mov edi,16; call; ret
    let code = [
        0x85, 0xff, 0x74, 0x0c, 0xba, 1, 0, 0, 0, 0xbe, 9, 0, 0, 0, 0xeb, 0x0a, 0xba, 2, 0, 0, 0, 0xbe, 8, 0, 0, 0, 0xbf, 16, 0, 0, 0,
        0xe8, 0, 0, 0, 0, 0xc3,
    ];
    let walked = walk(Machine::X86_64, &code, 0x1000);
    let constants = constants::Constants::of(Machine::X86_64, &walked);
    let at_call = |from: u64| {
        let (call, state) = constants.next_call(from).unwrap();
        assert_eq!(call, 0x101f);
        [r(7), r(6), r(2)].map(|register| state.of(register).constants().to_vec())
    };
    assert_eq!(at_call(0x1004), [vec![16], vec![9], vec![1]]);
    assert_eq!(at_call(0x1010), [vec![16], vec![8], vec![2]]);
    let both = constants.before(0x101f).unwrap();
    assert_eq!(both.of(r(2)).constants().len(), 2, "on whatever path");
    // push imm8; pop rdx; call
    let code = [0x6a, 0x42, 0x5a, 0xe8, 0, 0, 0, 0, 0xc3];
    let walked = walk(Machine::X86_64, &code, 0x1000);
    let constants = constants::Constants::of(Machine::X86_64, &walked);
    assert_eq!(constants.next_call(0x1000).unwrap().1.of(r(2)).constants(), [0x42]);
}

/// The two parts of a function, the first at 0x1000 and what is seldom run at 0x1100, and a caller of the first at 0x1200.
fn proven_of_parts(hot: &[u8], cold: &[u8], description: &[u8]) -> Vec<u64> {
    let mut code = vec![0xcc_u8; 0x210];
    code[..hot.len()].copy_from_slice(hot);
    code[0x100..0x100 + cold.len()].copy_from_slice(cold);
    // sub rsp, 8; call 0x1000; add rsp, 8; ret
    code[0x200..0x20e].copy_from_slice(&[0x48, 0x83, 0xec, 8, 0xe8, 0xf7, 0xfd, 0xff, 0xff, 0x48, 0x83, 0xc4, 8, 0xc3]);
    let described: [(u64, u64, &[u8]); 3] =
        [(0x1000, hot.len() as u64, &[0x41, 0x0e, 16]), (0x1100, cold.len() as u64, description), (0x1200, 14, &[0x44, 0x0e, 16])];
    let table = unwind_table(Machine::X86_64, 0x3000, &described);
    let parts = [Part { vaddr: 0x1000, flags: CODE, bytes: &code }, Part { vaddr: 0x3000, flags: UNWIND_TABLE, bytes: &table }];
    let file = elf(Machine::X86_64, true, &parts);
    let elf = Elf::parse(&file).unwrap();
    let image = Image::of(&elf);
    let functions = Functions::of(&image);
    assert_eq!(functions.unwindable(), 3);
    assert_eq!(functions.bounds(0x1101), Some((0x1100, 0x1100 + cold.len() as u64)), "the fragment has an entry of its own");
    functions.proven(&[0x1000, 0x1100, 0x1200])
}

#[test]
fn a_fragment_in_the_unwind_table_is_no_function() {
    // push rbx; test edi, edi; je 0x1100; pop rbx; ret
    let framed = [0x53, 0x85, 0xff, 0x0f, 0x84, 0xf7, 0, 0, 0, 0x5b, 0xc3];
    // call 0x1200; jmp 0x1009: back to where the frame is given back
    let goes_back = [0xe8, 0xfb, 0, 0, 0, 0xe9, 0xff, 0xfe, 0xff, 0xff];
    assert_eq!(proven_of_parts(&framed, &goes_back, &[0x0e, 16, 0x83, 2]), [0x1000, 0x1200], "its frame stands, rbx is saved");
    assert_eq!(proven_of_parts(&framed, &goes_back, &[]), [0x1000, 0x1200], "it goes back into the middle of another");
    // call 0x1200; pop rbx; ret
    let returns = [0xe8, 0xfb, 0, 0, 0, 0x5b, 0xc3];
    assert_eq!(proven_of_parts(&framed, &returns, &[0x0e, 16, 0x83, 2]), [0x1000, 0x1200]);
    assert_eq!(proven_of_parts(&framed, &returns, &[]), [0x1000, 0x1200], "it gives back a frame that it did not make");
    // call 0x1200; ud2
    let ends = [0xe8, 0xfb, 0, 0, 0, 0x0f, 0x0b];
    assert_eq!(proven_of_parts(&framed, &ends, &[0x0e, 16]), [0x1000, 0x1200]);
    // … and what is a function by all that it says.
    let function = [0x50, 0xe8, 0xfa, 0, 0, 0, 0x5a, 0xc3]; // push rax; call 0x1200; pop rdx; ret
    assert_eq!(proven_of_parts(&framed, &function, &[0x41, 0x0e, 16]), [0x1000, 0x1100, 0x1200]);
}

#[test]
fn a_function_that_goes_into_the_middle_of_its_fragment_stays_a_function() {
    // test edi, edi; je 0x1101; ret
    let hot = [0x85, 0xff, 0x0f, 0x84, 0xf9, 0, 0, 0, 0xc3];
    // nop; mov eax, 1; jmp 0x1008
    let cold = [0x90, 0xb8, 1, 0, 0, 0, 0xe9, 0xfd, 0xfe, 0xff, 0xff];
    assert_eq!(proven_of_parts(&hot, &cold, &[]), [0x1000, 0x1200]);
}

/// mov edi, 7; then a chain of `branches` of je over a nop; ret.
fn with_branches(branches: usize) -> Walk {
    let mut code = vec![0xbf, 7, 0, 0, 0];
    code.extend([0x74, 0x01, 0x90].repeat(branches));
    code.push(0xc3);
    walk(Machine::X86_64, &code, 0x1000)
}

#[test]
fn constants_are_known_at_every_instruction_and_kept_where_paths_join() {
    let walked = with_branches(3);
    let constants = constants::Constants::of(Machine::X86_64, &walked);
    for instruction in &walked.instructions {
        let held = constants.before(instruction.address).unwrap().of(r(7));
        assert_eq!(held.constants(), if instruction.address == 0x1000 { &[][..] } else { &[7] }, "{instruction:x?}");
    }
    assert_eq!(constants.before(0x1001), None, "in the middle of an instruction");
    assert_eq!(constants.before(0x100f), None, "behind the function");
    // jmp +2 over two bytes that nobody reaches, then ret
    let walked = walk(Machine::X86_64, &[0xeb, 2, 0x90, 0x90, 0xc3], 0x1000);
    let constants = constants::Constants::of(Machine::X86_64, &walked);
    assert_eq!((constants.before(0x1002), constants.before(0x1004).is_some()), (None, true));
}

#[test]
fn of_a_function_beyond_all_measure_no_constant_is_known() {
    let walked = with_branches(20_000);
    assert!(walked.is_complete() && walked.instructions.len() > 40_000);
    let constants = constants::Constants::of(Machine::X86_64, &walked);
    assert_eq!((constants.before(0x1000), constants.next_call(0x1000)), (None, None));
    let smaller = with_branches(2_000);
    assert!(constants::Constants::of(Machine::X86_64, &smaller).before(0x1005).is_some());
}

fn written(machine: Machine, bytes: &[u8]) -> Vec<u8> {
    let decoded = decode(machine, 0x1000, bytes).unwrap();
    assert!(decoded.destination().is_none_or(|register| decoded.writes(register)));
    (0..32).filter(|number| decoded.writes(r(*number))).collect()
}

/// After Intel's manual: rax 0, rcx 1, rdx 2, rbx 3, rsp 4, rbp 5, rsi 6, rdi 7.
#[test]
fn all_that_an_instruction_of_x86_64_changes_is_told() {
    let cases: &[(&str, &[u8], &[u8])] = &[
        ("mov rbx, rdi", &[0x48, 0x89, 0xfb], &[3]),
        ("mul rcx", &[0x48, 0xf7, 0xe1], &[0, 2]),
        ("mul qword [rdi]", &[0x48, 0xf7, 0x27], &[0, 2]),
        ("imul rdx, rsi", &[0x48, 0x0f, 0xaf, 0xd6], &[2]),
        ("div rsi", &[0x48, 0xf7, 0xf6], &[0, 2]),
        ("cqo", &[0x48, 0x99], &[2]),
        ("cpuid", &[0x0f, 0xa2], &[0, 1, 2, 3]),
        ("rdtsc", &[0x0f, 0x31], &[0, 2]),
        ("xchg rdi, rsi", &[0x48, 0x87, 0xf7], &[6, 7]),
        ("xchg [rdi], rsi", &[0x48, 0x87, 0x37], &[6]),
        ("lock xadd [rdi], rsi", &[0xf0, 0x48, 0x0f, 0xc1, 0x37], &[6]),
        ("lock cmpxchg [rdi], rsi", &[0xf0, 0x48, 0x0f, 0xb1, 0x37], &[0]),
        ("rep movsb", &[0xf3, 0xa4], &[1, 6, 7]),
        ("syscall", &[0x0f, 0x05], &[0, 1, 11]),
        ("loop", &[0xe2, 0xfe], &[1]),
        ("leave", &[0xc9], &[4, 5]),
        ("pop rdx", &[0x5a], &[2, 4]),
        ("push rdx", &[0x52], &[4]),
        ("mulx rdx, rcx, rsi", &[0xc4, 0xe2, 0xf3, 0xf6, 0xd6], &[1, 2]),
        ("cmp rax, 22", &[0x83, 0xf8, 0x16], &[]),
        ("mov [rdi], rsi", &[0x48, 0x89, 0x37], &[]),
        ("jmp", &[0xeb, 0xfe], &[]),
    ];
    for (name, bytes, registers) in cases {
        assert_eq!(written(Machine::X86_64, bytes), *registers, "{name}");
    }
    let is_store = |bytes: &[u8]| matches!(x86(bytes), Kind::Store { .. });
    assert!(is_store(&[0x48, 0x87, 0x37]) && is_store(&[0xf0, 0x48, 0x0f, 0xc1, 0x37]));
    assert!(!is_store(&[0x48, 0xf7, 0x27]) && !is_store(&[0x0f, 0x18, 0x07]), "mul and prefetch only read");
    assert!(!x86(&[0x0f, 0x05]).is_call(), "syscall");
}

/// Encodings from LLVM's assembler.
#[test]
fn all_that_an_instruction_of_arm64_changes_is_told() {
    let cases: &[(&str, u32, &[u8])] = &[
        ("ldp x20, x19, [sp, #16]", 0xa941_4ff4, &[19, 20]),
        ("ldp x29, x30, [sp], #32", 0xa8c2_7bfd, &[29, 30, 31]),
        ("ldp x1, xzr, [x0]", 0xa940_7c01, &[1]),
        ("stp x29, x30, [sp, #-32]!", 0xa9be_7bfd, &[31]),
        ("ldp q0, q1, [x2], #32", 0xacc1_0440, &[2]),
        ("ldr x1, [x0], #8", 0xf840_8401, &[0, 1]),
        ("ldr x1, [x0, #8]", 0xf940_0401, &[1]),
        ("str x1, [x0, #8]!", 0xf800_8c01, &[0]),
        ("ldxr x1, [x0]", 0xc85f_7c01, &[1]),
        ("ldxp x1, x2, [x0]", 0xc87f_0801, &[1, 2]),
        ("casp x2, x3, x4, x5, [x0]", 0x4822_7c04, &[2, 3, 4, 5]),
        ("ld1 {v0.16b}, [x1], #16", 0x4cdf_7020, &[1]),
        ("autia1716", 0xd503_219f, &[17, 30]),
        ("nop", 0xd503_201f, &[]),
        ("add x0, x1, #17", 0x9100_4420, &[0]),
    ];
    for (name, word, registers) in cases {
        assert_eq!(written(Machine::Aarch64, &word.to_le_bytes()), *registers, "{name}");
    }
    let of_exclusive = written(Machine::Aarch64, &0xc803_7c01_u32.to_le_bytes()); // stxr w3, x1, [x0]
    assert!(of_exclusive.contains(&3));
}

#[test]
fn a_constant_does_not_survive_an_implicit_result() {
    // mov edx, 226; mul rcx; call
    let walked = walk(Machine::X86_64, &[0xba, 226, 0, 0, 0, 0x48, 0xf7, 0xe1, 0xe8, 0, 0, 0, 0, 0xc3], 0x1000);
    let constants = constants::Constants::of(Machine::X86_64, &walked);
    assert_eq!(constants.before(0x1005).unwrap().of(r(2)).constants(), [226]);
    assert_eq!(constants.next_call(0x1000).unwrap().1.of(r(2)).constants(), [] as [u64; 0]);
    // mov x2, #226; ldp x1, x2, [x0]; bl
    let code = words(&[0xd280_1c42, 0xa940_0801, 0x9400_0000, 0xd65f_03c0]);
    let walked = walk(Machine::Aarch64, &code, 0x1000);
    let constants = constants::Constants::of(Machine::Aarch64, &walked);
    assert_eq!(constants.next_call(0x1000).unwrap().1.of(r(2)).constants(), [] as [u64; 0]);
}
