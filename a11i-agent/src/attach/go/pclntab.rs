//! Go's function table (`pclntab`): names, starts and ends of all functions. The runtime needs it, so stripping leaves it.
//!
//! Of a hostile or damaged table every offset and count is checked before it is used, and a walk is bounded.

use std::cell::Cell;

use memchr::memmem;

use crate::{
    discovery::{
        elf::{Elf, Segment},
        evidence::GoRefusal,
    },
    machine_code::{Functions, Image},
};

/// A function table in a file.
pub(super) struct FunctionTable<'a> {
    elf: &'a Elf<'a>,
    /// In the file; and of which as many bytes may belong to the table.
    offset: u64,
    size: u64,
    address: u64,
    layout: Layout,
    functions: u64,
    /// As the header says; 0: it does not (Go 1.26 and newer).
    text: u64,
    names: (u64, u64),
    /// Index and functions, which offsets of the index count from.
    index: u64,
    code: &'a Functions<'a>,
}

/// A function by the table.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct TableFunction {
    /// Where its name lies in the table of names.
    pub(super) name: u64,
    pub(super) start: u64,
    /// Of the next function: padding included.
    pub(super) end: u64,
}

/// By the magic number, which changes with the layout.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Layout {
    /// Go 1.16 and 1.17: addresses.
    V116,
    /// Go 1.18 to the newest: offsets from the text's start. The magic of 1.20 says that something else changed.
    V118,
}

impl Layout {
    fn of(magic: u32) -> Option<Self> {
        match magic {
            0xffff_fffa => Some(Self::V116),
            0xffff_fff0 | 0xffff_fff1 => Some(Self::V118),
            _ => None,
        }
    }

    /// Bytes of one number in the index.
    const fn number(self) -> u64 {
        match self {
            Self::V116 => 8,
            Self::V118 => 4,
        }
    }
}

impl<'a> FunctionTable<'a> {
    /// The file's table; `None`: it is no Go program, as far as can be told.
    pub(super) fn of(code: &'a Functions<'a>) -> Option<Result<Self, GoRefusal>> {
        let elf = code.image().elf();
        let section = SECTIONS.iter().find_map(|name| elf.section(name));
        if let Some(section) = section {
            return Some(Self::at(code, section.offset, section.size));
        }
        // Some linkers put the table into a section of theirs.
        let may_be_go = !elf.has_sections() || elf.section(".go.buildinfo").is_some();
        if may_be_go { Self::by_magic(code).map(Ok) } else { None }
    }

    /// Where no section says it: the header is known by its first eight bytes and by what follows.
    fn by_magic(code: &'a Functions<'a>) -> Option<Self> {
        let image = code.image();
        let mut found = None;
        for segment in image.segments().iter().filter(|segment| !segment.executable) {
            image.windows(segment, HEADER_BYTES as u64, |address, window| {
                for at in memmem::find_iter(window, &MAGIC_TAIL) {
                    let Some(offset) = address.checked_add(at as u64).and_then(|tail| tail.checked_sub(1)?.checked_sub(segment.vaddr))
                    else {
                        continue;
                    };
                    let size = segment.file_size.saturating_sub(offset);
                    if offset % ALIGNMENT == 0
                        && let Some(offset) = segment.offset.checked_add(offset)
                        && let Ok(table) = Self::at(code, offset, size)
                    {
                        found = Some(table);
                        return false;
                    }
                }
                true
            });
            if found.is_some() {
                break;
            }
        }
        found
    }

    fn at(code: &'a Functions<'a>, offset: u64, size: u64) -> Result<Self, GoRefusal> {
        let elf = code.image().elf();
        let mut header = [0; HEADER_BYTES];
        elf.source().read_exact_at(offset, &mut header).map_err(|_| GoRefusal::Table)?;
        let magic = u32::from_le_bytes(*header.first_chunk().ok_or(GoRefusal::Table)?);
        let layout = Layout::of(magic).ok_or(GoRefusal::UnknownTable)?;
        let [_, _, _, _, 0, 0, 1 | 2 | 4, 8, ..] = header else { return Err(GoRefusal::UnknownTable) };
        let word = |index: usize| -> Option<u64> {
            let at = 8_usize.checked_add(index.checked_mul(8)?)?;
            header.get(at..)?.first_chunk().map(|bytes| u64::from_le_bytes(*bytes))
        };
        let words = match layout {
            Layout::V116 => [Some(0), word(2), word(3), word(6)],
            Layout::V118 => [word(2), word(3), word(4), word(7)],
        };
        let ([Some(text), Some(names), Some(names_end), Some(index)], Some(functions)) = (words, word(0)) else {
            return Err(GoRefusal::Table);
        };
        let size = size.min(elf.source().len().saturating_sub(offset)).min(MAX_TABLE_BYTES);
        let table =
            Self { elf, offset, size, address: address_of(elf, offset)?, layout, functions, text, names: (names, names_end), index, code };
        let index_bytes = functions.checked_mul(2 * layout.number()).and_then(|bytes| bytes.checked_add(layout.number()));
        let is_inside = names < names_end
            && names_end <= index
            && index_bytes.and_then(|bytes| bytes.checked_add(index)).is_some_and(|end| end <= size);
        if functions == 0 || functions > MAX_FUNCTIONS || !is_inside {
            return Err(GoRefusal::Table);
        }
        Ok(table)
    }

    pub(super) fn layout(&self) -> Layout {
        self.layout
    }

    /// The functions whose names lie at these places, in ascending order ([`Self::names`]).
    pub(super) fn functions(&self, names: &[u64]) -> Result<Vec<TableFunction>, GoRefusal> {
        let base = match self.layout {
            Layout::V116 => 0,
            Layout::V118 => self.text_start()?,
        };
        let mut found: Vec<TableFunction> = Vec::new();
        let (mut index, mut bodies) = (Window::default(), Window::default());
        for number in 0..self.functions {
            let (start, body) = self.entry(&mut index, number).ok_or(GoRefusal::Table)?;
            // The function's own record: where it starts, and where its name is.
            let record = self.index.checked_add(body).ok_or(GoRefusal::Table)?;
            let at_name = record.checked_add(self.layout.number()).ok_or(GoRefusal::Table)?;
            let name = bodies.number(self, at_name, 4).ok_or(GoRefusal::Table)?;
            if names.binary_search(&name).is_err() {
                continue;
            }
            let end = self.start(&mut index, number.saturating_add(1)).ok_or(GoRefusal::Table)?;
            let start = match self.layout {
                // In position-independent programs these are relocated.
                Layout::V116 => self.relocated(self.address_in_index(number)?, start),
                Layout::V118 if bodies.number(self, record, 4) == Some(start) => base.checked_add(start),
                Layout::V118 => None,
            };
            let end = match self.layout {
                Layout::V116 => self.relocated(self.address_in_index(number.saturating_add(1))?, end),
                Layout::V118 => base.checked_add(end),
            };
            let (Some(start), Some(end)) = (start, end) else { return Err(GoRefusal::Table) };
            if start >= end || found.iter().any(|other| other.name == name) {
                return Err(GoRefusal::Table);
            }
            found.push(TableFunction { name, start, end });
        }
        Ok(found)
    }

    /// Names with `anchor` in them, by what `keep` makes of their place in the table of names and their text.
    pub(super) fn names<T>(&self, anchor: &[u8], keep: impl Fn(u64, &[u8]) -> Option<T>) -> Result<Vec<T>, GoRefusal> {
        let finder = memmem::Finder::new(anchor);
        let (from, to) = self.names;
        let mut found = Vec::new();
        let mut window = Vec::new();
        let mut at = from;
        while at < to {
            // A name belongs to the window that its anchor begins in; it may begin before, and end after.
            let first = at.saturating_sub(LONGEST_NAME).max(from);
            let length = (to - first).min(WINDOW.saturating_add(2 * LONGEST_NAME));
            window.resize(usize::try_from(length).unwrap_or(0), 0);
            self.read(first, &mut window)?;
            for hit in finder.find_iter(&window) {
                let here = first.saturating_add(hit as u64);
                if here < at || here >= at.saturating_add(WINDOW) {
                    continue;
                }
                let (before, after) = window.split_at_checked(hit).ok_or(GoRefusal::Table)?;
                let begin = memchr::memrchr(0, before).map_or(0, |end| end.saturating_add(1));
                let begins = begin > 0 || first == from;
                let Some(end) = memchr::memchr(0, after).and_then(|rest| hit.checked_add(rest)).filter(|_| begins) else { continue };
                let name = window.get(begin..end).unwrap_or_default();
                found.extend(keep(first.saturating_add(begin as u64) - from, name));
            }
            if found.len() > MAX_NAMES {
                return Err(GoRefusal::Table);
            }
            at = at.saturating_add(WINDOW);
        }
        Ok(found)
    }

    /// Address that offsets in the index count from.
    fn text_start(&self) -> Result<u64, GoRefusal> {
        let image = Image::of(self.elf);
        if self.text != 0 && image.is_code(self.text) {
            return Ok(self.text);
        }
        self.module_text().ok_or(GoRefusal::TextStart)
    }

    /// By the runtime's description of the module: it points to this header and repeats what it says. From Go 1.26 on it has a section.
    fn module_text(&self) -> Option<u64> {
        let image = Image::of(self.elf);
        let needle = self.address.to_le_bytes();
        let mut text = None;
        let candidates = Cell::new(MAX_MODULES);
        for segment in self.elf.segments().iter().filter(|segment| segment.writable) {
            image.windows(segment, MODULE_BYTES, |address, window| {
                text = memmem::find_iter(window, &needle)
                    .filter_map(|at| address.checked_add(at as u64))
                    .filter(|module| module % ALIGNMENT == 0)
                    .take_while(|_| candidates.replace(candidates.get().saturating_sub(1)) > 0)
                    .find_map(|module| self.text_of_module(&image, module));
                text.is_none()
            });
            if text.is_some() {
                break;
            }
        }
        // Where the linker left the addresses to the loader alone.
        text.or_else(|| {
            self.elf.is_position_independent().then_some(())?;
            let modules = self.code.pointers().slots_of(self.address);
            modules.take(MAX_MODULES).find_map(|module| self.text_of_module(&image, module))
        })
    }

    fn text_of_module(&self, image: &Image<'_>, module: u64) -> Option<u64> {
        let word = |index: u64| -> Option<u64> {
            let at = module.checked_add(index.checked_mul(8)?)?;
            self.relocated(at, image.word(at)?)
        };
        // What costs least first: windows of the table are read only for what has its shape.
        let index = self.address.checked_add(self.index)?;
        if word(MODULE_TABLE)? != index || word(MODULE_INDEX)? != index || word(MODULE_INDEX + 1)? != self.functions.checked_add(1)? {
            return None;
        }
        let text = word(MODULE_TEXT).filter(|text| image.is_code(*text))?;
        let mut window = Window::default();
        let first = text.checked_add(self.start(&mut window, 0)?)?;
        let last = text.checked_add(self.start(&mut window, self.functions)?)?;
        (word(MODULE_TEXT - 2)? == first && word(MODULE_TEXT - 1)? == last).then_some(text)
    }

    /// The word at `address` when the program runs, before it is moved as a whole.
    fn relocated(&self, address: u64, in_file: u64) -> Option<u64> {
        if in_file != 0 || !self.elf.is_position_independent() {
            return Some(in_file);
        }
        self.code.pointers().value_at(address)
    }

    fn address_in_index(&self, number: u64) -> Result<u64, GoRefusal> {
        let at = number.checked_mul(2 * self.layout.number()).and_then(|at| at.checked_add(self.index)?.checked_add(self.address));
        at.ok_or(GoRefusal::Table)
    }

    /// An entry of the index: start, and where the function's record lies.
    fn entry(&self, window: &mut Window, number: u64) -> Option<(u64, u64)> {
        let size = self.layout.number();
        let at = self.index.checked_add(number.checked_mul(2 * size)?)?;
        Some((window.number(self, at, size)?, window.number(self, at.checked_add(size)?, size)?))
    }

    /// Start of a function; that of the one after the last is where the last ends.
    fn start(&self, window: &mut Window, number: u64) -> Option<u64> {
        let size = self.layout.number();
        window.number(self, self.index.checked_add(number.checked_mul(2 * size)?)?, size)
    }

    /// From `at` bytes into the table.
    fn read(&self, at: u64, into: &mut [u8]) -> Result<(), GoRefusal> {
        let end = at.checked_add(into.len() as u64).ok_or(GoRefusal::Table)?;
        let offset = self.offset.checked_add(at).filter(|_| end <= self.size).ok_or(GoRefusal::Table)?;
        self.elf.source().read_exact_at(offset, into).map_err(|_| GoRefusal::Table)
    }
}

/// A piece of the table: what is read next lies near, as a rule.
#[derive(Default)]
struct Window {
    at: u64,
    bytes: Vec<u8>,
}

impl Window {
    /// Little-endian, of 4 or 8 bytes.
    fn number(&mut self, table: &FunctionTable<'_>, at: u64, size: u64) -> Option<u64> {
        let is_here = at >= self.at && at.checked_add(size)? <= self.at.checked_add(self.bytes.len() as u64)?;
        if !is_here {
            let length = table.size.checked_sub(at)?.min(WINDOW);
            self.bytes.resize(usize::try_from(length).ok()?, 0);
            self.at = at;
            if table.read(at, &mut self.bytes).is_err() {
                self.bytes.clear();
                return None;
            }
        }
        let bytes = self.bytes.get(usize::try_from(at.checked_sub(self.at)?).ok()?..)?;
        if size == 8 {
            bytes.first_chunk().map(|bytes| u64::from_le_bytes(*bytes))
        } else {
            bytes.first_chunk().map(|bytes| u64::from(u32::from_le_bytes(*bytes)))
        }
    }
}

fn address_of(elf: &Elf<'_>, offset: u64) -> Result<u64, GoRefusal> {
    let into = |segment: &&Segment| offset.checked_sub(segment.offset).is_some_and(|into| into < segment.file_size);
    let segment = elf.segments().iter().find(into).ok_or(GoRefusal::Table)?;
    segment.vaddr.checked_add(offset - segment.offset).ok_or(GoRefusal::Table)
}

/// Position-independent programs before Go 1.26 have it among what is relocated.
const SECTIONS: [&str; 2] = [".gopclntab", ".data.rel.ro.gopclntab"];
/// The magic numbers but for their first byte (little-endian), which differs, and the two zeros after them.
const MAGIC_TAIL: [u8; 5] = [0xff, 0xff, 0xff, 0, 0];
const ALIGNMENT: u64 = 8;
/// Magic, sizes, and eight words.
const HEADER_BYTES: usize = 72;
/// Words of the runtime's `moduledata`: `pclntable`, `ftab`, and `text`, which `minpc` and `maxpc` go before (Go 1.18 to 1.27).
const MODULE_TABLE: u64 = 13;
const MODULE_INDEX: u64 = 16;
const MODULE_TEXT: u64 = 22;
const MODULE_BYTES: u64 = 24 * 8;
/// Words that hold the table's address: the module's own, and few others.
const MAX_MODULES: usize = 1_024;
/// The largest Go programs have some hundred thousand functions.
const MAX_FUNCTIONS: u64 = 1 << 22;
const MAX_TABLE_BYTES: u64 = 512 * 1024 * 1024;
/// Package path, type and method; the longest of 300 programs looked at have a tenth of it without type parameters.
const LONGEST_NAME: u64 = 1_024;
/// Of interest. The linker writes each name once, and a program has few packages with connections.
const MAX_NAMES: usize = 1_024;
const WINDOW: u64 = 256 * 1024;
