//! RFC 7932.

use brotli_decompressor::{Allocator, BrotliDecompressStream, BrotliResult, BrotliState, SliceWrapper, StandardAlloc};

use super::{CodingError, Out, SCRATCH_BYTES};

#[derive(Default)]
pub(super) struct Brotli {
    /// From the first byte on.
    state: Option<Box<State>>,
    finished: bool,
}

type State = BrotliState<Counted, Counted, Counted>;

impl std::fmt::Debug for Brotli {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Brotli").field("held", &self.held()).field("finished", &self.finished).finish_non_exhaustive()
    }
}

impl Brotli {
    pub(super) const fn is_finished(&self) -> bool {
        self.finished
    }

    pub(super) fn held(&self) -> usize {
        self.state.as_ref().map_or(0, |state| size_of::<State>().saturating_add(allocated(state)))
    }

    /// The decoder's window grows with what was decoded and what a block announces, up to the window that the stream announces.
    pub(super) fn decode(&mut self, input: &[u8], memory: usize, out: &mut Out<'_>) -> Result<(), CodingError> {
        if memory < LEAST_BYTES {
            return Err(CodingError::TooLarge);
        }
        if input.is_empty() && self.state.is_none() {
            return Ok(());
        }
        let state = self.state.get_or_insert_with(|| {
            let counted = || Counted { room: LEAST_BYTES, ..Counted::default() };
            // Strict: no large windows, which HTTP does not allow (RFC 7932 section 9.1: at most 16 MiB).
            Box::new(BrotliState::new_strict(counted(), counted(), counted()))
        });
        let free = memory.saturating_sub(size_of::<State>()).saturating_sub(allocated(state));
        for allocator in [&mut state.alloc_u8, &mut state.alloc_u32, &mut state.alloc_hc] {
            allocator.room = free;
        }
        let mut scratch = [0; SCRATCH_BYTES];
        let mut left = input.len();
        let mut at = 0;
        while !self.finished {
            let (mut room, mut made, mut total) = (SCRATCH_BYTES, 0, 0);
            let result = BrotliDecompressStream(&mut left, &mut at, input, &mut room, &mut made, &mut scratch, &mut total, state);
            if made > 0 {
                out(scratch.get(..made).unwrap_or_default())?;
            }
            match result {
                BrotliResult::ResultSuccess => self.finished = true,
                BrotliResult::ResultFailure if [&state.alloc_u8, &state.alloc_u32, &state.alloc_hc].iter().any(|it| it.has_refused) => {
                    return Err(CodingError::TooLarge);
                }
                BrotliResult::ResultFailure => return Err(CodingError::Invalid),
                BrotliResult::NeedsMoreInput => break,
                BrotliResult::NeedsMoreOutput => {}
            }
        }
        if self.finished {
            self.state = None;
        }
        Ok(())
    }
}

fn allocated(state: &State) -> usize {
    [&state.alloc_u8, &state.alloc_u32, &state.alloc_hc].iter().map(|allocator| allocator.held).fold(0, usize::saturating_add)
}

/// Less is not worth the beginning: what the decoder allocates before it has seen a byte, and its smallest window.
const LEAST_BYTES: usize = 64 * 1024;

/// Allocates as far as there is room. The decoder gives up where it gets nothing. Of its three, each may fill the room once: the one for the
/// window does, the tables of the others take 4 MiB at most.
#[derive(Default)]
struct Counted {
    held: usize,
    /// For what is allocated from now on.
    room: usize,
    has_refused: bool,
}

impl<T: Clone + Default> Allocator<T> for Counted {
    type AllocatedMemory = <StandardAlloc as Allocator<T>>::AllocatedMemory;

    fn alloc_cell(&mut self, len: usize) -> Self::AllocatedMemory {
        let bytes = len.saturating_mul(size_of::<T>());
        let Some(room) = self.room.checked_sub(bytes) else {
            self.has_refused = true;
            return Self::AllocatedMemory::default();
        };
        self.room = room;
        self.held = self.held.saturating_add(bytes);
        StandardAlloc::default().alloc_cell(len)
    }

    fn free_cell(&mut self, data: Self::AllocatedMemory) {
        let bytes = data.slice().len().saturating_mul(size_of::<T>());
        self.held = self.held.saturating_sub(bytes);
        self.room = self.room.saturating_add(bytes);
    }
}
