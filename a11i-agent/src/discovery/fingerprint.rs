//! Whether two files hold the same: a strong hash of all that an analysis looks at.
//!
//! The same program lies on a node many times (layers of containers, copies), each time with another device and inode, and is analysed once.
//! Device, inode, size and times only spare hashing the same file again. A file is its owner's: what is found in one may be said of another
//! only where everything that it was found by is hashed, symbols and data as well as code; so reads outside are noticed ([`Covered`]).

use std::{cell::Cell, io, ops::Range};

use sha2::{Digest, Sha256};

use super::{elf::Elf, file::ByteSource};

/// Two files with the same one are the same to whoever reads only [`Hashed::extents`].
pub type Fingerprint = [u8; 32];

/// A file's fingerprint and what of it went in.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Hashed {
    pub fingerprint: Fingerprint,
    pub extents: Vec<Range<u64>>,
}

impl Hashed {
    /// None: it is no ELF file, or could not be read.
    pub fn of(source: &dyn ByteSource) -> Option<Self> {
        let extents = Elf::parse(source).ok()?.extents();
        let mut hash = Sha256::new();
        // Where the bytes lie is part of what they say.
        hash.update(source.len().to_le_bytes());
        hash.update((extents.len() as u64).to_le_bytes());
        for extent in &extents {
            hash.update(extent.start.to_le_bytes());
            hash.update(extent.end.to_le_bytes());
        }
        let mut window = Vec::new();
        for extent in &extents {
            let mut at = extent.start;
            while at < extent.end {
                let length = (extent.end - at).min(WINDOW);
                window.resize(usize::try_from(length).ok()?, 0);
                source.read_exact_at(at, &mut window).ok()?;
                hash.update(&window);
                at = at.saturating_add(length);
            }
        }
        Some(Self { fingerprint: hash.finalize().into(), extents })
    }
}

/// A source that notices when something else than what was hashed is read.
pub struct Covered<'a, S: ByteSource> {
    source: &'a S,
    extents: &'a [Range<u64>],
    is_kept: Cell<bool>,
}

impl<'a, S: ByteSource> Covered<'a, S> {
    pub const fn new(source: &'a S, extents: &'a [Range<u64>]) -> Self {
        Self { source, extents, is_kept: Cell::new(true) }
    }

    /// Nothing else was read so far.
    pub const fn is_kept(&self) -> bool {
        self.is_kept.get()
    }
}

impl<S: ByteSource> ByteSource for Covered<'_, S> {
    fn len(&self) -> u64 {
        self.source.len()
    }

    fn read_exact_at(&self, offset: u64, into: &mut [u8]) -> io::Result<()> {
        // Beyond the end there is nothing, in any file of this length.
        let end = offset.saturating_add(into.len() as u64);
        let after = self.extents.partition_point(|extent| extent.start <= offset);
        let holds = after.checked_sub(1).and_then(|index| self.extents.get(index)).is_some_and(|extent| end <= extent.end);
        if !holds && end <= self.source.len() && !into.is_empty() {
            self.is_kept.set(false);
        }
        self.source.read_exact_at(offset, into)
    }

    fn is_given_up(&self) -> bool {
        self.source.is_given_up()
    }
}

/// Fits a second-level cache.
const WINDOW: u64 = 256 * 1024;

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        attach::analyse,
        discovery::{
            file::{FileId, OpenedFile},
            testing::{TempDir, compile, openssl_look_alike},
        },
    };

    #[test]
    fn every_byte_that_an_analysis_may_read_is_hashed() {
        let dir = TempDir::new("hashed");
        let library = openssl_look_alike(&dir);
        let program =
            compile(&dir, "program", "int SSL_read(int a){return a;}int SSL_write(int a){return a+1;}int main(void){return 0;}", &["-g"]);
        let interpreters = ["/usr/bin/python3", "/usr/bin/curl", "/usr/lib/x86_64-linux-gnu/libssl.so.3"].map(std::path::PathBuf::from);
        for path in [library, program].into_iter().chain(interpreters).filter(|path| path.exists()) {
            let file = OpenedFile::open(&path).unwrap();
            let hashed = Hashed::of(&file).unwrap();
            let covered = Covered::new(&file, &hashed.extents);
            analyse(&covered, FileId::default()).unwrap();
            assert!(covered.is_kept(), "{}", path.display());
            let mut whole = vec![0; usize::try_from(file.len()).unwrap()];
            covered.read_exact_at(0, &mut whole).unwrap();
            assert!(hashed.extents.len() == 1 || !covered.is_kept());
        }
    }

    #[test]
    fn a_copy_has_the_same_fingerprint_and_one_with_any_other_byte_of_code_data_or_symbols_has_not() {
        let dir = TempDir::new("fingerprint");
        let bytes = std::fs::read(openssl_look_alike(&dir)).unwrap();
        let hashed = Hashed::of(&bytes).unwrap();
        assert_eq!(Hashed::of(&bytes.clone()).as_ref(), Some(&hashed));
        for extent in &hashed.extents {
            for at in [extent.start, extent.end - 1].map(|at| usize::try_from(at).unwrap()) {
                let mut other = bytes.clone();
                other[at] ^= 0x20;
                assert_ne!(Hashed::of(&other).map(|hashed| hashed.fingerprint), Some(hashed.fingerprint), "{at}");
            }
        }
        let longer = [bytes.as_slice(), &[0]].concat();
        assert_ne!(Hashed::of(&longer).unwrap().fingerprint, hashed.fingerprint);
        assert_eq!(Hashed::of(&b"#!/bin/sh".to_vec()), None);
    }
}
