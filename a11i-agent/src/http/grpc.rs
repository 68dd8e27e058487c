//! gRPC's length-prefixed messages (<https://github.com/grpc/grpc/blob/master/doc/PROTOCOL-HTTP2.md>) in a body cut anywhere: a flag byte,
//! four bytes of length, the message.

use super::{
    content_coding::{ContentDecoder, DecodeLimits},
    sse::EVENT_BYTES,
};

/// Flag and length.
const PREFIX_BYTES: usize = 5;
/// The message is as it is; it is compressed by the coding of `grpc-encoding`; it is gRPC-Web's trailer.
pub const PLAIN: u8 = 0;
pub const COMPRESSED: u8 = 1;
const WEB_TRAILER: u8 = 0x80;

/// Buffers larger than this are given back after the message that needed them, so that idle streams stay small.
const KEPT_BUFFER_BYTES: usize = 8 * 1024;

/// Text compresses 5 to 50 times, deflate's best is 1032.
const INFLATION_RATIO: u64 = 500;

/// A piece of a message, where one begins or goes on.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum GrpcPiece<'a> {
    Begin {
        flag: u8,
        length: usize,
    },
    /// As it came, compressed or not.
    Bytes {
        bytes: &'a [u8],
        is_last: bool,
    },
}

/// Tells messages apart and keeps nothing of them.
#[derive(Debug, Default)]
pub struct GrpcFrames {
    state: State,
}

#[derive(Clone, Copy, Debug)]
enum State {
    Prefix {
        bytes: [u8; PREFIX_BYTES],
        have: usize,
    },
    Message {
        left: usize,
    },
    /// Nobody knows where the next message begins: nothing marks it.
    Lost,
}

impl Default for State {
    fn default() -> Self {
        Self::Prefix { bytes: [0; PREFIX_BYTES], have: 0 }
    }
}

impl GrpcFrames {
    pub fn push<'a>(&mut self, mut rest: &'a [u8], mut sink: impl FnMut(GrpcPiece<'a>)) {
        loop {
            match self.state {
                State::Lost => return,
                State::Prefix { mut bytes, have } => {
                    let Some(((byte, tail), place)) = rest.split_first().zip(bytes.get_mut(have)) else { return };
                    *place = *byte;
                    rest = tail;
                    let have = have.saturating_add(1);
                    self.state = if have == PREFIX_BYTES { begin(bytes, &mut sink) } else { State::Prefix { bytes, have } };
                }
                State::Message { left } => {
                    if rest.is_empty() {
                        return;
                    }
                    let (bytes, tail) = rest.split_at_checked(left).unwrap_or((rest, &[]));
                    rest = tail;
                    let left = left.saturating_sub(bytes.len());
                    self.state = if left == 0 { State::default() } else { State::Message { left } };
                    sink(GrpcPiece::Bytes { bytes, is_last: left == 0 });
                }
            }
        }
    }

    /// Bytes are missing here: what follows cannot be told apart.
    pub const fn reset_after_gap(&mut self) {
        self.state = State::Lost;
    }
}

fn begin<'a>(prefix: [u8; PREFIX_BYTES], sink: &mut impl FnMut(GrpcPiece<'a>)) -> State {
    let [flag, length @ ..] = prefix;
    let length = usize::try_from(u32::from_be_bytes(length)).unwrap_or(usize::MAX);
    sink(GrpcPiece::Begin { flag, length });
    if !matches!(flag, PLAIN | COMPRESSED | WEB_TRAILER) {
        return State::Lost;
    }
    if length == 0 {
        sink(GrpcPiece::Bytes { bytes: &[], is_last: true });
        return State::default();
    }
    State::Message { left: length }
}

/// Gives messages as a whole, decompressed.
#[derive(Debug, Default)]
pub struct GrpcParser {
    frames: GrpcFrames,
    message: Message,
}

/// The message under way.
#[derive(Debug, Default)]
struct Message {
    /// What it came with; `None`: it is not kept, being too long, or no message.
    flag: Option<u8>,
    bytes: Vec<u8>,
    dropped: u64,
}

impl GrpcParser {
    /// Messages that were dropped: longer than [`EVENT_BYTES`], or compressed by what is not known here.
    pub const fn dropped_messages(&self) -> u64 {
        self.message.dropped
    }

    pub fn push(&mut self, input: &[u8], mut sink: impl FnMut(&[u8])) {
        let Self { frames, message } = self;
        frames.push(input, |piece| match piece {
            GrpcPiece::Begin { flag, length } => message.begin(flag, length),
            GrpcPiece::Bytes { bytes, is_last } => message.push(bytes, is_last, &mut sink),
        });
    }

    /// Bytes are missing here: what follows cannot be told apart.
    pub fn reset_after_gap(&mut self) {
        self.message.bytes = Vec::new();
        self.frames.reset_after_gap();
    }
}

impl Message {
    fn begin(&mut self, flag: u8, length: usize) {
        let is_message = matches!(flag, PLAIN | COMPRESSED);
        let fits = length <= EVENT_BYTES;
        self.flag = (is_message && fits).then_some(flag);
        self.dropped = self.dropped.saturating_add(u64::from(is_message && !fits));
    }

    fn push(&mut self, bytes: &[u8], is_last: bool, sink: &mut impl FnMut(&[u8])) {
        let Some(flag) = self.flag else { return };
        if !is_last {
            return self.bytes.extend_from_slice(bytes);
        }
        if self.bytes.is_empty() {
            return self.give(flag, bytes, sink);
        }
        let mut message = std::mem::take(&mut self.bytes);
        message.extend_from_slice(bytes);
        self.give(flag, &message, sink);
        message.clear();
        message.shrink_to(KEPT_BUFFER_BYTES);
        self.bytes = message;
    }

    fn give(&mut self, flag: u8, message: &[u8], sink: &mut impl FnMut(&[u8])) {
        if flag == PLAIN || message.is_empty() {
            return sink(message);
        }
        match inflated(message) {
            Some(plain) => sink(&plain),
            None => self.dropped = self.dropped.saturating_add(1),
        }
    }
}

/// Undoes `gzip` or `deflate`: each tells itself by its first bytes. What is neither is not known here.
fn inflated(message: &[u8]) -> Option<Vec<u8>> {
    let coding = match message {
        [0x1f, 0x8b, ..] => "gzip",
        [0x78, ..] => "deflate",
        _ => return None,
    };
    let limits = DecodeLimits { bytes: u64::try_from(EVENT_BYTES).unwrap_or(u64::MAX), ratio: INFLATION_RATIO, ..DecodeLimits::default() };
    let mut decoder = ContentDecoder::new(coding, limits).ok().flatten()?;
    let mut plain = Vec::new();
    decoder.decode(message, &mut |bytes| plain.extend_from_slice(bytes)).ok()?;
    decoder.finish().ok().map(|()| plain)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn framed(flag: u8, message: &[u8]) -> Vec<u8> {
        let mut out = vec![flag];
        out.extend_from_slice(&u32::try_from(message.len()).unwrap().to_be_bytes());
        out.extend_from_slice(message);
        out
    }

    fn messages(pieces: &[&[u8]]) -> (Vec<Vec<u8>>, u64) {
        let (mut parser, mut out) = (GrpcParser::default(), Vec::new());
        for piece in pieces {
            parser.push(piece, |message| out.push(message.to_vec()));
        }
        (out, parser.dropped_messages())
    }

    /// "hello" by gzip.
    const ZIPPED: &[u8] =
        &[0x1f, 0x8b, 8, 0, 0, 0, 0, 0, 0, 3, 0xcb, 0x48, 0xcd, 0xc9, 0xc9, 0x07, 0x00, 0x86, 0xa6, 0x10, 0x36, 0x05, 0, 0, 0];

    #[test]
    fn messages_come_out_the_same_wherever_the_bytes_are_cut() {
        let body = [framed(0, b"one"), framed(0, b""), framed(1, ZIPPED), framed(0x80, b"grpc-status: 0\r\n"), framed(0, b"two")].concat();
        let want: Vec<Vec<u8>> = vec![b"one".to_vec(), Vec::new(), b"hello".to_vec(), b"two".to_vec()];
        for at in 0..=body.len() {
            let (head, tail) = body.split_at(at);
            assert_eq!(messages(&[head, tail]), (want.clone(), 0), "cut at {at}");
        }
        assert_eq!(messages(&body.chunks(1).collect::<Vec<_>>()), (want, 0));
    }

    #[test]
    fn what_cannot_be_kept_or_decoded_is_counted_and_the_next_is_read() {
        let long = vec![b'x'; EVENT_BYTES + 1];
        let body = [framed(0, &long), framed(1, b"snappy?"), framed(1, &[0x1f, 0x8b, 0, 0]), framed(0, b"next")].concat();
        assert_eq!(messages(&[&body]), (vec![b"next".to_vec()], 3));
    }

    #[test]
    fn after_a_gap_nothing_is_taken_for_a_message() {
        let (mut parser, mut seen) = (GrpcParser::default(), 0);
        parser.push(&framed(0, b"one"), |_| seen += 1);
        parser.reset_after_gap();
        parser.push(&framed(0, b"two"), |_| seen += 1);
        assert_eq!(seen, 1);
    }

    #[test]
    fn what_is_no_grpc_gives_nothing() {
        assert_eq!(messages(&[b"{\"error\":{}}"]), (Vec::new(), 0));
        assert_eq!(messages(&[&[0, 0xff, 0xff, 0xff, 0xff]]), (Vec::new(), 1));
    }
}
