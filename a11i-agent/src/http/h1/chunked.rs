//! Chunked transfer coding (RFC 9112 section 7.1).

/// A size line with its extensions. Nobody sends extensions; hyper's limit is the same 16 KiB.
const SIZE_LINE_BYTES: u32 = 16 * 1024;

/// All trailer lines together.
const TRAILER_BYTES: u32 = 64 * 1024;

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct Chunked {
    state: State,
    /// Bytes of the size line or of the trailers so far.
    line_bytes: u32,
    /// Joined after a gap at what looked like a chunk: a mistake is then ours, not the peers'.
    pub(super) resumed: bool,
}

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum State {
    Size {
        value: u64,
        digits: bool,
    },
    /// After the size: spaces, then an extension or the line's end.
    Extension {
        value: u64,
    },
    Data {
        left: u64,
    },
    /// The line end after the data.
    DataEnd {
        after_cr: bool,
    },
    /// `blank`: the trailer line has no byte so far.
    Trailer {
        blank: bool,
    },
    Done,
}

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Step<'a> {
    Data(&'a [u8]),
    /// The last chunk and its trailers are over; the rest belongs to the next message.
    Done,
    NeedMore,
    Malformed,
}

impl Chunked {
    pub(super) const fn new() -> Self {
        Self { state: State::Size { value: 0, digits: false }, line_bytes: 0, resumed: false }
    }

    /// At a segment that [`begins_like_chunk`].
    pub(super) const fn resumed() -> Self {
        Self { resumed: true, ..Self::new() }
    }

    /// The next step over `input`, and what of it is left.
    pub(super) fn next<'a>(&mut self, input: &'a [u8]) -> (Step<'a>, &'a [u8]) {
        let mut rest = input;
        loop {
            if let State::Data { left } = self.state {
                let here = usize::try_from(left).unwrap_or(usize::MAX).min(rest.len());
                let (data, tail) = rest.split_at_checked(here).unwrap_or((rest, b""));
                let left = left.saturating_sub(u64::try_from(here).unwrap_or(u64::MAX));
                self.state = if left == 0 { State::DataEnd { after_cr: false } } else { State::Data { left } };
                if !data.is_empty() {
                    return (Step::Data(data), tail);
                }
                if left > 0 {
                    return (Step::NeedMore, tail);
                }
                continue;
            }
            if self.state == State::Done {
                return (Step::Done, rest);
            }
            let Some((&byte, tail)) = rest.split_first() else { return (Step::NeedMore, rest) };
            rest = tail;
            if self.byte(byte).is_none() {
                return (Step::Malformed, rest);
            }
        }
    }

    /// Whether `lost` bytes lie in the data of the current chunk, so that counting them keeps the framing.
    pub(super) fn skip(&mut self, lost: u64) -> bool {
        match self.state {
            State::Data { left } if lost <= left => {
                let left = left.saturating_sub(lost);
                self.state = if left == 0 { State::DataEnd { after_cr: false } } else { State::Data { left } };
                true
            }
            State::Size { .. }
            | State::Extension { .. }
            | State::Data { .. }
            | State::DataEnd { .. }
            | State::Trailer { .. }
            | State::Done => false,
        }
    }

    /// One byte outside chunk data. Line ends may lack their CR, as clients accept.
    fn byte(&mut self, byte: u8) -> Option<()> {
        self.state = match (self.state, byte) {
            (State::Size { value, .. }, b'0'..=b'9' | b'a'..=b'f' | b'A'..=b'F') => {
                let digit = u64::from(char::from(byte).to_digit(16)?);
                State::Size { value: value.checked_mul(16)?.checked_add(digit)?, digits: true }
            }
            (State::Size { value, digits: true } | State::Extension { value }, b'\n') => {
                self.line_bytes = 0;
                if value == 0 { State::Trailer { blank: true } } else { State::Data { left: value } }
            }
            (State::Size { value, digits: true }, b'\r' | b';' | b' ' | b'\t') | (State::Extension { value }, _) => {
                State::Extension { value }
            }
            (State::DataEnd { after_cr: false }, b'\r') => State::DataEnd { after_cr: true },
            (State::DataEnd { .. }, b'\n') => State::Size { value: 0, digits: false },
            (State::Trailer { blank: true }, b'\n') => State::Done,
            (State::Trailer { .. }, b'\n') => State::Trailer { blank: true },
            (State::Trailer { blank }, b'\r') => State::Trailer { blank },
            (State::Trailer { .. }, _) => State::Trailer { blank: false },
            (State::Size { .. } | State::Data { .. } | State::DataEnd { .. } | State::Done, _) => return None,
        };
        let limit = if matches!(self.state, State::Trailer { .. }) { TRAILER_BYTES } else { SIZE_LINE_BYTES };
        self.line_bytes = self.line_bytes.saturating_add(1);
        (self.line_bytes <= limit).then_some(())
    }
}

/// Whether a segment may be the start of a chunk: a size of 1 to 8 digits and the line's end, perhaps behind the line end of the chunk before.
pub(super) fn begins_like_chunk(segment: &[u8]) -> bool {
    let line = segment.strip_prefix(b"\r\n").unwrap_or(segment);
    let digits = line.iter().take_while(|b| b.is_ascii_hexdigit()).count();
    (1..=8).contains(&digits) && line.get(digits..).is_some_and(|rest| rest.starts_with(b"\r\n"))
}

#[cfg(test)]
#[expect(clippy::arithmetic_side_effects, reason = "tests count small numbers")]
mod tests {
    use super::*;

    fn decode(pieces: &[&[u8]]) -> (Vec<u8>, Option<Step<'static>>, usize) {
        let (mut chunked, mut data, mut left) = (Chunked::new(), Vec::new(), 0);
        let mut end = None;
        for piece in pieces {
            let mut rest = *piece;
            if end.is_some() {
                left += rest.len();
                continue;
            }
            loop {
                let (step, tail) = chunked.next(rest);
                rest = tail;
                match step {
                    Step::Data(bytes) => data.extend(bytes),
                    Step::NeedMore => break,
                    Step::Done => {
                        end = Some(Step::Done);
                        left += rest.len();
                        break;
                    }
                    Step::Malformed => {
                        end = Some(Step::Malformed);
                        break;
                    }
                }
            }
        }
        (data, end, left)
    }

    #[test]
    fn chunks_extensions_and_trailers_are_the_same_at_every_cut() {
        let text = b"5\r\nhello\r\n6;name=\"v\"\r\n world\r\n0A \r\n0123456789\r\n1\nx\n000\r\nTrailer: a\r\nOther: b\r\n\r\nHTTP/1.1";
        let expected = (b"hello world0123456789x".to_vec(), Some(Step::Done), 8);
        for cut in 0..=text.len() {
            let (a, b) = text.split_at(cut);
            assert_eq!(decode(&[a, b]), expected, "cut at {cut}");
        }
        let single: Vec<&[u8]> = text.chunks(1).collect();
        assert_eq!(decode(&single), expected);
    }

    #[test]
    fn hostile_sizes_are_malformed() {
        for text in ["", "g\r\n", "\r\n", "-1\r\n", "10000000000000000\r\n", ";x\r\n", " 5\r\n", "1\r\nab\r\n", "0x5\r\n"] {
            let end = decode(&[text.as_bytes()]).1;
            assert_eq!(end, (!text.is_empty()).then_some(Step::Malformed), "{text:?}");
        }
        // The largest size that fits is only waited for.
        assert_eq!(decode(&[b"ffffffffffffffff\r\nabc"]), (b"abc".to_vec(), None, 0));
    }

    #[test]
    fn endless_size_lines_and_trailers_are_malformed() {
        let zeros = vec![b'0'; 20_000];
        assert_eq!(decode(&[&zeros]).1, Some(Step::Malformed));
        let trailer = vec![b'a'; 70_000];
        assert_eq!(decode(&[b"0\r\n", &trailer]).1, Some(Step::Malformed));
    }

    #[test]
    fn only_a_loss_within_one_chunks_data_keeps_the_framing() {
        let mut chunked = Chunked::new();
        assert!(!chunked.skip(1));
        assert_eq!(chunked.next(b"a\r\n012"), (Step::Data(b"012"), &b""[..]));
        assert!(!chunked.skip(8));
        assert!(chunked.skip(3));
        assert_eq!(chunked.next(b"6789\r\n"), (Step::Data(b"6789"), &b"\r\n"[..]));
        assert_eq!(chunked.next(b"\r\n0\r\n\r\n"), (Step::Done, &b""[..]));
    }

    #[test]
    fn a_chunk_start_is_recognised_at_a_segment_start() {
        assert!(begins_like_chunk(b"1a\r\ndata: x"));
        assert!(begins_like_chunk(b"\r\n0\r\n\r\n"));
        assert!(!begins_like_chunk(b"data: x\n\n\r\n"));
        assert!(!begins_like_chunk(b"123456789\r\n"));
    }
}
