//! Frames of one direction (RFC 6455 section 5.2), told apart wherever the bytes are cut.

/// Longest frame that is followed. Peers stop at 1 to 100 MiB; beyond this it is no length but an attack, or not a frame.
const LARGEST_FRAME: u64 = 1 << 32;

/// Two bytes, a length of eight, a key of four.
const HEADER_BYTES: usize = 14;

pub(super) mod opcode {
    pub(in super::super) const CONTINUATION: u8 = 0;
    pub(in super::super) const TEXT: u8 = 1;
    pub(in super::super) const BINARY: u8 = 2;
    pub(in super::super) const CLOSE: u8 = 8;
    pub(in super::super) const PING: u8 = 9;
    pub(in super::super) const PONG: u8 = 10;
}

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct FrameHeader {
    pub(super) is_final: bool,
    /// RSV1: with permessage-deflate, the message that begins here is compressed (RFC 7692 section 6).
    pub(super) is_compressed: bool,
    pub(super) opcode: u8,
    pub(super) length: u64,
    /// Of what a client sends.
    mask: Option<[u8; 4]>,
    /// The length is written in as few bytes as it takes, as section 5.2 demands and not everybody does.
    is_minimal: bool,
}

impl FrameHeader {
    pub(super) const fn is_control(&self) -> bool {
        self.opcode >= opcode::CLOSE
    }
}

/// What the beginning of these bytes is.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Parsed {
    Header {
        header: FrameHeader,
        taken: usize,
    },
    NeedMore,
    /// No endpoint takes such a frame.
    Never,
}

/// Reads one direction. Bounded: only a header that is cut is held.
#[derive(Debug)]
pub(super) struct FrameReader {
    is_client: bool,
    may_compress: bool,
    phase: Phase,
}

#[derive(Debug)]
enum Phase {
    Header {
        held: [u8; HEADER_BYTES],
        have: usize,
    },
    Payload {
        left: u64,
        mask: Option<[u8; 4]>,
        /// Bytes of the payload that are behind, as far as the mask cares.
        at: usize,
    },
    /// The payload is over; nobody was told yet.
    End,
    /// Where the next frame begins is not known.
    Lost,
}

/// Between frames.
const START: Phase = Phase::Header { held: [0; HEADER_BYTES], have: 0 };

/// The next thing in a direction.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Step<'a> {
    Begin(FrameHeader),
    /// Of the frame begun last; still masked.
    Payload {
        bytes: &'a [u8],
        mask: Mask,
    },
    End,
    NeedMore,
    Malformed,
}

/// How a piece of payload is unmasked (section 5.3).
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct Mask {
    key: Option<[u8; 4]>,
    at: usize,
}

impl Mask {
    pub(super) fn unmask_onto(self, bytes: &[u8], out: &mut Vec<u8>) {
        match self.key {
            None => out.extend_from_slice(bytes),
            Some(key) => out.extend(bytes.iter().zip(key.iter().cycle().skip(self.at & 3)).map(|(byte, key)| byte ^ key)),
        }
    }
}

/// What a gap did to the framing.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum AfterGap {
    /// Nothing but payload of the frame under way is missing.
    InPayload,
    Lost,
}

impl FrameReader {
    /// `may_compress`: permessage-deflate was agreed on.
    pub(super) const fn new(is_client: bool, may_compress: bool) -> Self {
        Self { is_client, may_compress, phase: START }
    }

    pub(super) const fn is_lost(&self) -> bool {
        matches!(self.phase, Phase::Lost)
    }

    pub(super) fn lose(&mut self) {
        self.phase = Phase::Lost;
    }

    /// A frame surely begins with the next byte.
    pub(super) fn rejoin(&mut self) {
        self.phase = START;
    }

    pub(super) fn next<'a>(&mut self, input: &'a [u8]) -> (Step<'a>, &'a [u8]) {
        match &mut self.phase {
            Phase::Lost => (Step::NeedMore, &[]),
            Phase::End => {
                self.phase = START;
                (Step::End, input)
            }
            Phase::Payload { left, mask, at } => {
                if input.is_empty() {
                    return (Step::NeedMore, input);
                }
                let here = usize::try_from(*left).unwrap_or(usize::MAX).min(input.len());
                let (bytes, rest) = input.split_at_checked(here).unwrap_or((input, &[]));
                let piece = Step::Payload { bytes, mask: Mask { key: *mask, at: *at } };
                *at = at.wrapping_add(here);
                *left = left.saturating_sub(u64::try_from(here).unwrap_or(u64::MAX));
                if *left == 0 {
                    self.phase = Phase::End;
                }
                (piece, rest)
            }
            Phase::Header { held, have } => {
                // At most three steps: the first two bytes say how many more there are.
                let mut rest = input;
                loop {
                    let so_far = held.get(..*have).unwrap_or_default();
                    match parse(so_far, self.is_client, self.may_compress) {
                        Parsed::Never => {
                            self.phase = Phase::Lost;
                            return (Step::Malformed, &[]);
                        }
                        Parsed::Header { header, .. } => {
                            self.phase = if header.length == 0 {
                                Phase::End
                            } else {
                                Phase::Payload { left: header.length, mask: header.mask, at: 0 }
                            };
                            return (Step::Begin(header), rest);
                        }
                        Parsed::NeedMore => {
                            let (Some((byte, tail)), Some(place)) = (rest.split_first(), held.get_mut(*have)) else {
                                return (Step::NeedMore, &[]);
                            };
                            *place = *byte;
                            *have = have.saturating_add(1);
                            rest = tail;
                        }
                    }
                }
            }
        }
    }

    /// Bytes are missing before the next ones.
    pub(super) fn gap(&mut self, lost: Option<u64>) -> AfterGap {
        match (&mut self.phase, lost) {
            (_, Some(0)) => return AfterGap::InPayload,
            (Phase::Payload { left, at, .. }, Some(lost)) if lost <= *left => {
                *left = left.saturating_sub(lost);
                *at = at.wrapping_add(usize::try_from(lost & 3).unwrap_or(0));
                if *left == 0 {
                    self.phase = Phase::End;
                }
                return AfterGap::InPayload;
            }
            (Phase::Payload { .. } | Phase::Header { .. } | Phase::End | Phase::Lost, _) => {}
        }
        self.phase = Phase::Lost;
        AfterGap::Lost
    }

    /// The header and payload of a whole message in one frame, written as the RFC demands, with which `bytes` begin. That such a thing is
    /// one, its content must prove.
    pub(super) fn single_frame<'a>(&self, bytes: &'a [u8]) -> Option<(FrameHeader, Step<'a>)> {
        let Parsed::Header { header, taken } = parse(bytes, self.is_client, self.may_compress) else { return None };
        let is_data = matches!(header.opcode, opcode::TEXT | opcode::BINARY);
        let length = usize::try_from(header.length).ok()?;
        let payload = bytes.get(taken..)?.get(..length)?;
        (is_data && header.is_final && header.is_minimal)
            .then_some((header, Step::Payload { bytes: payload, mask: Mask { key: header.mask, at: 0 } }))
    }
}

fn parse(bytes: &[u8], is_client: bool, may_compress: bool) -> Parsed {
    let Some(&[first, second]) = bytes.first_chunk::<2>() else { return Parsed::NeedMore };
    let (is_final, is_compressed, opcode) = (first & 0x80 != 0, first & 0x40 != 0, first & 0x0f);
    let is_control = opcode >= opcode::CLOSE;
    let known = matches!(opcode, opcode::CONTINUATION | opcode::TEXT | opcode::BINARY | opcode::CLOSE | opcode::PING | opcode::PONG);
    let starts_message = matches!(opcode, opcode::TEXT | opcode::BINARY);
    let (is_masked, short) = (second & 0x80 != 0, second & 0x7f);
    let reserved = first & 0x30 != 0 || is_compressed && !(may_compress && starts_message);
    if !known || reserved || is_masked != is_client || is_control && (!is_final || short > 125) {
        return Parsed::Never;
    }
    let extended = match short {
        126 => bytes.get(2..4).and_then(|length| length.first_chunk()).map(|length| (u64::from(u16::from_be_bytes(*length)), 2_usize, 126)),
        127 => bytes.get(2..10).and_then(|length| length.first_chunk()).map(|length| (u64::from_be_bytes(*length), 8, 65_536)),
        _ => Some((u64::from(short), 0, 0)),
    };
    let Some((length, length_bytes, least)) = extended else { return Parsed::NeedMore };
    if length > LARGEST_FRAME {
        return Parsed::Never;
    }
    let after_length = length_bytes.saturating_add(2);
    let mask = match (is_masked, bytes.get(after_length..).and_then(|key| key.first_chunk::<4>())) {
        (false, _) => None,
        (true, Some(key)) => Some(*key),
        (true, None) => return Parsed::NeedMore,
    };
    let taken = after_length.saturating_add(if is_masked { 4 } else { 0 });
    Parsed::Header { header: FrameHeader { is_final, is_compressed, opcode, length, mask, is_minimal: length >= least }, taken }
}
