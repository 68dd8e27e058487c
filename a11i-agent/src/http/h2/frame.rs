//! Frames of one direction (RFC 9113 section 4), from bytes in any pieces.

/// Bytes before the frames of a client (section 3.4).
pub(in crate::http) const PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";

const HEADER_BYTES: usize = 9;

/// Frame types (section 6).
pub(super) mod kind {
    pub(in crate::http::h2) const DATA: u8 = 0;
    pub(in crate::http::h2) const HEADERS: u8 = 1;
    pub(in crate::http::h2) const RST_STREAM: u8 = 3;
    pub(in crate::http::h2) const PUSH_PROMISE: u8 = 5;
    pub(in crate::http::h2) const GOAWAY: u8 = 7;
    pub(in crate::http::h2) const CONTINUATION: u8 = 9;
}

/// Flags of DATA, HEADERS, PUSH_PROMISE and CONTINUATION.
pub(super) mod flag {
    pub(in crate::http::h2) const END_STREAM: u8 = 0x1;
    pub(in crate::http::h2) const END_HEADERS: u8 = 0x4;
    pub(in crate::http::h2) const PADDED: u8 = 0x8;
    pub(in crate::http::h2) const PRIORITY: u8 = 0x20;
}

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct FrameHeader {
    pub(super) length: u32,
    pub(super) kind: u8,
    pub(super) flags: u8,
    pub(super) stream: u32,
}

impl FrameHeader {
    fn parse([l2, l1, l0, kind, flags, s3, s2, s1, s0]: [u8; HEADER_BYTES]) -> Self {
        let stream = u32::from_be_bytes([s3, s2, s1, s0]) & 0x7fff_ffff;
        Self { length: u32::from_be_bytes([0, l2, l1, l0]), kind, flags, stream }
    }

    pub(super) const fn has(self, flag: u8) -> bool {
        self.flags & flag != 0
    }

    /// Whether a peer may send it so, in a connection whose frames have the size that everybody begins with (section 6). What a peer has to
    /// ignore (unknown types, undefined flags) is not looked for: this is how frames are told from other bytes.
    fn is_plausible(self, reserved_bit: bool) -> bool {
        let Self { length, kind, flags, stream } = self;
        let fixed = match kind {
            kind::DATA => stream != 0 && flags & !(flag::END_STREAM | flag::PADDED) == 0,
            kind::HEADERS => stream != 0 && flags & !0x2d == 0 && length > 0,
            2 => stream != 0 && length == 5 && flags == 0,
            kind::RST_STREAM => stream != 0 && length == 4 && flags == 0,
            4 => stream == 0 && length.is_multiple_of(6) && flags & !1 == 0 && (flags == 0 || length == 0),
            6 => stream == 0 && length == 8 && flags & !1 == 0,
            kind::PUSH_PROMISE => stream != 0 && length >= 4 && flags & !(flag::END_HEADERS | flag::PADDED) == 0,
            kind::GOAWAY => stream == 0 && length >= 8 && flags == 0,
            8 => length == 4 && flags == 0,
            kind::CONTINUATION => stream != 0 && flags & !flag::END_HEADERS == 0,
            _ => false,
        };
        fixed && !reserved_bit && length <= LARGEST_EXPECTED
    }
}

/// `SETTINGS_MAX_FRAME_SIZE` at the beginning (section 6.5.2). Few raise it; frames above it are followed, but are no sign of HTTP/2.
const LARGEST_EXPECTED: u32 = 16_384;

/// What the next bytes are.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Step<'a> {
    /// A frame begins.
    Begin(FrameHeader),
    /// Of the frame that began last.
    Payload(&'a [u8]),
    /// The frame that began last is over.
    End,
    /// All of the input is used.
    NeedMore,
    /// A client's bytes that are no preface.
    NoPreface,
    /// Frames were found in the wrong place.
    NoFrame,
}

/// Cuts one direction into frames.
#[derive(Debug)]
pub(super) struct Reader {
    state: State,
    buffer: [u8; HEADER_BYTES],
    /// Bytes in `buffer`, or of the preface that were seen.
    have: usize,
    /// Where frames begin was found out by their looks: what no longer looks like one was none.
    is_found: bool,
}

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum State {
    Preface,
    Header,
    Payload {
        left: u32,
    },
    /// Nobody knows where the next frame begins.
    Lost,
}

/// What became of the frames where bytes are missing.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum AfterGap {
    /// All of them were of the payload that was under way; `over`: it ends with them.
    InPayload { over: bool },
    /// Frames are missing, or may be.
    Lost,
}

impl Reader {
    pub(super) const fn new(preface: bool) -> Self {
        Self { state: if preface { State::Preface } else { State::Header }, buffer: [0; HEADER_BYTES], have: 0, is_found: false }
    }

    /// Joined in the middle.
    pub(super) const fn lost() -> Self {
        Self { state: State::Lost, buffer: [0; HEADER_BYTES], have: 0, is_found: false }
    }

    pub(super) fn is_lost(&self) -> bool {
        self.state == State::Lost
    }

    pub(super) fn lose(&mut self) {
        *self = Self::lost();
    }

    /// What comes next of `input`, and what is left of it. Nothing while lost: see [`Self::rejoin`].
    pub(super) fn next<'a>(&mut self, input: &'a [u8]) -> (Step<'a>, &'a [u8]) {
        match self.state {
            State::Preface => {
                let missing = PREFACE.get(self.have..).unwrap_or_default();
                let here = missing.len().min(input.len());
                let (part, rest) = input.split_at_checked(here).unwrap_or((input, b""));
                if !missing.starts_with(part) {
                    self.lose();
                    return (Step::NoPreface, input);
                }
                self.have = self.have.saturating_add(here);
                if self.have < PREFACE.len() {
                    return (Step::NeedMore, rest);
                }
                (self.state, self.have) = (State::Header, 0);
                self.next(rest)
            }
            State::Header => {
                let room = HEADER_BYTES.saturating_sub(self.have);
                let (part, rest) = input.split_at_checked(room.min(input.len())).unwrap_or((input, b""));
                for (place, byte) in self.buffer.iter_mut().skip(self.have).zip(part) {
                    *place = *byte;
                }
                self.have = self.have.saturating_add(part.len());
                if self.have < HEADER_BYTES {
                    return (Step::NeedMore, rest);
                }
                let header = FrameHeader::parse(self.buffer);
                let reserved_bit = self.buffer.get(5).is_some_and(|byte| byte & 0x80 != 0);
                if self.is_found && !header.is_plausible(reserved_bit) && !EXTENSIONS.contains(&header.kind) {
                    self.lose();
                    return (Step::NoFrame, rest);
                }
                (self.state, self.have) = (State::Payload { left: header.length }, 0);
                (Step::Begin(header), rest)
            }
            State::Payload { left: 0 } => {
                self.state = State::Header;
                (Step::End, input)
            }
            State::Payload { left } => {
                if input.is_empty() {
                    return (Step::NeedMore, input);
                }
                let here = usize::try_from(left).unwrap_or(usize::MAX).min(input.len());
                let (part, rest) = input.split_at_checked(here).unwrap_or((input, b""));
                self.state = State::Payload { left: left.saturating_sub(u32::try_from(part.len()).unwrap_or(left)) };
                (Step::Payload(part), rest)
            }
            State::Lost => (Step::NeedMore, b""),
        }
    }

    /// `lost` bytes are missing, or nobody knows how many.
    pub(super) fn gap(&mut self, lost: Option<u64>) -> AfterGap {
        if let (State::Payload { left }, Some(lost)) = (self.state, lost)
            && let Some(rest) = u64::from(left).checked_sub(lost)
        {
            // No larger than `left`.
            self.state = State::Payload { left: u32::try_from(rest).unwrap_or(left) };
            return AfterGap::InPayload { over: rest == 0 };
        }
        self.lose();
        AfterGap::Lost
    }

    /// While lost: where in `segment` frames begin again, shown by a chain of them. `at_start`: the segment's first byte is where somebody's
    /// write or read began, which a frame's mostly is too.
    pub(super) fn rejoin(&mut self, segment: &[u8]) -> Option<usize> {
        let places = segment.len().saturating_sub(HEADER_BYTES.saturating_sub(1));
        let found = (0..places.min(REJOIN_BYTES)).find(|at| {
            let needed = if *at == 0 { SCORE_AT_START } else { SCORE_ELSEWHERE };
            segment.get(*at..).is_some_and(|rest| chain(rest) >= needed)
        })?;
        (self.state, self.have, self.is_found) = (State::Header, 0, true);
        Some(found)
    }
}

/// ALTSVC, ORIGIN and PRIORITY_UPDATE (RFC 7838, 8336, 9218): what else is registered and in use.
const EXTENSIONS: [u8; 3] = [0x0a, 0x0c, 0x10];

/// How far into a segment a frame is looked for: the largest frame of everybody, and its header.
const REJOIN_BYTES: usize = 16_384 + HEADER_BYTES;

/// Frames in a row that are believed; one that ends with the segment counts double. What a segment begins with is a frame as a rule.
const SCORE_AT_START: u32 = 2;
const SCORE_ELSEWHERE: u32 = 4;

/// Frames that are looked at in a row: so many are no accident, and nobody can make the search quadratic.
const CHAIN_FRAMES: u32 = 32;

/// Plausible frame headers in a row, one more for a frame that ends with the bytes, and one for the head of a request or response: few other
/// bytes look like one, and what a library writes of a request at first is often no more.
pub(in crate::http) fn chain(bytes: &[u8]) -> u32 {
    let mut rest = bytes;
    let mut score = 0_u32;
    for _ in 0..CHAIN_FRAMES {
        let Some((header, tail)) = rest.split_first_chunk::<HEADER_BYTES>() else { break };
        let reserved_bit = header.get(5).is_some_and(|byte| byte & 0x80 != 0);
        let header = FrameHeader::parse(*header);
        if !header.is_plausible(reserved_bit) {
            return 0;
        }
        let is_head = header.kind == kind::HEADERS && header.has(flag::END_HEADERS) && header.stream % 2 == 1;
        score = score.saturating_add(if is_head { 2 } else { 1 });
        match usize::try_from(header.length).ok().and_then(|length| tail.get(length..)) {
            Some([]) => return score.saturating_add(1),
            Some(next) => rest = next,
            None => return score,
        }
    }
    score
}

/// The first bytes of a server: a SETTINGS frame that acknowledges nothing (RFC 9113 section 3.4). Its first byte is that of no message of
/// HTTP/1.
pub(in crate::http) fn begins_server(bytes: &[u8]) -> bool {
    bytes.first_chunk::<HEADER_BYTES>().is_some_and(|header| {
        let header = FrameHeader::parse(*header);
        header.kind == SETTINGS && header.flags == 0 && header.length <= MOST_SETTINGS && header.is_plausible(false)
    })
}

/// The same of fewer bytes than that: nothing speaks against it yet.
pub(in crate::http) fn may_begin_server(bytes: &[u8]) -> bool {
    let mut header = [0, 0, 0, SETTINGS, 0, 0, 0, 0, 0];
    if let ([_, _, told, ..], Some(length)) = (&mut header, bytes.get(2)) {
        *told = *length;
    }
    bytes.len() < HEADER_BYTES && header.starts_with(bytes) && begins_server(&header)
}

const SETTINGS: u8 = 4;

/// Six are defined; some libraries add a few of their own. Six bytes each.
const MOST_SETTINGS: u32 = 16 * 6;

#[cfg(test)]
pub(super) mod tests {
    use super::*;

    pub(in crate::http::h2) fn frame(kind: u8, flags: u8, stream: u32, payload: &[u8]) -> Vec<u8> {
        let mut out = u32::try_from(payload.len()).unwrap().to_be_bytes()[1..].to_vec();
        out.extend([kind, flags]);
        out.extend(stream.to_be_bytes());
        out.extend(payload);
        out
    }

    fn steps(reader: &mut Reader, mut input: &[u8]) -> Vec<String> {
        let mut seen = Vec::new();
        loop {
            let (step, rest) = reader.next(input);
            input = rest;
            match step {
                Step::NeedMore => return seen,
                Step::Begin(header) => seen.push(format!("{}/{}", header.kind, header.stream)),
                Step::Payload(bytes) => match seen.last_mut() {
                    Some(last) if last.starts_with('+') => last.push_str(&String::from_utf8_lossy(bytes)),
                    _ => seen.push(format!("+{}", String::from_utf8_lossy(bytes))),
                },
                Step::End => seen.push("end".to_owned()),
                Step::NoPreface | Step::NoFrame => {
                    seen.push("no frame".to_owned());
                    return seen;
                }
            }
        }
    }

    fn connection() -> Vec<u8> {
        [PREFACE.to_vec(), frame(4, 0, 0, &[]), frame(0, 1, 1, b"hello"), frame(8, 0, 0, &[0, 0, 1, 0])].concat()
    }

    #[test]
    fn frames_come_out_the_same_at_every_cut() {
        let bytes = connection();
        let want = ["4/0", "end", "0/1", "+hello", "end", "8/0", "+\0\0\u{1}\0", "end"];
        for cut in 0..bytes.len() {
            let mut reader = Reader::new(true);
            let mut seen = steps(&mut reader, &bytes[..cut]);
            for step in steps(&mut reader, &bytes[cut..]) {
                match seen.last_mut() {
                    Some(last) if last.starts_with('+') && step.starts_with('+') => last.push_str(step.trim_start_matches('+')),
                    _ => seen.push(step),
                }
            }
            assert_eq!(seen, want, "cut at {cut}");
        }
    }

    #[test]
    fn a_gap_within_a_payload_loses_no_frame_and_any_other_does() {
        let bytes = connection();
        let data = PREFACE.len() + 9 + 9;
        for (at, lost, want) in [
            (data + 1, Some(3), AfterGap::InPayload { over: false }),
            (data + 1, Some(4), AfterGap::InPayload { over: true }),
            (data + 1, Some(5), AfterGap::Lost),
            (data + 1, None, AfterGap::Lost),
            (data - 3, Some(2), AfterGap::Lost),
        ] {
            let mut reader = Reader::new(true);
            steps(&mut reader, &bytes[..at]);
            assert_eq!(reader.gap(lost), want);
            if want != AfterGap::Lost {
                let rest = steps(&mut reader, &bytes[at + usize::try_from(lost.unwrap()).unwrap()..]);
                assert_eq!(rest.last().map(String::as_str), Some("end"));
                assert!(rest.contains(&"8/0".to_owned()));
            }
        }
    }

    #[test]
    fn frames_are_found_again_at_the_start_of_a_segment_or_behind_the_rest_of_one() {
        let frames = connection()[PREFACE.len()..].to_vec();
        let mut reader = Reader::lost();
        assert_eq!(reader.rejoin(&frames), Some(0));
        assert!(!reader.is_lost());
        let mut reader = Reader::lost();
        let behind = [b"the rest of a body, \0\0\0 and more".as_slice(), &frames, &frames].concat();
        assert_eq!(reader.rejoin(&behind), Some(behind.len() - 2 * frames.len()));
        for none in [b"GET / HTTP/1.1\r\n\r\n".as_slice(), &[0; 200], b"{\"a\":1}", &frames[..8]] {
            assert_eq!(Reader::lost().rejoin(none), None);
        }
    }
}
