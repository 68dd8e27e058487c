//! Offsets of kernel structure members, from the running kernel's own type information.
//!
//! Format: BPF Type Format, kernel documentation `bpf/btf.rst`. No structure layout is hard-coded anywhere.

use thiserror::Error;

/// Where the kernel publishes its BTF (5.4+ with `CONFIG_DEBUG_INFO_BTF`).
pub const VMLINUX: &str = "/sys/kernel/btf/vmlinux";

/// A kernel's BTF is 5 to 10 MB; more than this is not one.
pub const MAX_BYTES: u64 = 128 * 1024 * 1024;

#[derive(Debug, Error, PartialEq, Eq)]
pub enum BtfError {
    #[error("BTF ends inside its {0}")]
    Truncated(&'static str),
    #[error("not BTF: magic {0:#06x}")]
    Magic(u16),
    #[error("BTF type kind {0} is unknown")]
    Kind(u32),
}

/// Byte offsets of the asked members.
pub trait MemberOffsets {
    /// `None`: the kernel has no such structure or member.
    fn member(&self, structure: &str, member: &str) -> Option<u32>;
}

/// The members of a few named structures, the values of a few named enumerations, and which of some type definitions there are.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Layouts {
    members: Vec<(String, String, u32)>,
    values: Vec<(String, String, u32)>,
    aliases: Vec<String>,
}

impl MemberOffsets for Layouts {
    fn member(&self, structure: &str, member: &str) -> Option<u32> {
        find(&self.members, structure, member)
    }
}

fn find(list: &[(String, String, u32)], outer: &str, inner: &str) -> Option<u32> {
    list.iter().find(|(o, i, _)| o == outer && i == inner).map(|(_, _, number)| *number)
}

/// Structures within structures that have no name: deeper than any in the kernel.
const DEPTH: u32 = 8;

/// Members that are followed of one structure: `task_struct` has some 250, and hostile input is not to cost more.
const MEMBERS: usize = 16_384;

impl Layouts {
    /// Reads every member of the structures in `wanted`, those of their unnamed parts included, and every value of the enumerations in it.
    /// `btf`: the whole blob, native byte order.
    pub fn parse(btf: &[u8], wanted: &[&str]) -> Result<Self, BtfError> {
        let header = Header::parse(btf)?;
        let strings = section(btf, header.string_at, header.string_len).ok_or(BtfError::Truncated("string section"))?;
        let mut rest = Words(section(btf, header.type_at, header.type_len).ok_or(BtfError::Truncated("type section"))?);
        let mut types = Vec::new();
        while !rest.0.is_empty() {
            let (name, info, size_or_type) = (rest.next()?, rest.next()?, rest.next()?);
            let (kind, items, flag) = ((info >> 24) & 0x1f, info & 0xffff, info >> 31 == 1);
            let body = rest.0;
            rest.skip(words_after(kind, items).ok_or(BtfError::Kind(kind))?)?;
            types.push(Type { name, kind, items, flag, size: size_or_type, body });
        }
        let mut found = Self::default();
        for one in &types {
            let Some(name) = string(strings, one.name).filter(|name| one.size > 0 && wanted.contains(name)) else { continue };
            match one.kind {
                kind::STRUCT => {
                    let mut budget = MEMBERS;
                    let blob = Blob { types: &types, strings };
                    found.take_members(&blob, one, name, Nesting { bits: 0, depth: DEPTH }, &mut budget)?;
                }
                kind::ENUM => found.take_values(strings, one, name)?,
                kind::TYPEDEF => found.aliases.push(name.to_owned()),
                _ => {}
            }
        }
        Ok(found)
    }

    /// `None`: the kernel has no such enumeration or value.
    pub fn value(&self, enumeration: &str, name: &str) -> Option<u32> {
        find(&self.values, enumeration, name)
    }

    /// Whether the kernel has a type definition of this name: tracepoints have one each (`btf_trace_NAME`).
    pub fn has_alias(&self, name: &str) -> bool {
        self.aliases.iter().any(|known| known == name)
    }

    fn take_members(
        &mut self,
        blob: &Blob<'_>,
        structure: &Type<'_>,
        outer: &str,
        nesting: Nesting,
        budget: &mut usize,
    ) -> Result<(), BtfError> {
        let mut members = Words(structure.body);
        for _ in 0..structure.items {
            let Some(left) = budget.checked_sub(1) else { return Ok(()) };
            *budget = left;
            let (member, of_type, offset) = (members.next()?, members.next()?, members.next()?);
            // With the flag, the upper byte is a bit field's width.
            let bits = nesting.bits.saturating_add(if structure.flag { offset & 0x00ff_ffff } else { offset });
            match string(blob.strings, member) {
                Some("") => {
                    // Types are numbered from 1.
                    let inner = usize::try_from(of_type).ok().and_then(|id| blob.types.get(id.checked_sub(1)?));
                    if let Some(inner) = inner.filter(|inner| matches!(inner.kind, kind::STRUCT | kind::UNION))
                        && let Some(depth) = nesting.depth.checked_sub(1)
                    {
                        self.take_members(blob, inner, outer, Nesting { bits, depth }, budget)?;
                    }
                }
                Some(name) => self.members.push((outer.to_owned(), name.to_owned(), bits / 8)),
                None => {}
            }
        }
        Ok(())
    }

    fn take_values(&mut self, strings: &[u8], enumeration: &Type<'_>, outer: &str) -> Result<(), BtfError> {
        let mut values = Words(enumeration.body);
        for _ in 0..enumeration.items {
            let (name, value) = (values.next()?, values.next()?);
            if let Some(name) = string(strings, name) {
                self.values.push((outer.to_owned(), name.to_owned(), value));
            }
        }
        Ok(())
    }
}

/// What is read of.
struct Blob<'a> {
    types: &'a [Type<'a>],
    strings: &'a [u8],
}

/// Where an unnamed part begins, and how much deeper it may go.
#[derive(Clone, Copy)]
struct Nesting {
    bits: u32,
    depth: u32,
}

/// One type: its first three words taken apart, and what follows them.
struct Type<'a> {
    name: u32,
    kind: u32,
    items: u32,
    flag: bool,
    size: u32,
    body: &'a [u8],
}

mod kind {
    pub(super) const STRUCT: u32 = 4;
    pub(super) const UNION: u32 = 5;
    pub(super) const ENUM: u32 = 6;
    pub(super) const TYPEDEF: u32 = 8;
}

/// Words that follow a type's first three, by kind (`include/uapi/linux/btf.h`). 64-bit, because `vlen` is foreign.
fn words_after(kind: u32, vlen: u32) -> Option<usize> {
    let per_item = |n: u32| usize::try_from(vlen.saturating_mul(n)).ok();
    match kind {
        // PTR, FWD, TYPEDEF, VOLATILE, CONST, RESTRICT, FUNC, FLOAT, TYPE_TAG
        2 | 7..=12 | 16 | 18 => Some(0),
        // INT, VAR, DECL_TAG
        1 | 14 | 17 => Some(1),
        // ARRAY
        3 => Some(3),
        // ENUM, FUNC_PROTO
        kind::ENUM | 13 => per_item(2),
        // STRUCT, UNION, DATASEC, ENUM64
        kind::STRUCT | kind::UNION | 15 | 19 => per_item(3),
        _ => None,
    }
}

struct Header {
    type_at: usize,
    type_len: usize,
    string_at: usize,
    string_len: usize,
}

impl Header {
    fn parse(btf: &[u8]) -> Result<Self, BtfError> {
        let (magic, rest) = btf.split_first_chunk::<2>().ok_or(BtfError::Truncated("header"))?;
        let magic = u16::from_ne_bytes(*magic);
        if magic != 0xeb9f {
            return Err(BtfError::Magic(magic));
        }
        // version u8, flags u8
        let mut words = Words(rest.get(2..).ok_or(BtfError::Truncated("header"))?);
        let header_len = words.next()?;
        let (type_off, type_len, string_off, string_len) = (words.next()?, words.next()?, words.next()?, words.next()?);
        let at = |offset: u32| usize::try_from(u64::from(header_len) + u64::from(offset)).map_err(|_| BtfError::Truncated("header"));
        Ok(Self { type_at: at(type_off)?, type_len: type_len as usize, string_at: at(string_off)?, string_len: string_len as usize })
    }
}

struct Words<'a>(&'a [u8]);

impl Words<'_> {
    fn next(&mut self) -> Result<u32, BtfError> {
        let (word, rest) = self.0.split_first_chunk::<4>().ok_or(BtfError::Truncated("type section"))?;
        self.0 = rest;
        Ok(u32::from_ne_bytes(*word))
    }

    fn skip(&mut self, words: usize) -> Result<(), BtfError> {
        self.0 = words.checked_mul(4).and_then(|bytes| self.0.get(bytes..)).ok_or(BtfError::Truncated("type section"))?;
        Ok(())
    }
}

fn section(btf: &[u8], at: usize, len: usize) -> Option<&[u8]> {
    btf.get(at..at.checked_add(len)?)
}

fn string(strings: &[u8], at: u32) -> Option<&str> {
    let rest = strings.get(usize::try_from(at).ok()?..)?;
    let end = rest.iter().position(|b| *b == 0)?;
    std::str::from_utf8(rest.get(..end)?).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn blob() -> Vec<u8> {
        let strings = b"\0task\0pid\0tgid\0int\0inner\0kinds\0ONE\0alias\0";
        let mut types: Vec<u32> = Vec::new();
        types.extend([14, 1 << 24, 4, 32]); // INT "int"
        types.extend([1, (4 << 24) | 3, 24, 6, 1, 64, 10, 1, 96, 0, 4, 128]); // STRUCT task { pid at 8, tgid at 12, unnamed at 16 }
        types.extend([0, 2 << 24, 1]); // PTR
        types.extend([0, (5 << 24) | 1, 8, 19, 1, 32]); // UNION { inner at 4 }
        types.extend([25, (6 << 24) | 1, 4, 31, 7]); // ENUM kinds { ONE = 7 }
        types.extend([35, 8 << 24, 1]); // TYPEDEF alias
        let types: Vec<u8> = types.into_iter().flat_map(u32::to_ne_bytes).collect();
        let mut out = Vec::new();
        out.extend(0xeb9fu16.to_ne_bytes());
        out.extend([1, 0]);
        let (type_len, string_len) = (u32::try_from(types.len()).unwrap(), u32::try_from(strings.len()).unwrap());
        for word in [24, 0, type_len, type_len, string_len] {
            out.extend(u32::to_ne_bytes(word));
        }
        out.extend(types);
        out.extend(strings);
        out
    }

    #[test]
    fn members_of_wanted_structures_are_found_and_others_are_not() {
        let layouts = Layouts::parse(&blob(), &["task"]).unwrap();
        assert_eq!(layouts.member("task", "pid"), Some(8));
        assert_eq!(layouts.member("task", "tgid"), Some(12));
        assert_eq!(layouts.member("task", "nothing"), None);
        assert_eq!(layouts.member("task", "inner"), Some(20));
        assert_eq!(layouts.value("kinds", "ONE"), None);
        let layouts = Layouts::parse(&blob(), &["kinds"]).unwrap();
        assert!(!layouts.has_alias("alias") && Layouts::parse(&blob(), &["alias"]).unwrap().has_alias("alias"));
        assert_eq!((layouts.value("kinds", "ONE"), layouts.value("kinds", "TWO")), (Some(7), None));
        assert_eq!(Layouts::parse(&blob(), &["other"]).unwrap(), Layouts::default());
    }

    #[test]
    fn every_truncation_is_an_error_and_never_a_panic() {
        let blob = blob();
        for cut in 0..blob.len() {
            assert!(Layouts::parse(blob.get(..cut).unwrap(), &["task"]).is_err(), "cut at {cut}");
        }
    }

    #[test]
    fn a_structure_that_contains_itself_ends() {
        let strings = b"\0loop\0";
        let types: Vec<u8> = [1, (4 << 24) | 1, 8, 0, 1, 0].into_iter().flat_map(u32::to_ne_bytes).collect();
        let mut blob = 0xeb9fu16.to_ne_bytes().to_vec();
        blob.extend([1, 0]);
        for word in [24, 0, 24, 24, 6] {
            blob.extend(u32::to_ne_bytes(word));
        }
        blob.extend(types);
        blob.extend(strings);
        assert_eq!(Layouts::parse(&blob, &["loop"]).unwrap(), Layouts::default());
    }

    #[test]
    fn an_unknown_kind_is_named() {
        let mut blob = blob();
        blob[31] = 31;
        assert_eq!(Layouts::parse(&blob, &["task"]), Err(BtfError::Kind(31)));
    }
}
