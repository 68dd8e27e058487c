//! RFC 1951 streams, bare or in the zlib envelope of RFC 1950.

use flate2::{Decompress, FlushDecompress, Status};

use super::{CodingError, Out, SCRATCH_BYTES};

/// What [`Inflate`] holds: a window of 32 KiB and tables.
pub(super) const INFLATE_BYTES: usize = 44 * 1024;

/// Inflates one stream. The window and tables exist only while a body is under way.
#[derive(Debug)]
pub(in crate::http) struct Inflate {
    stream: Decompress,
    finished: bool,
}

impl Inflate {
    pub(in crate::http) fn new(zlib_envelope: bool) -> Self {
        Self { stream: Decompress::new(zlib_envelope), finished: false }
    }

    pub(in crate::http) const fn is_finished(&self) -> bool {
        self.finished
    }

    /// Gives what `input` allows; returns what follows the end of the stream.
    pub(in crate::http) fn decode<'i>(&mut self, input: &'i [u8], out: &mut Out<'_>) -> Result<&'i [u8], CodingError> {
        let mut rest = input;
        let mut scratch = [0; SCRATCH_BYTES];
        while !self.finished {
            let (before_in, before_out) = (self.stream.total_in(), self.stream.total_out());
            let Ok(status) = self.stream.decompress(rest, &mut scratch, FlushDecompress::None) else {
                return Err(CodingError::Invalid);
            };
            let taken = usize::try_from(self.stream.total_in().saturating_sub(before_in)).unwrap_or(usize::MAX);
            let made = usize::try_from(self.stream.total_out().saturating_sub(before_out)).unwrap_or(usize::MAX);
            rest = rest.get(taken..).unwrap_or_default();
            if made > 0 {
                out(scratch.get(..made).unwrap_or_default())?;
            }
            match status {
                Status::StreamEnd => self.finished = true,
                Status::Ok | Status::BufError if made == 0 && (taken == 0 || rest.is_empty()) => break,
                Status::Ok | Status::BufError => {}
            }
        }
        Ok(rest)
    }
}

/// `content-encoding: deflate`: zlib by the RFC, bare deflate by some servers. The first two bytes tell.
#[derive(Debug, Default)]
pub(super) struct Deflate {
    first: Option<u8>,
    inflate: Option<Inflate>,
}

impl Deflate {
    pub(super) fn decode(&mut self, input: &[u8], out: &mut Out<'_>) -> Result<(), CodingError> {
        let mut rest = input;
        if self.inflate.is_none() {
            let first = if let Some(first) = self.first {
                first
            } else {
                let Some((&first, tail)) = rest.split_first() else { return Ok(()) };
                rest = tail;
                *self.first.insert(first)
            };
            let Some(&second) = rest.first() else { return Ok(()) };
            let mut inflate = Inflate::new(is_zlib(first, second));
            inflate.decode(&[first], out)?;
            self.inflate = Some(inflate);
        }
        if let Some(inflate) = &mut self.inflate {
            // Whatever follows the stream is ignored, as clients do.
            inflate.decode(rest, out)?;
        }
        Ok(())
    }

    pub(super) const fn held(&self) -> usize {
        if self.inflate.is_some() { INFLATE_BYTES } else { 0 }
    }

    pub(super) fn is_finished(&self) -> bool {
        self.inflate.as_ref().is_some_and(Inflate::is_finished)
    }
}

/// RFC 1950 section 2.2: method 8, window at most 32 KiB, and a check over both bytes.
fn is_zlib(first: u8, second: u8) -> bool {
    first & 15 == 8 && first >> 4 <= 7 && u16::from_be_bytes([first, second]).is_multiple_of(31)
}
