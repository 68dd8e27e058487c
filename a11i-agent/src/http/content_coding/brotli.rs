//! RFC 7932.

use brotli_decompressor::{BrotliDecompressStream, BrotliResult, BrotliState, StandardAlloc};

use super::{CodingError, Out, SCRATCH_BYTES};

pub(super) struct Brotli {
    state: BrotliState<StandardAlloc, StandardAlloc, StandardAlloc>,
    finished: bool,
}

impl std::fmt::Debug for Brotli {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Brotli").field("finished", &self.finished).finish_non_exhaustive()
    }
}

impl Brotli {
    pub(super) fn new() -> Self {
        // Strict: no large windows, which HTTP does not allow (RFC 7932 section 9.1: at most 16 MiB).
        let state = BrotliState::new_strict(StandardAlloc::default(), StandardAlloc::default(), StandardAlloc::default());
        Self { state, finished: false }
    }

    pub(super) const fn is_finished(&self) -> bool {
        self.finished
    }

    pub(super) fn decode(&mut self, input: &[u8], out: &mut Out<'_>) -> Result<(), CodingError> {
        let mut scratch = [0; SCRATCH_BYTES];
        let mut left = input.len();
        let mut at = 0;
        while !self.finished {
            let (mut room, mut made, mut total) = (SCRATCH_BYTES, 0, 0);
            let result = BrotliDecompressStream(&mut left, &mut at, input, &mut room, &mut made, &mut scratch, &mut total, &mut self.state);
            if made > 0 {
                out(scratch.get(..made).unwrap_or_default())?;
            }
            match result {
                BrotliResult::ResultSuccess => self.finished = true,
                BrotliResult::ResultFailure => return Err(CodingError::Invalid),
                BrotliResult::NeedsMoreInput => break,
                BrotliResult::NeedsMoreOutput => {}
            }
        }
        Ok(())
    }
}
