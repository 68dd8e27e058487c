//! The message of one direction, joined from its fragments.

use a11i_common::identity::BootTime;

use super::{
    UNCOUNTED,
    deflate::Inflater,
    frame::{FrameHeader, Mask, opcode},
};
use crate::{
    call::Completeness,
    http::{MessageKind, content_coding::CodingError},
};

/// Bytes kept of one message: as much as of a body. Events of the APIs that are followed end at 1 to 16 MiB.
const MESSAGE_BYTES: usize = 8 * 1024 * 1024;

/// A buffer that has grown beyond this is given back when its message is over.
const KEPT_BYTES: usize = 64 * 1024;

/// A message under way.
#[derive(Debug)]
pub(super) struct Assembly {
    open: Option<Open>,
    data: Vec<u8>,
    unmasked: Vec<u8>,
}

#[derive(Clone, Copy, Debug)]
struct Open {
    kind: MessageKind,
    is_compressed: bool,
    first_byte: BootTime,
    /// Its last fragment is under way.
    is_last: bool,
    /// `data` is its beginning only.
    is_cut: bool,
    /// What of it is missing.
    missing: Completeness,
}

/// A message that has ended.
pub(super) struct Assembled<'a> {
    pub(super) kind: MessageKind,
    pub(super) first_byte: BootTime,
    pub(super) data: &'a [u8],
    pub(super) is_whole: bool,
    pub(super) missing: Completeness,
}

/// A fragment without a beginning, or a beginning within a message (section 5.4).
pub(super) struct OutOfOrder;

impl Assembly {
    pub(super) const fn new() -> Self {
        Self { open: None, data: Vec::new(), unmasked: Vec::new() }
    }

    /// A data frame begins.
    pub(super) fn begin(&mut self, header: FrameHeader, time: BootTime, inflater: Option<&Inflater>) -> Result<(), OutOfOrder> {
        match (&mut self.open, header.opcode) {
            (Some(open), opcode::CONTINUATION) => open.is_last = header.is_final,
            (None, opcode::TEXT | opcode::BINARY) => {
                let is_unreadable = header.is_compressed && !inflater.is_some_and(Inflater::can_read);
                self.open = Some(Open {
                    kind: if header.opcode == opcode::TEXT { MessageKind::Text } else { MessageKind::Binary },
                    is_compressed: header.is_compressed,
                    first_byte: time,
                    is_last: header.is_final,
                    is_cut: is_unreadable,
                    // What it refers to was missed, and said to be.
                    missing: if is_unreadable { UNCOUNTED } else { Completeness::Whole },
                });
            }
            _ => return Err(OutOfOrder),
        }
        Ok(())
    }

    pub(super) fn payload(&mut self, bytes: &[u8], mask: Mask, inflater: Option<&mut Inflater>) -> Result<(), CodingError> {
        let Self { open: Some(open), data, unmasked } = self else { return Ok(()) };
        if !open.is_compressed {
            if open.is_cut {
                return Ok(());
            }
            let room = MESSAGE_BYTES.saturating_sub(data.len());
            let fits = bytes.get(..room).unwrap_or(bytes);
            mask.unmask_onto(fits, data);
            open.is_cut = fits.len() < bytes.len();
            return Ok(());
        }
        let Some(inflater) = inflater.filter(|inflater| inflater.can_read() && open.missing.is_whole()) else { return Ok(()) };
        unmasked.clear();
        mask.unmask_onto(bytes, unmasked);
        inflate(open, data, |out| inflater.push(unmasked, out))
    }

    /// A data frame is over.
    pub(super) fn end_frame(&mut self, inflater: Option<&mut Inflater>) -> Result<Option<Assembled<'_>>, CodingError> {
        let Self { open: slot, data, .. } = self;
        let Some(mut open) = slot.take_if(|open| open.is_last) else { return Ok(None) };
        if open.is_compressed
            && open.missing.is_whole()
            && let Some(inflater) = inflater.filter(|inflater| inflater.can_read())
        {
            inflate(&mut open, data, |out| inflater.end_message(out))?;
        }
        let is_whole = !open.is_cut && open.missing.is_whole();
        Ok(Some(Assembled { kind: open.kind, first_byte: open.first_byte, data, is_whole, missing: open.missing }))
    }

    /// Bytes of the payload are missing here.
    pub(super) fn gap(&mut self, missing: Completeness, inflater: Option<&mut Inflater>) {
        if let Some(open) = &mut self.open {
            open.is_cut = true;
            open.missing = open.missing.join(missing);
            if open.is_compressed
                && let Some(inflater) = inflater
            {
                inflater.spoil();
            }
        }
    }

    /// What is under way will not end.
    pub(super) fn abandon(&mut self) {
        self.open = None;
        self.clear();
    }

    pub(super) fn clear(&mut self) {
        for buffer in [&mut self.data, &mut self.unmasked] {
            buffer.clear();
            if buffer.capacity() > KEPT_BYTES {
                *buffer = Vec::new();
            }
        }
    }
}

fn inflate(
    open: &mut Open,
    data: &mut Vec<u8>,
    decode: impl FnOnce(&mut dyn FnMut(&[u8])) -> Result<(), CodingError>,
) -> Result<(), CodingError> {
    decode(&mut |piece| {
        let room = MESSAGE_BYTES.saturating_sub(data.len());
        let fits = piece.get(..room).unwrap_or(piece);
        data.extend_from_slice(fits);
        open.is_cut |= fits.len() < piece.len();
    })
}
