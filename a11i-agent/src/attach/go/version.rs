//! Which Go made the program: `.go.buildinfo`.

use memchr::memmem;

use crate::{discovery::elf::Elf, machine_code::Image};

/// The version as the toolchain states it (`go1.27.3`, with experiments after it), if it can be read.
pub(super) fn version(elf: &Elf<'_>) -> Option<String> {
    let offset = match elf.section(".go.buildinfo") {
        Some(section) => section.offset,
        None if elf.has_sections() => return None,
        None => by_magic(elf)?,
    };
    let mut header = [0; HEADER_BYTES];
    elf.source().read_exact_at(offset, &mut header).ok()?;
    let (magic, rest) = header.split_first_chunk::<14>()?;
    let [pointer_bytes, flags, ..] = rest else { return None };
    if magic != MAGIC {
        return None;
    }
    if flags & HAS_STRINGS != 0 {
        // From Go 1.18 on: a length, and the string.
        let at = offset.checked_add(HEADER_BYTES as u64)?;
        let mut length = [0; 1];
        elf.source().read_exact_at(at, &mut length).ok()?;
        return text(elf, at.checked_add(1)?, u64::from(*length.first()?));
    }
    if *pointer_bytes != 8 {
        return None;
    }
    // Before: the address of a string's address and length.
    let image = Image::of(elf);
    let string = u64::from_le_bytes(*header.get(16..)?.first_chunk()?);
    let (address, length) = (image.word(string)?, image.word(string.checked_add(8)?)?);
    let bytes = image.bytes(address, length.min(MAX_VERSION))?;
    printable(&bytes)
}

/// `(1, 27)` of `go1.27.3`; versions of the toolchain's own development (`devel go1.28-…`) count as what they become.
pub(super) fn major_minor(version: &str) -> Option<(u32, u32)> {
    let number = version.split("go").find(|part| part.starts_with(|first: char| first.is_ascii_digit()))?;
    let mut parts = number.split(|part: char| !part.is_ascii_digit());
    Some((parts.next()?.parse().ok()?, parts.next()?.parse().ok()?))
}

fn by_magic(elf: &Elf<'_>) -> Option<u64> {
    let image = Image::of(elf);
    let mut found = None;
    for segment in elf.segments().iter().filter(|segment| segment.writable) {
        image.windows(segment, HEADER_BYTES as u64, |address, window| {
            let into = memmem::find(window, MAGIC).and_then(|at| address.checked_add(at as u64)?.checked_sub(segment.vaddr));
            found = into.and_then(|into| segment.offset.checked_add(into));
            found.is_none()
        });
        if found.is_some() {
            break;
        }
    }
    found
}

fn text(elf: &Elf<'_>, at: u64, length: u64) -> Option<String> {
    let mut bytes = vec![0; usize::try_from(length.min(MAX_VERSION)).ok()?];
    elf.source().read_exact_at(at, &mut bytes).ok()?;
    printable(&bytes)
}

/// Whatever a file says goes into reports.
fn printable(bytes: &[u8]) -> Option<String> {
    let is_printable = !bytes.is_empty() && bytes.iter().all(|byte| byte.is_ascii_graphic() || *byte == b' ');
    is_printable.then(|| String::from_utf8_lossy(bytes).into_owned())
}

const MAGIC: &[u8; 14] = b"\xff Go buildinf:";
const HEADER_BYTES: usize = 32;
const HAS_STRINGS: u8 = 2;
/// Versions of releases have ten characters, of development builds some dozens. One byte of length says no more than 127.
const MAX_VERSION: u64 = 127;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn versions_are_compared_by_their_first_two_numbers() {
        assert_eq!(major_minor("go1.27.3"), Some((1, 27)));
        assert_eq!(major_minor("go1.17"), Some((1, 17)));
        assert_eq!(major_minor("go1.21rc2 X:regabi"), Some((1, 21)));
        assert_eq!(major_minor("devel go1.28-1234abcd Tue"), Some((1, 28)));
        for none in ["", "go", "gopher", "1", "devel +0123abcd"] {
            assert_eq!(major_minor(none), None, "{none}");
        }
    }
}
