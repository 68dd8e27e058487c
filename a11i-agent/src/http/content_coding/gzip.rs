//! RFC 1952: members, each with a header, a deflate stream and a check.

use flate2::Crc;

use super::{
    CodingError, Out,
    deflate::{INFLATE_BYTES, Inflate},
};

const MAGIC: [u8; 2] = [0x1f, 0x8b];
const FLAG_HEADER_CRC: u8 = 2;
const FLAG_EXTRA: u8 = 4;
const FLAG_NAME: u8 = 8;
const FLAG_COMMENT: u8 = 16;

#[derive(Debug, Default)]
pub(super) struct Gzip {
    state: State,
    members: u64,
}

#[derive(Debug)]
enum State {
    /// The ten fixed bytes, as far as they came.
    Fixed {
        have: usize,
        flags: u8,
    },
    ExtraLength {
        low: Option<u8>,
        flags: u8,
    },
    Extra {
        left: u16,
        flags: u8,
    },
    /// A zero-terminated text.
    Name {
        flags: u8,
    },
    Comment {
        flags: u8,
    },
    HeaderCrc {
        left: u8,
    },
    Body {
        inflate: Inflate,
        crc: Crc,
    },
    Trailer {
        have: usize,
        bytes: [u8; 8],
        crc: u32,
        length: u32,
    },
    /// Something else follows the last member: ignored, as clients do.
    Padding,
}

impl Default for State {
    fn default() -> Self {
        Self::Fixed { have: 0, flags: 0 }
    }
}

impl Gzip {
    pub(super) fn decode(&mut self, input: &[u8], out: &mut Out<'_>) -> Result<(), CodingError> {
        let mut rest = input;
        while !rest.is_empty() {
            if let State::Body { inflate, crc } = &mut self.state {
                rest = inflate.decode(rest, &mut |bytes| {
                    crc.update(bytes);
                    out(bytes)
                })?;
                if inflate.is_finished() {
                    self.state = State::Trailer { have: 0, bytes: [0; 8], crc: crc.sum(), length: crc.amount() };
                }
                continue;
            }
            let Some((&byte, tail)) = rest.split_first() else { break };
            rest = tail;
            self.step(byte)?;
            if matches!(self.state, State::Padding) {
                break;
            }
        }
        Ok(())
    }

    pub(super) const fn held(&self) -> usize {
        if matches!(self.state, State::Body { .. }) { INFLATE_BYTES } else { 0 }
    }

    pub(super) const fn is_finished(&self) -> bool {
        self.members > 0 && matches!(self.state, State::Fixed { have: 0, .. } | State::Padding)
    }

    /// One byte outside the deflate stream.
    fn step(&mut self, byte: u8) -> Result<(), CodingError> {
        let state = std::mem::take(&mut self.state);
        self.state = match state {
            State::Fixed { have, flags } => match have {
                0 | 1 if MAGIC.get(have) != Some(&byte) => {
                    if self.members == 0 {
                        return Err(CodingError::Invalid);
                    }
                    State::Padding
                }
                2 if byte != 8 => return Err(CodingError::Invalid),
                3 => State::Fixed { have: 4, flags: byte },
                9 => after_fixed(flags),
                _ => State::Fixed { have: have.saturating_add(1), flags },
            },
            State::ExtraLength { low: None, flags } => State::ExtraLength { low: Some(byte), flags },
            State::ExtraLength { low: Some(low), flags } => match u16::from_le_bytes([low, byte]) {
                0 => after_extra(flags),
                left => State::Extra { left, flags },
            },
            State::Extra { left, flags } if left <= 1 => after_extra(flags),
            State::Extra { left, flags } => State::Extra { left: left.saturating_sub(1), flags },
            State::Name { flags } if byte == 0 => after_name(flags),
            State::Comment { flags } if byte == 0 => after_comment(flags),
            State::HeaderCrc { left } if left <= 1 => body(),
            State::HeaderCrc { left } => State::HeaderCrc { left: left.saturating_sub(1) },
            State::Trailer { have, mut bytes, crc, length } => {
                if let Some(place) = bytes.get_mut(have) {
                    *place = byte;
                }
                if have < 7 {
                    State::Trailer { have: have.saturating_add(1), bytes, crc, length }
                } else {
                    let expected = u64::from(crc) | u64::from(length) << 32;
                    if u64::from_le_bytes(bytes) != expected {
                        return Err(CodingError::Invalid);
                    }
                    self.members = self.members.saturating_add(1);
                    State::default()
                }
            }
            same @ (State::Name { .. } | State::Comment { .. } | State::Body { .. } | State::Padding) => same,
        };
        Ok(())
    }
}

fn after_fixed(flags: u8) -> State {
    if flags & FLAG_EXTRA != 0 { State::ExtraLength { low: None, flags } } else { after_extra(flags) }
}

fn after_extra(flags: u8) -> State {
    if flags & FLAG_NAME != 0 { State::Name { flags } } else { after_name(flags) }
}

fn after_name(flags: u8) -> State {
    if flags & FLAG_COMMENT != 0 { State::Comment { flags } } else { after_comment(flags) }
}

fn after_comment(flags: u8) -> State {
    if flags & FLAG_HEADER_CRC != 0 { State::HeaderCrc { left: 2 } } else { body() }
}

fn body() -> State {
    State::Body { inflate: Inflate::new(false), crc: Crc::new() }
}
