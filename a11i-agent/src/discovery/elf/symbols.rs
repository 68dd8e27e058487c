//! Functions by name from `.dynsym` and `.symtab`.
//!
//! The string table is searched first for the few names asked for; only when one is there, the symbol table is walked.
//! Both in windows: a program of a gigabyte costs time, not memory.

use std::collections::HashMap;

use memchr::memmem;
use object::{LittleEndian as LE, elf, pod};
use serde::Serialize;

use super::{Elf, ElfError, read, size_of_u64};
use crate::discovery::file::ByteSource;

/// A defined function, proven to lie in an executable segment of the file.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct FunctionSymbol {
    pub name: &'static str,
    pub vaddr: u64,
    /// Offset in the file, which is what the kernel's uprobes take.
    pub offset: u64,
    /// Bytes as the symbol states them; 0 when it does not.
    pub size: u64,
}

/// Why a symbol is not taken as a function.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, thiserror::Error)]
#[serde(rename_all = "snake_case")]
pub enum Refusal {
    #[error("its address is in no executable segment")]
    NotExecutable,
    #[error("its code lies outside the file")]
    OutsideFile,
    #[error("segments overlap at its address")]
    Ambiguous,
    #[error("its segment's offset and address do not agree")]
    Misaligned,
    #[error("it is an indirect function: its address is the resolver's")]
    Indirect,
    #[error("another function with other arguments has the same address")]
    SharedAddress,
    #[error("not every way through its code could be followed")]
    NotWhole,
}

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct RefusedSymbol {
    pub name: &'static str,
    pub vaddr: u64,
    pub why: Refusal,
}

/// Answer of [`Elf::functions`], in ascending order of name and address.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Functions {
    pub found: Vec<FunctionSymbol>,
    pub refused: Vec<RefusedSymbol>,
}

impl Functions {
    pub fn has(&self, name: &str) -> bool {
        self.found.iter().any(|function| function.name == name)
    }
}

/// Where a symbol table is in the file.
#[derive(Clone, Copy, Debug)]
pub(super) struct SymbolTable {
    pub(super) offset: u64,
    pub(super) count: u64,
    pub(super) strings_offset: u64,
    pub(super) strings_size: u64,
}

pub(super) fn functions(file: &Elf<'_>, names: &[&'static str]) -> Result<Functions, ElfError> {
    let mut functions = Functions::default();
    for table in tables(file) {
        let wanted = find_names(file.source, &table, names)?;
        if !wanted.is_empty() {
            collect(file, &table, &wanted, &mut functions)?;
        }
    }
    functions.found.sort_unstable_by_key(|function| (function.name, function.vaddr));
    functions.found.dedup_by_key(|function| (function.name, function.vaddr));
    functions.refused.sort_unstable_by_key(|refused| (refused.name, refused.vaddr));
    functions.refused.dedup();
    Ok(functions)
}

/// Sections name the tables; a file without them still has the one the loader uses.
fn tables(file: &Elf<'_>) -> Vec<SymbolTable> {
    let of_kind = |kind| file.sections.iter().find(move |section| section.kind == kind);
    let from_section = |section: &super::Section| {
        let strings = file.sections.get(section.link as usize)?;
        Some(SymbolTable {
            offset: section.offset,
            count: section.size / size_of_u64::<elf::Sym64<LE>>(),
            strings_offset: strings.offset,
            strings_size: strings.size,
        })
    };
    let dynamic = of_kind(elf::SHT_DYNSYM).and_then(from_section).or(file.dynamic.symbols);
    let full = of_kind(elf::SHT_SYMTAB).and_then(from_section);
    dynamic.into_iter().chain(full).collect()
}

/// Offsets in the string table at which one of `names` stands. Linkers share tails (`read` in `SSL_read`), so a name
/// may start inside another string.
fn find_names(source: &dyn ByteSource, table: &SymbolTable, names: &[&'static str]) -> Result<HashMap<u32, &'static str>, ElfError> {
    let what = "a string table";
    in_file(source, table.strings_offset, table.strings_size, what)?;
    let mut prefixes: Vec<&[u8]> = names.iter().filter_map(|name| name.as_bytes().get(..PREFIX)).collect();
    prefixes.sort_unstable();
    prefixes.dedup();
    let finders: Vec<_> = prefixes.into_iter().map(memmem::Finder::new).collect();
    let longest = names.iter().map(|name| name.len()).max().unwrap_or(0);
    let overlap = longest.saturating_add(1) as u64;

    let mut found = HashMap::new();
    let mut looked_at = 0_u64;
    let mut window = Vec::new();
    let mut at = 0;
    while at < table.strings_size {
        let length = (table.strings_size - at).min(WINDOW + overlap);
        window.resize(usize::try_from(length).unwrap_or(0), 0);
        source.read_exact_at(table.strings_offset.saturating_add(at), &mut window).map_err(ElfError::Read)?;
        for finder in &finders {
            for hit in finder.find_iter(&window) {
                looked_at = looked_at.saturating_add(1);
                if looked_at > MAX_PREFIX_HITS {
                    return Err(ElfError::TooMany { what: "names of this beginning", count: looked_at, limit: MAX_PREFIX_HITS });
                }
                let text = window.get(hit..).unwrap_or_default();
                let is_here = |name: &&&'static str| text.strip_prefix(name.as_bytes()).is_some_and(|rest| rest.first() == Some(&0));
                let (Some(name), Ok(offset)) = (names.iter().find(is_here), u32::try_from(at.saturating_add(hit as u64))) else { continue };
                found.insert(offset, *name);
                if found.len() > MAX_NAME_HITS {
                    return Err(ElfError::TooMany {
                        what: "copies of one symbol name",
                        count: found.len() as u64,
                        limit: MAX_NAME_HITS as u64,
                    });
                }
            }
        }
        at = at.saturating_add(WINDOW);
    }
    Ok(found)
}

fn collect(file: &Elf<'_>, table: &SymbolTable, wanted: &HashMap<u32, &'static str>, into: &mut Functions) -> Result<(), ElfError> {
    let entry = size_of_u64::<elf::Sym64<LE>>();
    let what = "a symbol table";
    in_file(file.source, table.offset, table.count.checked_mul(entry).ok_or(ElfError::OutOfFile { what })?, what)?;
    let mut window = Vec::new();
    let mut index = 0;
    while index < table.count {
        let count = (table.count - index).min(SYMBOLS_PER_WINDOW);
        window.resize(usize::try_from(count.saturating_mul(entry)).unwrap_or(0), 0);
        let offset = table.offset.saturating_add(index.saturating_mul(entry));
        file.source.read_exact_at(offset, &mut window).map_err(ElfError::Read)?;
        let count_here = usize::try_from(count).unwrap_or(0);
        let Ok((symbols, _)) = pod::slice_from_bytes::<elf::Sym64<LE>>(&window, count_here) else {
            return Err(ElfError::OutOfFile { what });
        };
        for symbol in symbols {
            if let Some(name) = wanted.get(&symbol.st_name.get(LE)) {
                take(file, name, symbol, into);
                if into.found.len().saturating_add(into.refused.len()) > MAX_DEFINITIONS {
                    return Err(ElfError::TooMany {
                        what: "definitions",
                        count: MAX_DEFINITIONS as u64 + 1,
                        limit: MAX_DEFINITIONS as u64,
                    });
                }
            }
        }
        index = index.saturating_add(count);
    }
    Ok(())
}

fn take(file: &Elf<'_>, name: &'static str, symbol: &elf::Sym64<LE>, into: &mut Functions) {
    let section = symbol.st_shndx.get(LE);
    let vaddr = symbol.st_value.get(LE);
    // Undefined: imported from elsewhere. The other reserved numbers are no addresses of this file.
    if section == elf::SHN_UNDEF || section == elf::SHN_ABS || section == elf::SHN_COMMON || vaddr == 0 {
        return;
    }
    match symbol.st_type() {
        elf::STT_FUNC => match file.code_offset(vaddr, PROVEN_BYTES) {
            Ok(offset) => into.found.push(FunctionSymbol { name, vaddr, offset, size: symbol.st_size.get(LE) }),
            Err(why) => into.refused.push(RefusedSymbol { name, vaddr, why }),
        },
        elf::STT_GNU_IFUNC => into.refused.push(RefusedSymbol { name, vaddr, why: Refusal::Indirect }),
        _ => {} // data or untyped: not a function of that name
    }
}

/// Number of symbols by DT_HASH: its chain array has one entry per symbol.
pub(super) fn count_by_hash(source: &dyn ByteSource, offset: u64) -> Option<u64> {
    let [_, chains]: [elf_u32; 2] =
        [read(source, offset, "a hash table").ok()?, read(source, offset.checked_add(4)?, "a hash table").ok()?];
    Some(u64::from(chains.get(LE)))
}

/// Number of symbols by DT_GNU_HASH: the chain of the highest bucket, followed to its end.
pub(super) fn count_by_gnu_hash(source: &dyn ByteSource, offset: u64) -> Option<u64> {
    let word = |at: u64| read::<elf_u32>(source, at, "a hash table").ok().map(|word| u64::from(word.get(LE)));
    let buckets = word(offset)?;
    let first = word(offset.checked_add(4)?)?;
    let bloom_words = word(offset.checked_add(8)?)?;
    let buckets_at = offset.checked_add(16)?.checked_add(bloom_words.checked_mul(8)?)?;
    let heads: Vec<elf_u32> = super::read_many(source, buckets_at, buckets, MAX_BUCKETS, "hash buckets").ok()?;
    let highest = heads.iter().map(|head| u64::from(head.get(LE))).max()?;
    let Some(into_chain) = highest.checked_sub(first) else { return Some(first) };
    let chains_at = buckets_at.checked_add(buckets.checked_mul(4)?)?;
    let mut index = into_chain;
    // A chain is as long as a bucket is full: a handful.
    for _ in 0..MAX_CHAIN {
        if word(chains_at.checked_add(index.checked_mul(4)?)?)? & 1 == 1 {
            return first.checked_add(index)?.checked_add(1);
        }
        index = index.checked_add(1)?;
    }
    None
}

fn in_file(source: &dyn ByteSource, offset: u64, size: u64, what: &'static str) -> Result<(), ElfError> {
    if size > MAX_TABLE_BYTES {
        return Err(ElfError::TooMany { what, count: size, limit: MAX_TABLE_BYTES });
    }
    if offset.checked_add(size).is_none_or(|end| end > source.len()) {
        return Err(ElfError::OutOfFile { what });
    }
    Ok(())
}

#[expect(non_camel_case_types, reason = "stands for the field type of the format")]
type elf_u32 = object::U32<LE>;

/// An instruction to put a probe on and its neighbours must really be in the file.
pub(crate) const PROVEN_BYTES: u64 = 16;
/// Bytes of a string table held at once.
const WINDOW: u64 = 256 * 1024;
/// 192 KiB at once.
const SYMBOLS_PER_WINDOW: u64 = 8_192;
/// Unstripped browsers have tables of some 100 MB.
const MAX_TABLE_BYTES: u64 = 512 * 1024 * 1024;
/// Programs with OpenSSL have some thousand names that begin like ours; a table made of nothing else would cost seconds.
const MAX_PREFIX_HITS: u64 = 1 << 20;
/// A linker writes each name once; tail sharing and merged objects add a few.
const MAX_NAME_HITS: usize = 4_096;
/// A name is defined once, in merged programs a few times.
const MAX_DEFINITIONS: usize = 1_024;
/// The largest libraries have some hundred thousand symbols, a fraction of it in buckets.
const MAX_BUCKETS: u64 = 1 << 20;
const MAX_CHAIN: usize = 4_096;
/// Names are searched by their first bytes, so that many names cost few passes.
const PREFIX: usize = 4;
