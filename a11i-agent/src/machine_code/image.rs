//! The file as it lies in memory, before it runs.

use crate::discovery::elf::{Elf, Machine, PROVEN_BYTES, Refusal, Segment};

/// An ELF file by virtual addresses. Reads what the file holds; memory that is zero at the start is not there.
#[derive(Clone)]
pub struct Image<'a> {
    elf: &'a Elf<'a>,
}

impl<'a> Image<'a> {
    pub const fn of(elf: &'a Elf<'a>) -> Self {
        Self { elf }
    }

    pub const fn elf(&self) -> &'a Elf<'a> {
        self.elf
    }

    pub fn machine(&self) -> Machine {
        self.elf.machine()
    }

    pub fn is_position_independent(&self) -> bool {
        self.elf.is_position_independent()
    }

    pub fn segments(&self) -> &'a [Segment] {
        self.elf.segments()
    }

    pub fn code(&self) -> impl Iterator<Item = &'a Segment> + use<'a> {
        self.segments().iter().filter(|segment| segment.executable)
    }

    pub fn is_code(&self, vaddr: u64) -> bool {
        self.code().any(|segment| segment.holds(vaddr))
    }

    /// Fills `into` from `vaddr`, from one segment.
    #[must_use]
    pub fn read(&self, vaddr: u64, into: &mut [u8]) -> bool {
        let Some(segment) = self.segments().iter().find(|segment| segment.holds(vaddr)) else { return false };
        let at = vaddr.wrapping_sub(segment.vaddr);
        let Some(offset) = segment.offset.checked_add(at).filter(|_| into.len() as u64 <= segment.file_size.saturating_sub(at)) else {
            return false;
        };
        self.elf.source().read_exact_at(offset, into).is_ok()
    }

    /// `length` bytes at `vaddr`, or what the segment has of them; none where there are none. At most [`MAX_BYTES`].
    pub fn bytes_up_to(&self, vaddr: u64, length: u64) -> Option<Vec<u8>> {
        let segment = self.segments().iter().find(|segment| segment.holds(vaddr))?;
        let left = segment.file_size.checked_sub(vaddr.checked_sub(segment.vaddr)?)?;
        self.bytes(vaddr, length.min(left).min(MAX_BYTES))
    }

    /// `length` bytes at `vaddr`, all or none.
    pub fn bytes(&self, vaddr: u64, length: u64) -> Option<Vec<u8>> {
        // Asked of the source before it is allocated: a header may claim anything.
        let limit = length <= MAX_BYTES && length <= self.elf.source().len();
        let mut bytes = vec![0; usize::try_from(length).ok().filter(|_| limit)?];
        self.read(vaddr, &mut bytes).then_some(bytes)
    }

    /// The 8 bytes at `vaddr` as the file has them, without relocation ([`super::Pointers`] has those).
    pub fn word(&self, vaddr: u64) -> Option<u64> {
        let mut bytes = [0; 8];
        self.read(vaddr, &mut bytes).then_some(u64::from_le_bytes(bytes))
    }

    /// Where a probe for `vaddr` goes in the file.
    pub fn file_offset(&self, vaddr: u64) -> Result<u64, Refusal> {
        // The last function of a segment may be shorter than what is asked of others.
        let left = self.code().find(|s| s.holds(vaddr)).map_or(0, |s| s.file_size.saturating_sub(vaddr.wrapping_sub(s.vaddr)));
        self.elf.code_offset(vaddr, PROVEN_BYTES.min(left.max(1)))
    }

    /// Calls `visit` with windows of `segment` in ascending order; each overlaps the next by `overlap` bytes, so that what is shorter is
    /// whole in one of them. `visit` answers whether to go on. Ends early where the file does.
    pub fn windows(&self, segment: &Segment, overlap: u64, mut visit: impl FnMut(u64, &[u8]) -> bool) {
        let size = segment.file_size.min(self.elf.source().len().saturating_sub(segment.offset));
        let mut window = Vec::new();
        let mut at = 0;
        while at < size {
            let length = (size - at).min(WINDOW.saturating_add(overlap));
            window.resize(usize::try_from(length).unwrap_or(0), 0);
            if self.elf.source().read_exact_at(segment.offset.saturating_add(at), &mut window).is_err() {
                return;
            }
            if !visit(segment.vaddr.wrapping_add(at), &window) {
                return;
            }
            at = at.saturating_add(WINDOW);
        }
    }
}

/// Bytes held at once: fits a second-level cache, and the overlap is small against it.
pub(super) const WINDOW: u64 = 512 * 1024;
/// One function, table or literal is smaller than this.
const MAX_BYTES: u64 = 64 * 1024 * 1024;
