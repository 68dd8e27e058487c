//! Zstandard (RFC 8878), within the limits of RFC 9659 for content codings.
//!
//! Why not a crate: those in pure Rust keep a whole window back until the frame ends, so that every event of
//! a stream would be told when the last one came. Here each block is given as soon as it is whole, and a
//! server that flushes ends a block. Checksums are not compared: TLS has done that.

mod bits;
mod block;
mod fse;
mod huffman;
mod sequences;

use self::block::Blocks;
use super::{CodingError, Out};

const MAGIC: u32 = 0xfd2f_b528;
const SKIPPABLE: u32 = 0x184d_2a50;

/// A window is allocated as it is filled, not as it is announced. RFC 9659: a decoder of the content coding `zstd` must offer 8 MiB and need not offer more.
const WINDOW_BYTES: u64 = 8 * 1024 * 1024;

/// RFC 8878 section 3.1.1.2.4.
pub(super) const BLOCK_BYTES: usize = 128 * 1024;

#[derive(Debug, Default)]
pub(super) struct Zstd {
    /// A unit (header, block, checksum) that has not come whole.
    partial: Vec<u8>,
    state: State,
    blocks: Option<Box<Blocks>>,
    frames: u64,
}

#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
enum State {
    #[default]
    FrameHeader,
    /// A skippable frame's content.
    Skip {
        left: u32,
    },
    Block {
        checksum: bool,
    },
    Checksum,
    /// Something that is no frame follows: ignored.
    Trailing,
}

impl Zstd {
    pub(super) fn decode(&mut self, input: &[u8], memory: usize, out: &mut Out<'_>) -> Result<(), CodingError> {
        if self.partial.is_empty() {
            let rest = self.units(input, memory, out)?;
            self.partial.extend_from_slice(rest);
            return Ok(());
        }
        let mut gathered = std::mem::take(&mut self.partial);
        gathered.extend_from_slice(input);
        let left = self.units(&gathered, memory, out)?.len();
        gathered.drain(..gathered.len().saturating_sub(left));
        self.partial = gathered;
        Ok(())
    }

    pub(super) fn held(&self) -> usize {
        self.partial.capacity().saturating_add(self.blocks.as_ref().map_or(0, |blocks| blocks.held()))
    }

    pub(super) fn is_finished(&self) -> bool {
        self.frames > 0 && (self.state == State::Trailing || (self.state == State::FrameHeader && self.partial.is_empty()))
    }

    /// Decodes whole units; returns the bytes of the one that is not.
    fn units<'i>(&mut self, input: &'i [u8], memory: usize, out: &mut Out<'_>) -> Result<&'i [u8], CodingError> {
        let mut rest = input;
        loop {
            let after = match self.state {
                State::FrameHeader => self.frame_header(rest)?,
                State::Skip { left } => {
                    let here = usize::try_from(left).unwrap_or(usize::MAX).min(rest.len());
                    let left = left.saturating_sub(u32::try_from(here).unwrap_or(u32::MAX));
                    self.state = if left == 0 { State::FrameHeader } else { State::Skip { left } };
                    let after = rest.get(here..);
                    if left > 0 {
                        return Ok(after.unwrap_or_default());
                    }
                    after
                }
                State::Block { checksum } => self.block(rest, checksum, memory, out)?,
                State::Checksum => rest.get(4..).inspect(|_| self.end_frame()),
                State::Trailing => return Ok(&[]),
            };
            match after {
                Some(after) => rest = after,
                None => return Ok(rest),
            }
        }
    }

    /// RFC 8878 section 3.1.1.1. `None`: not whole yet.
    fn frame_header<'i>(&mut self, input: &'i [u8]) -> Result<Option<&'i [u8]>, CodingError> {
        let Some((magic, rest)) = input.split_first_chunk::<4>() else { return Ok(None) };
        let magic = u32::from_le_bytes(*magic);
        if magic & 0xffff_fff0 == SKIPPABLE {
            let Some((length, rest)) = rest.split_first_chunk::<4>() else { return Ok(None) };
            self.state = State::Skip { left: u32::from_le_bytes(*length) };
            return Ok(Some(rest));
        }
        if magic != MAGIC {
            if self.frames == 0 {
                return Err(CodingError::Invalid);
            }
            self.state = State::Trailing;
            return Ok(Some(rest));
        }
        let Some((&descriptor, mut rest)) = rest.split_first() else { return Ok(None) };
        let single_segment = descriptor & 0x20 != 0;
        if descriptor & 0x08 != 0 {
            return Err(CodingError::Invalid);
        }
        let mut window = 0;
        if !single_segment {
            let Some((&byte, tail)) = rest.split_first() else { return Ok(None) };
            rest = tail;
            let base = 1024_u64 << (byte >> 3);
            window = base.saturating_add((base >> 3).saturating_mul(u64::from(byte & 7)));
        }
        let dictionary_bytes = match descriptor & 3 {
            0 => 0,
            1 => 1,
            2 => 2,
            _ => 4,
        };
        let content_bytes = match (descriptor >> 6, single_segment) {
            (0, false) => 0,
            (0, true) => 1,
            (1, _) => 2,
            (2, _) => 4,
            (_, _) => 8,
        };
        let Some((dictionary, tail)) = rest.split_at_checked(dictionary_bytes) else { return Ok(None) };
        let Some((content, tail)) = tail.split_at_checked(content_bytes) else { return Ok(None) };
        if dictionary.iter().any(|byte| *byte != 0) {
            // Made with a dictionary that only the peers have.
            return Err(CodingError::Unknown);
        }
        if single_segment {
            let size = content.iter().rev().fold(0_u64, |size, byte| size << 8 | u64::from(*byte));
            window = if content_bytes == 2 { size.saturating_add(256) } else { size };
        }
        if window > WINDOW_BYTES {
            return Err(CodingError::TooLarge);
        }
        self.blocks = Some(Box::new(Blocks::new(usize::try_from(window).unwrap_or(usize::MAX))));
        self.state = State::Block { checksum: descriptor & 4 != 0 };
        Ok(Some(tail))
    }

    /// RFC 8878 section 3.1.1.2. `None`: not whole yet.
    fn block<'i>(&mut self, input: &'i [u8], checksum: bool, memory: usize, out: &mut Out<'_>) -> Result<Option<&'i [u8]>, CodingError> {
        let Some((&[b0, b1, b2], rest)) = input.split_first_chunk::<3>() else { return Ok(None) };
        let header = u32::from_le_bytes([b0, b1, b2, 0]);
        let size = usize::try_from(header >> 3).unwrap_or(usize::MAX);
        let kind = header >> 1 & 3;
        let stored = if kind == 1 { 1 } else { size };
        if size > BLOCK_BYTES {
            return Err(CodingError::Invalid);
        }
        let Some((content, rest)) = rest.split_at_checked(stored) else { return Ok(None) };
        let blocks = self.blocks.as_mut().ok_or(CodingError::Invalid)?;
        blocks.make_room(memory.saturating_sub(self.partial.capacity())).ok_or(CodingError::TooLarge)?;
        let decoded = match kind {
            0 => blocks.raw(content),
            1 => blocks.run(content.first().copied().unwrap_or_default(), size),
            2 => blocks.compressed(content).ok_or(CodingError::Invalid)?,
            _ => return Err(CodingError::Invalid),
        };
        if !decoded.is_empty() {
            out(decoded)?;
        }
        if header & 1 != 0 {
            if checksum {
                self.state = State::Checksum;
            } else {
                self.end_frame();
            }
        }
        Ok(Some(rest))
    }

    fn end_frame(&mut self) {
        self.frames = self.frames.saturating_add(1);
        self.blocks = None;
        self.state = State::FrameHeader;
    }
}
