//! What cannot be read of a file is not absent from it: finders ask for bytes here and there and take no for an answer; this remembers.

use std::{
    cell::{Cell, RefCell},
    io,
};

use crate::discovery::file::ByteSource;

/// See the module.
pub(super) struct Faithful<'s> {
    source: &'s dyn ByteSource,
    failure: RefCell<Option<io::Error>>,
    is_exhausted: Cell<bool>,
}

impl<'s> Faithful<'s> {
    pub(super) const fn new(source: &'s dyn ByteSource) -> Self {
        Self { source, failure: RefCell::new(None), is_exhausted: Cell::new(false) }
    }

    /// More was asked for than may be read.
    pub(super) const fn is_exhausted(&self) -> bool {
        self.is_exhausted.get()
    }

    /// The first read that failed although the file has the bytes.
    pub(super) fn failure(&self) -> Option<io::Error> {
        self.failure.take()
    }
}

impl ByteSource for Faithful<'_> {
    fn len(&self) -> u64 {
        self.source.len()
    }

    fn read_exact_at(&self, offset: u64, into: &mut [u8]) -> io::Result<()> {
        self.source.read_exact_at(offset, into).map_err(|error| {
            let kind = error.kind();
            if kind == io::ErrorKind::QuotaExceeded {
                self.is_exhausted.set(true);
            } else if kind != io::ErrorKind::UnexpectedEof {
                // Beyond the end there is nothing: an answer like any other.
                self.failure.borrow_mut().get_or_insert(error);
            }
            kind.into()
        })
    }

    fn is_given_up(&self) -> bool {
        self.source.is_given_up()
    }
}

#[cfg(test)]
mod tests {
    use super::{
        super::{Depth, analyse_to},
        *,
    };
    use crate::discovery::{
        elf::ElfError,
        evidence::Evidence,
        file::{FileId, OpenedFile},
        testing::{TempDir, openssl_look_alike},
    };

    /// Fails from a number of reads on.
    struct Limited {
        file: OpenedFile,
        reads: Cell<usize>,
        failure: io::ErrorKind,
    }

    impl ByteSource for Limited {
        fn len(&self) -> u64 {
            self.file.len()
        }

        fn read_exact_at(&self, offset: u64, into: &mut [u8]) -> io::Result<()> {
            let Some(left) = self.reads.get().checked_sub(1) else { return Err(self.failure.into()) };
            self.reads.set(left);
            self.file.read_exact_at(offset, into)
        }
    }

    #[test]
    fn whatever_cannot_be_read_is_never_taken_for_absent() {
        let dir = TempDir::new("faithful");
        let path = openssl_look_alike(&dir);
        let within = |reads, failure| {
            let file = OpenedFile::open(&path).unwrap();
            let source = Limited { file, reads: Cell::new(reads), failure };
            let analysis = analyse_to(&source, FileId::default(), Depth::Whole);
            (analysis, usize::MAX - source.reads.get())
        };
        let (whole, needed) = within(usize::MAX, io::ErrorKind::Other);
        let whole = whole.unwrap();
        assert!(whole.plans.len() == 1 && whole.evidence.is_empty() && needed > 20, "{whole:?} {needed}");
        let mut unfinished = 0;
        for reads in 0..needed {
            let (failed, _) = within(reads, io::ErrorKind::Other);
            assert!(matches!(failed, Err(ElfError::Read(_))), "{reads}: {failed:?}");
            match within(reads, io::ErrorKind::QuotaExceeded).0 {
                Err(ElfError::Read(_)) => {} // in the tables: told by whoever knows the quota
                Ok(found) => {
                    assert!(found.evidence.contains(&Evidence::SearchUnfinished), "{reads}: {found:?}");
                    assert!(found.plans.iter().all(|planned| whole.plans.contains(planned)), "{reads}: {found:?}");
                    unfinished += 1;
                }
                Err(other) => panic!("{reads}: {other}"),
            }
        }
        assert!(unfinished > 0);
    }
}
