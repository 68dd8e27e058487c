//! `/etc/ld.so.cache`: libraries that programs will map, so that they are attached before anyone does.
//!
//! Layout of glibc's `dl-cache.h`: optionally the old format first, then `glibc-ld.so.cache1.1`, whose string
//! offsets count from its own start. musl has no such cache.

use std::{
    collections::HashSet,
    io,
    path::{Path, PathBuf},
};

use super::{elf::Machine, file::OpenedFile};
use crate::discovery::file::{ByteSource, OpenError};

/// One library of the cache.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct CachedLibrary {
    pub soname: String,
    /// In the mount namespace of the cache.
    pub path: PathBuf,
}

#[derive(Debug, thiserror::Error)]
pub enum CacheError {
    #[error(transparent)]
    Open(#[from] OpenError),
    #[error("{path}: {source}")]
    Read { path: PathBuf, source: io::Error },
    #[error("not in the format glibc-ld.so.cache1.1")]
    Format,
    #[error("{0} bytes, more than {MAX_CACHE_BYTES}")]
    TooLarge(u64),
}

/// Libraries of the cache under `root` whose soname starts with one of `prefixes`, for `machine`, each path once.
pub fn libraries(root: &Path, machine: Machine, prefixes: &[&str]) -> Result<Vec<CachedLibrary>, CacheError> {
    let file = OpenedFile::open_in_root(root, Path::new(CACHE))?;
    if file.len() > MAX_CACHE_BYTES {
        return Err(CacheError::TooLarge(file.len()));
    }
    let mut bytes = vec![0; usize::try_from(file.len()).unwrap_or(0)];
    file.read_exact_at(0, &mut bytes).map_err(|source| CacheError::Read { path: CACHE.into(), source })?;
    parse(&bytes, machine, prefixes)
}

fn parse(bytes: &[u8], machine: Machine, prefixes: &[&str]) -> Result<Vec<CachedLibrary>, CacheError> {
    let cache = new_format(bytes).ok_or(CacheError::Format)?;
    let count = word(cache, MAGIC.len()).ok_or(CacheError::Format)?;
    let entries = cache.get(HEADER_BYTES..).ok_or(CacheError::Format)?;
    let flags_wanted = match machine {
        Machine::X86_64 => FLAG_X8664_LIB64,
        Machine::Aarch64 => FLAG_AARCH64_LIB64,
    };
    let mut found: Vec<CachedLibrary> = Vec::new();
    let mut seen = HashSet::new();
    // The chunks end with the file, whatever the count claims.
    for entry in entries.chunks_exact(ENTRY_BYTES).take(count as usize) {
        let (Some(flags), Some(key), Some(value)) = (word(entry, 0), word(entry, 4), word(entry, 8)) else { continue };
        if flags & FLAG_REQUIRED_MASK != flags_wanted {
            continue;
        }
        let (Some(soname), Some(path)) = (string(cache, key), string(cache, value)) else { continue };
        let wanted = prefixes.iter().any(|prefix| soname.starts_with(prefix)) && path.starts_with('/');
        if wanted && seen.insert(path) {
            found.push(CachedLibrary { soname: soname.to_owned(), path: PathBuf::from(path) });
            if found.len() >= MAX_FOUND {
                break;
            }
        }
    }
    Ok(found)
}

/// The part in the new format: the whole file, or what follows the old format's entries.
fn new_format(bytes: &[u8]) -> Option<&[u8]> {
    if bytes.starts_with(MAGIC) {
        return Some(bytes);
    }
    bytes.strip_prefix(OLD_MAGIC)?;
    let old_count = word(bytes, OLD_COUNT_AT)? as usize;
    let end = old_count.checked_mul(OLD_ENTRY_BYTES)?.checked_add(OLD_HEADER_BYTES)?.checked_next_multiple_of(ALIGNMENT)?;
    bytes.get(end..).filter(|rest| rest.starts_with(MAGIC))
}

fn word(bytes: &[u8], at: usize) -> Option<u32> {
    bytes.get(at..)?.first_chunk().map(|word| u32::from_le_bytes(*word))
}

fn string(bytes: &[u8], at: u32) -> Option<&str> {
    let text = bytes.get(at as usize..)?;
    let text = text.get(..text.len().min(MAX_PATH))?;
    std::str::from_utf8(text.get(..memchr::memchr(0, text)?)?).ok()
}

const CACHE: &str = "/etc/ld.so.cache";
const MAGIC: &[u8] = b"glibc-ld.so.cache1.1";
/// Magic, counts, flags, extension offset, three unused words.
const HEADER_BYTES: usize = 48;
const ENTRY_BYTES: usize = 24;
const OLD_MAGIC: &[u8] = b"ld.so-1.7.0\0";
const OLD_COUNT_AT: usize = OLD_MAGIC.len();
const OLD_HEADER_BYTES: usize = 16;
const OLD_ENTRY_BYTES: usize = 12;
const ALIGNMENT: usize = 8;
/// Which ABI a library is for (`FLAG_REQUIRED_MASK`, `FLAG_X8664_LIB64`, `FLAG_AARCH64_LIB64`).
const FLAG_REQUIRED_MASK: u32 = 0xff00;
const FLAG_X8664_LIB64: u32 = 0x0300;
const FLAG_AARCH64_LIB64: u32 = 0x0a00;
/// Caches have some 100 KB; ten thousand libraries make 2 MB.
const MAX_CACHE_BYTES: u64 = 16 * 1024 * 1024;
/// `PATH_MAX`.
const MAX_PATH: usize = 4_096;
/// A system has two or three TLS libraries; `inspect` asks for all, and a desktop has a few thousand.
const MAX_FOUND: usize = 8_192;

#[cfg(test)]
mod tests {
    use super::*;

    fn cache(entries: &[(u32, &str, &str)]) -> Vec<u8> {
        let mut bytes = MAGIC.to_vec();
        let strings_at = HEADER_BYTES + entries.len() * ENTRY_BYTES;
        let mut strings: Vec<u8> = Vec::new();
        bytes.extend(u32::try_from(entries.len()).unwrap().to_le_bytes());
        bytes.resize(HEADER_BYTES, 0);
        for (flags, soname, path) in entries {
            bytes.extend(flags.to_le_bytes());
            for text in [soname, path] {
                bytes.extend(u32::try_from(strings_at + strings.len()).unwrap().to_le_bytes());
                strings.extend(text.as_bytes());
                strings.push(0);
            }
            bytes.extend([0; 12]);
        }
        bytes.extend(strings);
        bytes
    }

    fn example() -> Vec<u8> {
        cache(&[
            (0x0303, "libssl.so.3", "/usr/lib/libssl.so.3"),
            (0x0303, "libssl.so.3", "/usr/lib/libssl.so.3"),
            (0x0803, "libssl.so.3", "/usr/libx32/libssl.so.3"),
            (0x0303, "libz.so.1", "/usr/lib/libz.so.1"),
            (0x0a03, "libssl.so.1.1", "/usr/lib/aarch64/libssl.so.1.1"),
        ])
    }

    fn paths(bytes: &[u8], machine: Machine) -> Vec<String> {
        parse(bytes, machine, &["libssl.so"]).unwrap_or_default().iter().map(|l| l.path.display().to_string()).collect()
    }

    #[test]
    fn libraries_of_this_machine_are_found_once() {
        assert_eq!(paths(&example(), Machine::X86_64), ["/usr/lib/libssl.so.3"]);
        assert_eq!(paths(&example(), Machine::Aarch64), ["/usr/lib/aarch64/libssl.so.1.1"]);
    }

    #[test]
    fn the_old_format_in_front_is_passed_over() {
        let mut bytes = OLD_MAGIC.to_vec();
        bytes.extend(3_u32.to_le_bytes());
        bytes.extend([7; 3 * OLD_ENTRY_BYTES]);
        bytes.resize(bytes.len().next_multiple_of(ALIGNMENT), 0);
        bytes.extend(example());
        assert_eq!(paths(&bytes, Machine::X86_64), ["/usr/lib/libssl.so.3"]);
    }

    #[test]
    fn truncations_and_mutations_give_errors_or_less() {
        let whole = example();
        for at in 0..whole.len() {
            assert!(paths(&whole[..at], Machine::X86_64).len() <= 1);
            let mut mutated = whole.clone();
            mutated[at] = 0xff;
            paths(&mutated, Machine::X86_64);
        }
        assert!(matches!(parse(b"", Machine::X86_64, &[]), Err(CacheError::Format)));
    }

    #[test]
    fn the_cache_of_this_system_names_files_that_exist() {
        if !Path::new(CACHE).exists() {
            return; // musl
        }
        for library in libraries(Path::new("/"), Machine::host().unwrap(), &["libc.so"]).unwrap() {
            assert!(library.path.exists(), "{library:?}");
        }
    }
}
