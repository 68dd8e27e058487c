//! One direction of a connection: its frames, its header blocks, and the frame under way.

use a11i_common::identity::BootTime;

use super::{
    frame::{FrameHeader, Reader, flag, kind},
    hpack::Decoder,
};
use crate::call::Completeness;

/// Largest header block. Peers allow 8 to 64 KiB of fields; coded they are smaller.
const BLOCK_BYTES: usize = 256 * 1024;

/// What is read of frames that are neither data nor fields: GOAWAY's last stream and error code.
const SMALL_BYTES: usize = 8;

#[derive(Debug)]
pub(super) struct Half {
    pub(super) reader: Reader,
    pub(super) hpack: Decoder,
    /// Why fields may be unknown.
    pub(super) missing: Completeness,
    pub(super) open: Open,
    /// The payload so far, of frames that are needed whole.
    pub(super) payload: Vec<u8>,
    pub(super) block: Option<Block>,
}

/// The frame under way.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Open {
    /// `left`: bytes of data before padding; `None` until the length of the padding is known.
    Data {
        header: FrameHeader,
        left: Option<u32>,
    },
    /// HEADERS, PUSH_PROMISE, CONTINUATION. `is_broken`: part of it was not seen.
    Fields {
        header: FrameHeader,
        is_broken: bool,
    },
    Small {
        header: FrameHeader,
    },
    Other,
}

/// A header block under way: from HEADERS or PUSH_PROMISE to END_HEADERS.
#[derive(Debug)]
pub(super) struct Block {
    pub(super) stream: u32,
    pub(super) ends_stream: bool,
    /// Of a request that the server makes up (PUSH_PROMISE): decoded for the table's sake.
    pub(super) is_promise: bool,
    pub(super) bytes: Vec<u8>,
    /// It cannot be decoded.
    pub(super) is_broken: bool,
    /// Of the reasons for that, this one.
    pub(super) is_too_large: bool,
    pub(super) first_byte: BootTime,
}

impl Half {
    /// `preface`: the client's preface comes first. `missing`: something was missed before.
    pub(super) fn from_the_start(preface: bool) -> Self {
        Self::new(Reader::new(preface), Decoder::new(true), Completeness::Whole)
    }

    pub(super) fn joined_late(missing: Completeness) -> Self {
        Self::new(Reader::lost(), Decoder::new(false), missing)
    }

    fn new(reader: Reader, hpack: Decoder, missing: Completeness) -> Self {
        Self { reader, hpack, missing, open: Open::Other, payload: Vec::new(), block: None }
    }

    pub(super) fn begin_frame(&mut self, header: FrameHeader) {
        self.payload.clear();
        self.open = match header.kind {
            kind::DATA if header.has(flag::PADDED) => Open::Data { header, left: None },
            kind::DATA => Open::Data { header, left: Some(header.length) },
            kind::HEADERS | kind::PUSH_PROMISE | kind::CONTINUATION => Open::Fields { header, is_broken: false },
            kind::RST_STREAM | kind::GOAWAY => Open::Small { header },
            _ => Open::Other,
        };
    }

    /// Keeps what is needed whole; gives the data among `bytes`.
    pub(super) fn payload<'a>(&mut self, bytes: &'a [u8]) -> &'a [u8] {
        let room = match &mut self.open {
            Open::Data { header, left } => {
                let (first, rest) = match (&left, bytes.split_first()) {
                    (None, Some((padding, rest))) => (Some(*padding), rest),
                    _ => (None, bytes),
                };
                if let Some(padding) = first {
                    // More padding than payload is a connection error (section 6.1): no data is in it.
                    *left = Some(header.length.saturating_sub(1).saturating_sub(padding.into()));
                }
                let Some(left) = left else { return &[] };
                let here = usize::try_from(*left).unwrap_or(usize::MAX).min(rest.len());
                *left = left.saturating_sub(u32::try_from(here).unwrap_or(u32::MAX));
                return rest.get(..here).unwrap_or_default();
            }
            Open::Fields { .. } => BLOCK_BYTES,
            Open::Small { .. } => SMALL_BYTES,
            Open::Other => 0,
        };
        let room = room.saturating_sub(self.payload.len());
        let kept = bytes.get(..room).unwrap_or(bytes);
        self.payload.extend_from_slice(kept);
        if kept.len() < bytes.len()
            && let Open::Fields { is_broken, .. } = &mut self.open
        {
            *is_broken = true;
        }
        &[]
    }

    /// Bytes of the frame under way are missing. True: they are data.
    pub(super) fn gap_in_payload(&mut self, lost: u64) -> bool {
        match &mut self.open {
            Open::Data { left, .. } => {
                // How much of it was padding is only known behind its first byte.
                let lost = u32::try_from(lost).unwrap_or(u32::MAX);
                *left = Some(left.unwrap_or(0).saturating_sub(lost));
                true
            }
            Open::Fields { is_broken, .. } => {
                *is_broken = true;
                false
            }
            Open::Small { .. } | Open::Other => {
                self.open = Open::Other;
                false
            }
        }
    }

    /// Frames are missing, or may be.
    pub(super) fn lose(&mut self, missing: Completeness) {
        self.reader.lose();
        self.hpack.poison();
        self.missing = self.missing.join(missing);
        (self.open, self.block) = (Open::Other, None);
        self.payload = Vec::new();
    }

    /// A HEADERS, PUSH_PROMISE or CONTINUATION frame is over. Gives its block where that is whole.
    pub(super) fn end_fields(&mut self, header: FrameHeader, is_broken: bool, time: BootTime) -> Option<Block> {
        let fragment = fragment(header, &self.payload);
        let mut block = if header.kind == kind::CONTINUATION {
            match self.block.take().filter(|block| block.stream == header.stream || block.is_promise) {
                Some(block) => block,
                None => Block::new(header, header.stream, time).broken(),
            }
        } else {
            let promised = if header.kind == kind::PUSH_PROMISE { fragment.map(|(stream, _)| stream) } else { None };
            Block::new(header, promised.flatten().unwrap_or(header.stream), time)
        };
        match fragment {
            Some((_, bytes)) if block.bytes.len().saturating_add(bytes.len()) <= BLOCK_BYTES => block.bytes.extend_from_slice(bytes),
            Some(_) => {
                // Its memory is given back; what comes of it is passed over until its end.
                block.bytes = Vec::new();
                (block.is_broken, block.is_too_large) = (true, true);
            }
            None => block.is_broken = true,
        }
        block.is_broken |= is_broken;
        // Header blocks are rare next to data: the memory is given back.
        self.payload = Vec::new();
        if header.has(flag::END_HEADERS) {
            return Some(block);
        }
        self.block = Some(block);
        None
    }
}

impl Block {
    fn new(header: FrameHeader, stream: u32, first_byte: BootTime) -> Self {
        let is_promise = header.kind == kind::PUSH_PROMISE;
        let ends_stream = header.kind == kind::HEADERS && header.has(flag::END_STREAM);
        Self { stream, ends_stream, is_promise, bytes: Vec::new(), is_broken: false, is_too_large: false, first_byte }
    }

    fn broken(self) -> Self {
        Self { is_broken: true, ..self }
    }
}

/// The part of a header block in a frame's payload, and the promised stream of a PUSH_PROMISE (sections 6.2, 6.6, 6.10).
fn fragment(header: FrameHeader, payload: &[u8]) -> Option<(Option<u32>, &[u8])> {
    let mut rest = payload;
    if header.kind == kind::CONTINUATION {
        return Some((None, rest));
    }
    if header.has(flag::PADDED) {
        let (padding, tail) = rest.split_first()?;
        rest = tail.get(..tail.len().checked_sub(usize::from(*padding))?)?;
    }
    if header.kind == kind::PUSH_PROMISE {
        let (promised, tail) = rest.split_first_chunk::<4>()?;
        return Some((Some(u32::from_be_bytes(*promised) & 0x7fff_ffff), tail));
    }
    if header.has(flag::PRIORITY) {
        rest = rest.get(5..)?;
    }
    Some((None, rest))
}
