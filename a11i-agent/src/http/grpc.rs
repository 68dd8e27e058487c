//! gRPC's length-prefixed messages (<https://github.com/grpc/grpc/blob/master/doc/PROTOCOL-HTTP2.md>) in a body cut anywhere: a flag byte,
//! four bytes of length, the message.

use super::{
    content_coding::{ContentDecoder, DecodeLimits},
    sse::EVENT_BYTES,
};

/// Flag and length.
const PREFIX_BYTES: usize = 5;
/// The message is as it is; it is compressed by the coding of `grpc-encoding`; it is gRPC-Web's trailer.
const PLAIN: u8 = 0;
const COMPRESSED: u8 = 1;
const WEB_TRAILER: u8 = 0x80;

/// Buffers larger than this are given back after the message that needed them, so that idle streams stay small.
const KEPT_BUFFER_BYTES: usize = 8 * 1024;

/// Text compresses 5 to 50 times, deflate's best is 1032.
const INFLATION_RATIO: u64 = 500;

#[derive(Debug, Default)]
pub struct GrpcParser {
    state: State,
    /// Bytes of the message under way.
    message: Vec<u8>,
    dropped: u64,
}

#[derive(Clone, Copy, Debug)]
enum State {
    Prefix {
        bytes: [u8; PREFIX_BYTES],
        have: usize,
    },
    Message {
        flag: u8,
        left: usize,
    },
    /// A message that is not kept: too long, or no message.
    Skip {
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

impl GrpcParser {
    /// Messages that were dropped: longer than [`EVENT_BYTES`], or compressed by what is not known here.
    pub const fn dropped_messages(&self) -> u64 {
        self.dropped
    }

    pub fn push(&mut self, input: &[u8], mut sink: impl FnMut(&[u8])) {
        let mut rest = input;
        loop {
            match self.state {
                State::Lost => return,
                State::Prefix { mut bytes, have } => {
                    let Some(((byte, tail), place)) = rest.split_first().zip(bytes.get_mut(have)) else { return };
                    *place = *byte;
                    rest = tail;
                    let have = have.saturating_add(1);
                    self.state = if have == PREFIX_BYTES { self.begin(bytes) } else { State::Prefix { bytes, have } };
                    self.give_if_empty(&mut sink);
                }
                State::Skip { left } => {
                    let (skipped, tail) = rest.split_at_checked(left).unwrap_or((rest, &[]));
                    rest = tail;
                    let left = left.saturating_sub(skipped.len());
                    self.state = if left == 0 { State::default() } else { State::Skip { left } };
                    if rest.is_empty() {
                        return;
                    }
                }
                State::Message { flag, left } => {
                    if rest.is_empty() {
                        return;
                    }
                    let (part, tail) = rest.split_at_checked(left).unwrap_or((rest, &[]));
                    rest = tail;
                    let left = left.saturating_sub(part.len());
                    if left > 0 {
                        self.message.extend_from_slice(part);
                        self.state = State::Message { flag, left };
                        return;
                    }
                    self.state = State::default();
                    if self.message.is_empty() {
                        self.give(flag, part, &mut sink);
                    } else {
                        self.message.extend_from_slice(part);
                        let mut message = std::mem::take(&mut self.message);
                        self.give(flag, &message, &mut sink);
                        message.clear();
                        message.shrink_to(KEPT_BUFFER_BYTES);
                        self.message = message;
                    }
                }
            }
        }
    }

    /// Bytes are missing here: what follows cannot be told apart.
    pub fn reset_after_gap(&mut self) {
        self.message = Vec::new();
        self.state = State::Lost;
    }

    fn begin(&mut self, prefix: [u8; PREFIX_BYTES]) -> State {
        let [flag, length @ ..] = prefix;
        let left = usize::try_from(u32::from_be_bytes(length)).unwrap_or(usize::MAX);
        match flag {
            PLAIN | COMPRESSED if left <= EVENT_BYTES => State::Message { flag, left },
            PLAIN | COMPRESSED => {
                self.dropped = self.dropped.saturating_add(1);
                State::Skip { left }
            }
            WEB_TRAILER if left > 0 => State::Skip { left },
            WEB_TRAILER => State::default(),
            _ => State::Lost,
        }
    }

    fn give_if_empty(&mut self, sink: &mut impl FnMut(&[u8])) {
        if let State::Message { flag, left: 0 } = self.state {
            self.state = State::default();
            self.give(flag, &[], sink);
        }
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
