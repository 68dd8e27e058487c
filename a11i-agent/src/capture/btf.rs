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

/// The members of a few named structures.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Layouts(Vec<(String, String, u32)>);

impl MemberOffsets for Layouts {
    fn member(&self, structure: &str, member: &str) -> Option<u32> {
        self.0.iter().find(|(s, m, _)| s == structure && m == member).map(|(_, _, offset)| *offset)
    }
}

impl Layouts {
    /// Reads every member of the structures in `wanted`. `btf`: the whole blob, native byte order.
    pub fn parse(btf: &[u8], wanted: &[&str]) -> Result<Self, BtfError> {
        let header = Header::parse(btf)?;
        let strings = section(btf, header.string_at, header.string_len).ok_or(BtfError::Truncated("string section"))?;
        let mut types = Words(section(btf, header.type_at, header.type_len).ok_or(BtfError::Truncated("type section"))?);
        let mut found = Vec::new();
        while !types.0.is_empty() {
            let name = types.next()?;
            let info = types.next()?;
            let size_or_type = types.next()?;
            let (kind, vlen, kind_flag) = ((info >> 24) & 0x1f, info & 0xffff, info >> 31 == 1);
            match kind {
                kind::STRUCT => {
                    let structure = string(strings, name).filter(|s| size_or_type > 0 && wanted.contains(s));
                    for _ in 0..vlen {
                        let (member, _type, offset) = (types.next()?, types.next()?, types.next()?);
                        // With the flag, the upper byte is a bit field's width.
                        let bits = if kind_flag { offset & 0x00ff_ffff } else { offset };
                        if let (Some(s), Some(m)) = (structure, string(strings, member)) {
                            found.push((s.to_owned(), m.to_owned(), bits / 8));
                        }
                    }
                }
                other => types.skip(words_after(other, vlen).ok_or(BtfError::Kind(other))?)?,
            }
        }
        Ok(Self(found))
    }
}

mod kind {
    pub(super) const STRUCT: u32 = 4;
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
        6 | 13 => per_item(2),
        // UNION, DATASEC, ENUM64
        5 | 15 | 19 => per_item(3),
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
        let strings = b"\0task\0pid\0tgid\0int\0";
        let mut types: Vec<u32> = Vec::new();
        types.extend([14, 1 << 24, 4, 32]); // INT "int"
        types.extend([1, (4 << 24) | 2, 16, 6, 1, 64, 10, 1, 96]); // STRUCT task { pid at 8, tgid at 12 }
        types.extend([0, 2 << 24, 1]); // PTR
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
    fn an_unknown_kind_is_named() {
        let mut blob = blob();
        blob[31] = 31;
        assert_eq!(Layouts::parse(&blob, &["task"]), Err(BtfError::Kind(31)));
    }
}
