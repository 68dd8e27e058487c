//! ELF files of others: functions by name, file offsets, names and build id.
//!
//! Only what was asked for is kept, everything is read in bounded windows, and every count and size of the file is
//! checked before it is used. A damaged section table costs the sections, not the file: the loader does not need it.

use std::{io, ops::Range};

use object::{LittleEndian as LE, elf, pod};

use super::file::ByteSource;

mod symbols;
pub(crate) use symbols::PROVEN_BYTES;
pub use symbols::{FunctionSymbol, Functions, Refusal, RefusedSymbol};

/// Why a file is not read as ELF.
#[derive(Debug, thiserror::Error)]
pub enum ElfError {
    #[error("not an ELF file")]
    NotElf,
    #[error("a 32-bit or big-endian program: not supported")]
    OtherClass,
    #[error("for another machine (e_machine {0})")]
    OtherMachine(u16),
    #[error("not a program or shared library (e_type {0})")]
    OtherType(u16),
    #[error("{what} lies outside the file")]
    OutOfFile { what: &'static str },
    #[error("{what}: {count} are more than {limit}")]
    TooMany { what: &'static str, count: u64, limit: u64 },
    #[error("the file could not be read: {0}")]
    Read(#[source] io::Error),
}

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Machine {
    X86_64,
    Aarch64,
}

impl Machine {
    /// The machine this agent runs on.
    pub const fn host() -> Option<Self> {
        if cfg!(target_arch = "x86_64") {
            Some(Self::X86_64)
        } else if cfg!(target_arch = "aarch64") {
            Some(Self::Aarch64)
        } else {
            None
        }
    }
}

/// Part of the file that the loader maps.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Segment {
    pub executable: bool,
    pub writable: bool,
    pub offset: u64,
    pub vaddr: u64,
    /// Bytes in the file; what the header claims beyond its end is not counted.
    pub file_size: u64,
}

impl Segment {
    /// The file has the byte at `vaddr` in it.
    pub fn holds(&self, vaddr: u64) -> bool {
        vaddr.checked_sub(self.vaddr).is_some_and(|into| into < self.file_size)
    }
}

#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Section {
    pub name: String,
    kind: elf::SectionType,
    link: u32,
    pub offset: u64,
    pub size: u64,
}

/// The headers of one ELF file, checked.
pub struct Elf<'a> {
    source: &'a dyn ByteSource,
    machine: Machine,
    is_position_independent: bool,
    segments: Vec<Segment>,
    /// Where the tables of headers are.
    headers: Vec<Range<u64>>,
    unwind_table: Option<u64>,
    sections: Vec<Section>,
    build_id: Option<Vec<u8>>,
    interpreter: Option<String>,
    dynamic: Dynamic,
}

/// What PT_DYNAMIC says.
#[derive(Default)]
struct Dynamic {
    soname: Option<String>,
    needed: Vec<String>,
    symbols: Option<symbols::SymbolTable>,
    relocations: Relocations,
}

/// Tables by which the loader corrects addresses: offset in the file and size in bytes.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Relocations {
    /// `DT_RELA`: entries of 24 bytes.
    pub rela: Option<(u64, u64)>,
    /// `DT_RELR`: words of 8 bytes.
    pub relr: Option<(u64, u64)>,
}

impl<'a> Elf<'a> {
    /// Reads and checks the headers.
    pub fn parse(source: &'a dyn ByteSource) -> Result<Self, ElfError> {
        let mut ident = [0; 20];
        if source.len() < size_of_u64::<elf::FileHeader64<LE>>() {
            let mut magic = [0; 4];
            let is_elf = source.read_exact_at(0, &mut magic).is_ok() && magic == elf::ELFMAG;
            return Err(if is_elf { ElfError::OutOfFile { what: "the file header" } } else { ElfError::NotElf });
        }
        source.read_exact_at(0, &mut ident).map_err(ElfError::Read)?;
        let [m0, m1, m2, m3, class, data, ..] = ident;
        if [m0, m1, m2, m3] != elf::ELFMAG {
            return Err(ElfError::NotElf);
        }
        if elf::FileClass(class) != elf::ELFCLASS64 || elf::DataEncoding(data) != elf::ELFDATA2LSB {
            return Err(ElfError::OtherClass);
        }
        let header: elf::FileHeader64<LE> = read(source, 0, "the file header")?;
        let machine = match header.e_machine.get(LE) {
            elf::EM_X86_64 => Machine::X86_64,
            elf::EM_AARCH64 => Machine::Aarch64,
            other => return Err(ElfError::OtherMachine(other.0)),
        };
        let kind = header.e_type.get(LE);
        if kind != elf::ET_DYN && kind != elf::ET_EXEC {
            return Err(ElfError::OtherType(kind.0));
        }
        let program_headers = program_headers(source, &header)?;
        let segments = loadable(&program_headers, source.len())?;
        let sections = sections(source, &header).unwrap_or_default();
        let mut parsed = Self {
            source,
            machine,
            is_position_independent: kind == elf::ET_DYN,
            segments,
            headers: headers(&header),
            unwind_table: None,
            sections,
            build_id: None,
            interpreter: None,
            dynamic: Dynamic::default(),
        };
        for segment in &program_headers {
            let (offset, size) = (segment.p_offset.get(LE), segment.p_filesz.get(LE));
            match segment.p_type.get(LE) {
                elf::PT_NOTE if parsed.build_id.is_none() => parsed.build_id = build_id(source, offset, size, segment.p_align.get(LE)),
                elf::PT_INTERP => parsed.interpreter = string(source, offset, size).ok(),
                elf::PT_GNU_EH_FRAME => parsed.unwind_table = Some(segment.p_vaddr.get(LE)),
                elf::PT_DYNAMIC => parsed.dynamic = parsed.read_dynamic(offset, size)?,
                _ => {}
            }
        }
        Ok(parsed)
    }

    pub fn machine(&self) -> Machine {
        self.machine
    }

    /// GNU build id, lower-case hexadecimal. Free text for reports: patching tools keep it.
    pub fn build_id(&self) -> Option<String> {
        self.build_id.as_ref().map(|id| {
            id.iter().fold(String::new(), |mut text, byte| {
                text.extend([byte >> 4, byte & 15].into_iter().filter_map(|digit| char::from_digit(digit.into(), 16)));
                text
            })
        })
    }

    pub fn soname(&self) -> Option<&str> {
        self.dynamic.soname.as_deref()
    }

    /// `DT_NEEDED`, in order.
    pub fn needed(&self) -> &[String] {
        &self.dynamic.needed
    }

    /// The loader of a dynamically linked program.
    pub fn interpreter(&self) -> Option<&str> {
        self.interpreter.as_deref()
    }

    pub fn segments(&self) -> &[Segment] {
        &self.segments
    }

    /// The loader chooses where it lies, so addresses in its data are relocated.
    pub fn is_position_independent(&self) -> bool {
        self.is_position_independent
    }

    /// Address of `.eh_frame_hdr`.
    pub fn unwind_table(&self) -> Option<u64> {
        self.unwind_table
    }

    pub fn relocations(&self) -> Relocations {
        self.dynamic.relocations
    }

    /// False where the section table was stripped, or is damaged.
    pub fn has_sections(&self) -> bool {
        !self.sections.is_empty()
    }

    pub fn section(&self, name: &str) -> Option<&Section> {
        self.sections.iter().find(|section| section.name == name)
    }

    pub fn source(&self) -> &'a dyn ByteSource {
        self.source
    }

    /// The parts of the file that say what it does: headers, what is mapped, symbols; not what debuggers read. In ascending order, none
    /// touches another, each within the file.
    pub fn extents(&self) -> Vec<Range<u64>> {
        let segments = self.segments.iter().map(|segment| (segment.offset, segment.file_size));
        let names = |table: &Section| self.sections.get(table.link as usize).map(|names| (names.offset, names.size));
        let tables = self.sections.iter().filter(|section| matches!(section.kind, elf::SHT_SYMTAB | elf::SHT_DYNSYM | elf::SHT_NOTE));
        let tables = tables.flat_map(|table| [Some((table.offset, table.size)), names(table)]).flatten();
        let tables = tables.chain(self.section(".shstrtab").map(|names| (names.offset, names.size)));
        let ranges = segments.chain(tables).map(|(offset, size)| offset..offset.saturating_add(size));
        merged(ranges.chain(self.headers.iter().cloned()), self.source.len())
    }

    /// Where the defined functions with these names are. Names may be defined several times (local copies, versions).
    pub fn functions(&self, names: &[&'static str]) -> Result<Functions, ElfError> {
        symbols::functions(self, names)
    }

    /// File offset of code at `vaddr`, when an executable segment of the file holds at least `readable` bytes there.
    pub fn code_offset(&self, vaddr: u64, readable: u64) -> Result<u64, Refusal> {
        let mut found = None;
        for segment in self.segments.iter().filter(|segment| segment.executable) {
            let Some(into) = vaddr.checked_sub(segment.vaddr).filter(|into| *into < segment.file_size) else { continue };
            // The kernel maps whole pages: file offset and address must agree within a page, or the bytes are elsewhere.
            if segment.vaddr.wrapping_sub(segment.offset) % SMALLEST_PAGE != 0 {
                return Err(Refusal::Misaligned);
            }
            let offset = segment.offset.checked_add(into).ok_or(Refusal::OutsideFile)?;
            if segment.file_size - into < readable || offset.checked_add(readable).is_none_or(|end| end > self.source.len()) {
                return Err(Refusal::OutsideFile);
            }
            if found.is_some_and(|other| other != offset) {
                return Err(Refusal::Ambiguous);
            }
            found = Some(offset);
        }
        found.ok_or(Refusal::NotExecutable)
    }

    fn data_offset(&self, vaddr: u64) -> Option<u64> {
        let segment = self.segments.iter().find(|s| vaddr.checked_sub(s.vaddr).is_some_and(|into| into < s.file_size))?;
        segment.offset.checked_add(vaddr.checked_sub(segment.vaddr)?)
    }

    fn read_dynamic(&self, offset: u64, size: u64) -> Result<Dynamic, ElfError> {
        let count = size / size_of_u64::<elf::Dyn64<LE>>();
        let entries: Vec<elf::Dyn64<LE>> = read_many(self.source, offset, count, MAX_DYNAMIC_ENTRIES, "the dynamic table")?;
        let mut values = DynamicValues::default();
        for entry in &entries {
            let value = entry.d_val.get(LE);
            match entry.d_tag.get(LE) {
                elf::DT_NULL => break,
                elf::DT_NEEDED if values.needed.len() < MAX_NEEDED => values.needed.push(value),
                elf::DT_SONAME => values.soname = Some(value),
                elf::DT_STRTAB => values.strings = self.data_offset(value),
                elf::DT_STRSZ => values.strings_size = value,
                elf::DT_SYMTAB => values.symbols = self.data_offset(value),
                elf::DT_HASH => values.hash = self.data_offset(value),
                elf::DT_GNU_HASH => values.gnu_hash = self.data_offset(value),
                elf::DT_RELA => values.rela = self.data_offset(value),
                elf::DT_RELASZ => values.rela_size = value,
                elf::DT_RELR => values.relr = self.data_offset(value),
                elf::DT_RELRSZ => values.relr_size = value,
                _ => {}
            }
        }
        let relocations = Relocations {
            rela: values.rela.map(|offset| (offset, values.rela_size)),
            relr: values.relr.map(|offset| (offset, values.relr_size)),
        };
        let Some(strings) = values.strings else { return Ok(Dynamic { relocations, ..Dynamic::default() }) };
        let name = |at: u64| {
            let room = values.strings_size.checked_sub(at)?;
            string(self.source, strings.checked_add(at)?, room).ok()
        };
        let count = match (values.hash, values.gnu_hash) {
            (Some(hash), _) => symbols::count_by_hash(self.source, hash),
            (None, Some(hash)) => symbols::count_by_gnu_hash(self.source, hash),
            (None, None) => None,
        };
        let symbols = match (values.symbols, count) {
            (Some(offset), Some(count)) => {
                Some(symbols::SymbolTable { offset, count, strings_offset: strings, strings_size: values.strings_size })
            }
            _ => None,
        };
        Ok(Dynamic {
            soname: values.soname.and_then(name),
            needed: values.needed.iter().filter_map(|at| name(*at)).collect(),
            symbols,
            relocations,
        })
    }
}

#[derive(Default)]
struct DynamicValues {
    needed: Vec<u64>,
    soname: Option<u64>,
    strings: Option<u64>,
    strings_size: u64,
    symbols: Option<u64>,
    hash: Option<u64>,
    gnu_hash: Option<u64>,
    rela: Option<u64>,
    rela_size: u64,
    relr: Option<u64>,
    relr_size: u64,
}

fn program_headers(source: &dyn ByteSource, header: &elf::FileHeader64<LE>) -> Result<Vec<elf::ProgramHeader64<LE>>, ElfError> {
    let count = u64::from(header.e_phnum.get(LE));
    if u64::from(header.e_phentsize.get(LE)) != size_of_u64::<elf::ProgramHeader64<LE>>() {
        return Err(ElfError::OutOfFile { what: "a program header" });
    }
    read_many(source, header.e_phoff.get(LE), count, MAX_PROGRAM_HEADERS, "the program headers")
}

/// Where the file's headers are, those of programs and sections, as it claims.
fn headers(header: &elf::FileHeader64<LE>) -> Vec<Range<u64>> {
    let table = |offset: u64, count: u16, size: u16| offset..offset.saturating_add(u64::from(count) * u64::from(size));
    vec![
        0..size_of_u64::<elf::FileHeader64<LE>>(),
        table(header.e_phoff.get(LE), header.e_phnum.get(LE), header.e_phentsize.get(LE)),
        table(header.e_shoff.get(LE), header.e_shnum.get(LE), header.e_shentsize.get(LE)),
    ]
}

/// `ranges` in order, cut at `end`, those that overlap or touch as one.
fn merged(ranges: impl Iterator<Item = Range<u64>>, end: u64) -> Vec<Range<u64>> {
    let mut ranges: Vec<_> = ranges.map(|range| range.start..range.end.min(end)).filter(|range| !range.is_empty()).collect();
    ranges.sort_unstable_by_key(|range| (range.start, range.end));
    let mut merged: Vec<Range<u64>> = Vec::new();
    for range in ranges {
        match merged.last_mut() {
            Some(last) if range.start <= last.end => last.end = last.end.max(range.end),
            _ => merged.push(range),
        }
    }
    merged
}

/// What the file has of its segments. Memory and time of whoever looks at them follow their sizes: claims are not believed.
fn loadable(headers: &[elf::ProgramHeader64<LE>], length: u64) -> Result<Vec<Segment>, ElfError> {
    let segments: Vec<Segment> = headers
        .iter()
        .filter(|header| header.p_type.get(LE) == elf::PT_LOAD)
        .map(|header| Segment {
            executable: header.p_flags.get(LE).0 & elf::PF_X.0 != 0,
            writable: header.p_flags.get(LE).0 & elf::PF_W.0 != 0,
            offset: header.p_offset.get(LE),
            vaddr: header.p_vaddr.get(LE),
            file_size: header.p_filesz.get(LE).min(length.saturating_sub(header.p_offset.get(LE))),
        })
        .collect();
    let total = segments.iter().fold(0_u64, |total, segment| total.saturating_add(segment.file_size));
    let limit = length.saturating_mul(MAX_TIMES_MAPPED);
    if total > limit {
        return Err(ElfError::TooMany { what: "bytes of segments", count: total, limit });
    }
    Ok(segments)
}

fn sections(source: &dyn ByteSource, header: &elf::FileHeader64<LE>) -> Result<Vec<Section>, ElfError> {
    if header.e_shoff.get(LE) == 0 || u64::from(header.e_shentsize.get(LE)) != size_of_u64::<elf::SectionHeader64<LE>>() {
        return Ok(Vec::new());
    }
    let count = u64::from(header.e_shnum.get(LE));
    let headers: Vec<elf::SectionHeader64<LE>> = read_many(source, header.e_shoff.get(LE), count, MAX_SECTIONS, "the section table")?;
    let names = headers.get(usize::from(header.e_shstrndx.get(LE).0));
    let (names_offset, names_size) = names.map_or((0, 0), |s| (s.sh_offset.get(LE), s.sh_size.get(LE)));
    let names_size = names_size.min(MAX_SECTION_NAMES);
    let names: Vec<u8> = read_many(source, names_offset, names_size, MAX_SECTION_NAMES, "the section names").unwrap_or_default();
    Ok(headers
        .iter()
        .map(|section| {
            let name = names.get(section.sh_name.get(LE) as usize..).unwrap_or_default();
            let name = name.split(|byte| *byte == 0).next().unwrap_or_default();
            Section {
                name: String::from_utf8_lossy(name.get(..name.len().min(MAX_STRING)).unwrap_or_default()).into_owned(),
                kind: section.sh_type.get(LE),
                link: section.sh_link.get(LE),
                offset: section.sh_offset.get(LE),
                size: section.sh_size.get(LE),
            }
        })
        .collect())
}

fn build_id(source: &dyn ByteSource, offset: u64, size: u64, align: u64) -> Option<Vec<u8>> {
    let size = size.min(MAX_NOTES);
    let notes: Vec<u8> = read_many(source, offset, size, MAX_NOTES, "the notes").ok()?;
    let align = if align == 8 { 8 } else { 4 };
    let mut rest = notes.as_slice();
    while let Ok((note, after)) = pod::from_bytes::<elf::NoteHeader32<LE>>(rest) {
        let name_len = note.n_namesz.get(LE) as usize;
        let desc_len = note.n_descsz.get(LE) as usize;
        let name = after.get(..name_len)?;
        // Padding counts from the note's start, which the header of 12 bytes does not keep aligned to 8.
        let desc_at = (NOTE_HEADER.checked_add(name_len)?.checked_next_multiple_of(align)?).checked_sub(NOTE_HEADER)?;
        let desc = after.get(desc_at..desc_at.checked_add(desc_len)?)?;
        if note.n_type.get(LE) == elf::NT_GNU_BUILD_ID && name == b"GNU\0" {
            return (1..=MAX_BUILD_ID).contains(&desc.len()).then(|| desc.to_vec());
        }
        let next = NOTE_HEADER.checked_add(desc_at)?.checked_add(desc_len)?.checked_next_multiple_of(align)?;
        rest = rest.get(next..)?;
    }
    None
}

/// A string that ends with a zero byte or after `room` bytes.
fn string(source: &dyn ByteSource, offset: u64, room: u64) -> Result<String, ElfError> {
    let room = room.min(MAX_STRING as u64).min(source.len().saturating_sub(offset));
    let bytes: Vec<u8> = read_many(source, offset, room, MAX_STRING as u64, "a string")?;
    let end = bytes.iter().position(|byte| *byte == 0).unwrap_or(bytes.len());
    Ok(String::from_utf8_lossy(bytes.get(..end).unwrap_or_default()).into_owned())
}

fn read<T: pod::Pod>(source: &dyn ByteSource, offset: u64, what: &'static str) -> Result<T, ElfError> {
    let mut values = read_many(source, offset, 1, 1, what)?;
    values.pop().ok_or(ElfError::OutOfFile { what })
}

/// `count` values at `offset`, refused before anything is allocated when they are too many or not in the file.
fn read_many<T: pod::Pod>(source: &dyn ByteSource, offset: u64, count: u64, limit: u64, what: &'static str) -> Result<Vec<T>, ElfError> {
    if count > limit {
        return Err(ElfError::TooMany { what, count, limit });
    }
    let bytes = count.checked_mul(size_of_u64::<T>()).ok_or(ElfError::OutOfFile { what })?;
    if offset.checked_add(bytes).is_none_or(|end| end > source.len()) {
        return Err(ElfError::OutOfFile { what });
    }
    let length = usize::try_from(bytes).map_err(|_| ElfError::OutOfFile { what })?;
    let mut buffer = vec![0; length];
    source.read_exact_at(offset, &mut buffer).map_err(ElfError::Read)?;
    let count = usize::try_from(count).map_err(|_| ElfError::OutOfFile { what })?;
    match pod::slice_from_bytes::<T>(&buffer, count) {
        Ok((values, _)) => Ok(values.to_vec()),
        Err(()) => Err(ElfError::OutOfFile { what }),
    }
}

const fn size_of_u64<T>() -> u64 {
    size_of::<T>() as u64
}

/// The kernel loads no program whose headers exceed 64 KiB: 1,170 of 56 bytes.
const MAX_PROGRAM_HEADERS: u64 = 1_170;
/// Linkers put each byte into one segment, and the page where two of them meet into both.
const MAX_TIMES_MAPPED: u64 = 2;
/// Linked files have dozens of sections; object files, which have thousands, are not loaded.
const MAX_SECTIONS: u64 = 4_096;
const MAX_SECTION_NAMES: u64 = 256 * 1024;
/// Programs have dozens of dynamic entries plus one per needed library.
const MAX_DYNAMIC_ENTRIES: u64 = 8_192;
const MAX_NEEDED: usize = 512;
/// Notes are a few hundred bytes; packagers add kilobytes.
const MAX_NOTES: u64 = 64 * 1024;
/// SHA-1 ids have 20 bytes, the longest in use 32.
const MAX_BUILD_ID: usize = 64;
/// `PATH_MAX`.
const MAX_STRING: usize = 4_096;
/// Every page size is a multiple of this.
const SMALLEST_PAGE: u64 = 4_096;
const NOTE_HEADER: usize = size_of::<elf::NoteHeader32<LE>>();

#[cfg(test)]
mod tests;
