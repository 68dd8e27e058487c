//! AWS event streams (`application/vnd.amazon.eventstream`, Smithy's "Amazon Event Stream Specification"), from bytes cut anywhere.
//!
//! A message is `total length, headers length, CRC of both, headers, payload, CRC of everything before`, big endian. A message that lies
//! whole in one piece of input is borrowed from it. Both checksums have to fit: after a gap, or after a message that does not fit, the
//! next one is looked for at every byte, and is one when its prelude's checksum and its own do.

use flate2::Crc;

use super::sse::EVENT_BYTES;

/// Total length, headers length and the checksum of both.
const PRELUDE_BYTES: usize = 12;
/// What a message without headers and payload has: the prelude and the message's checksum.
const FRAME_BYTES: usize = 16;
/// Headers of one message (the specification's limit).
const HEADERS_BYTES: usize = 128 * 1024;
/// Payload of one message: the specification's 24 MiB.
const PAYLOAD_BYTES: usize = 24 * 1024 * 1024;
/// Headers looked at in one message; services send three or four.
const MAX_HEADERS: usize = 64;
/// Bytes that may be looked at once more because what seemed to be a message was none. Beyond, such bytes are passed over as a whole: a
/// sender that plants beginnings within its messages costs a bounded number of checksums.
const SECOND_LOOK_BYTES: usize = 4 * EVENT_BYTES;
/// Taken of the input at once while the next beginning is looked for.
const SEARCH_STEP: usize = 4 * 1024;
/// Buffers larger than this are given back after the message that needed them, so that idle streams stay small.
const KEPT_BUFFER_BYTES: usize = 8 * 1024;

/// One message, both of whose checksums fit.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct EventStreamMessage<'a> {
    pub kind: MessageKind,
    /// `:event-type`, `:exception-type` or `:error-code`, by its kind.
    pub name: Option<&'a str>,
    /// `:error-message`.
    pub error_message: Option<&'a str>,
    pub payload: &'a [u8],
    /// Something is missing between the message before and this one.
    pub after_loss: bool,
}

/// `:message-type`; an event where it is absent.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum MessageKind {
    Event,
    /// A failure that the service's model knows; the payload says more.
    Exception,
    /// Any other failure; the headers say all.
    Error,
}

#[derive(Debug)]
pub struct EventStreamParser {
    /// Of the message under way, from its first byte; while a beginning is looked for, what may be the start of one.
    kept: Vec<u8>,
    /// Bytes that [`Self::kept`] needs to become more.
    wanted: usize,
    /// Rest of a message that is passed over.
    skip: usize,
    /// Where the next message begins is not known.
    searching: bool,
    /// Since the last message that was given.
    lost: bool,
    second_looks: usize,
    dropped: u64,
    damaged: u64,
}

impl Default for EventStreamParser {
    fn default() -> Self {
        Self {
            kept: Vec::new(),
            wanted: PRELUDE_BYTES,
            skip: 0,
            searching: false,
            lost: false,
            second_looks: SECOND_LOOK_BYTES,
            dropped: 0,
            damaged: 0,
        }
    }
}

impl EventStreamParser {
    /// Messages that were dropped because they exceeded [`EVENT_BYTES`].
    pub const fn dropped_messages(&self) -> u64 {
        self.dropped
    }

    /// Places where no message was that fits its checksums, and messages whose headers are none.
    pub const fn damaged_messages(&self) -> u64 {
        self.damaged
    }

    pub fn push(&mut self, input: &[u8], mut sink: impl FnMut(EventStreamMessage<'_>)) {
        let mut rest = input;
        while !rest.is_empty() {
            if self.skip > 0 {
                let (skipped, tail) = rest.split_at_checked(self.skip).unwrap_or((rest, &[]));
                self.skip = self.skip.saturating_sub(skipped.len());
                rest = tail;
            } else if self.kept.is_empty() {
                let used = self.take(rest, &mut sink);
                self.kept.extend_from_slice(rest.get(used..).unwrap_or_default());
                return;
            } else {
                let step = if self.searching { SEARCH_STEP } else { 0 };
                let missing = self.wanted.saturating_sub(self.kept.len()).max(step).max(1);
                let (part, tail) = rest.split_at_checked(missing).unwrap_or((rest, &[]));
                self.kept.extend_from_slice(part);
                rest = tail;
                if self.kept.len() >= self.wanted {
                    self.take_kept(&mut sink);
                }
            }
        }
    }

    /// The body is over: what is under way never becomes a message.
    pub fn finish(&mut self) {
        if !self.searching && (!self.kept.is_empty() || self.skip > 0) {
            self.damaged = self.damaged.saturating_add(1);
        }
        self.reset_after_gap();
    }

    /// Bytes are missing here: what is under way is dropped, and the next message looked for.
    pub fn reset_after_gap(&mut self) {
        self.kept = Vec::new();
        self.wanted = PRELUDE_BYTES;
        self.skip = 0;
        self.searching = true;
        self.lost = true;
    }

    fn take_kept(&mut self, sink: &mut impl FnMut(EventStreamMessage<'_>)) {
        let mut kept = std::mem::take(&mut self.kept);
        let used = self.take(&kept, sink);
        kept.drain(..used.min(kept.len()));
        if kept.is_empty() {
            kept.shrink_to(KEPT_BUFFER_BYTES);
        }
        self.kept = kept;
    }

    /// Gives the messages at the beginning of `bytes`. How many of them are used up; what is left may become a message with more.
    fn take(&mut self, bytes: &[u8], sink: &mut impl FnMut(EventStreamMessage<'_>)) -> usize {
        let mut at = 0_usize;
        loop {
            let rest = bytes.get(at..).unwrap_or_default();
            if self.searching {
                match rest.windows(PRELUDE_BYTES).position(|window| Prelude::read(window).is_some_and(|found| found.total <= EVENT_BYTES)) {
                    Some(0) => {}
                    Some(found) => {
                        at = at.saturating_add(found);
                        continue;
                    }
                    None => {
                        self.wanted = PRELUDE_BYTES;
                        return at.saturating_add(rest.len().saturating_sub(PRELUDE_BYTES.saturating_sub(1)));
                    }
                }
            }
            if rest.len() < PRELUDE_BYTES {
                self.wanted = PRELUDE_BYTES;
                return at;
            }
            let Some(prelude) = Prelude::read(rest) else {
                self.lose();
                continue;
            };
            if prelude.total > EVENT_BYTES {
                self.dropped = self.dropped.saturating_add(1);
                self.lost = true;
                let seen = prelude.total.min(rest.len());
                self.skip = prelude.total.saturating_sub(seen);
                at = at.saturating_add(seen);
                continue;
            }
            let Some((message, _)) = rest.split_at_checked(prelude.total) else {
                self.wanted = prelude.total;
                return at;
            };
            let Some(body) = prelude.body_of(message) else {
                self.lose();
                let again = self.second_looks.checked_sub(prelude.total);
                self.second_looks = again.unwrap_or(0);
                at = at.saturating_add(if again.is_some() { 1 } else { prelude.total });
                continue;
            };
            self.searching = false;
            if let Some(message) = body.read() {
                sink(EventStreamMessage { after_loss: std::mem::take(&mut self.lost), ..message });
            } else {
                self.damaged = self.damaged.saturating_add(1);
                self.lost = true;
            }
            at = at.saturating_add(prelude.total);
        }
    }

    /// What should be a message is none.
    const fn lose(&mut self) {
        if !self.searching {
            self.damaged = self.damaged.saturating_add(1);
            self.searching = true;
            self.lost = true;
        }
    }
}

/// The beginning of a message, whose checksum fits and whose lengths are possible.
#[derive(Clone, Copy)]
struct Prelude {
    total: usize,
    headers: usize,
}

/// A message whose checksum fits.
struct Body<'a> {
    headers: &'a [u8],
    payload: &'a [u8],
}

impl Prelude {
    fn read(bytes: &[u8]) -> Option<Self> {
        let (total, rest) = number(bytes)?;
        let (headers, rest) = number(rest)?;
        let (sum, _) = number(rest)?;
        let (total, headers) = (usize::try_from(total).ok()?, usize::try_from(headers).ok()?);
        // The lengths first: the search asks at every byte.
        let payload = total.checked_sub(FRAME_BYTES)?.checked_sub(headers)?;
        let possible = headers <= HEADERS_BYTES && payload <= PAYLOAD_BYTES;
        (possible && checksum(bytes.get(..8)?) == sum).then_some(Self { total, headers })
    }

    /// `message` has the length that the prelude tells.
    fn body_of(self, message: &[u8]) -> Option<Body<'_>> {
        let (summed, sum) = message.split_last_chunk::<4>()?;
        if checksum(summed) != u32::from_be_bytes(*sum) {
            return None;
        }
        let (headers, payload) = summed.get(PRELUDE_BYTES..)?.split_at_checked(self.headers)?;
        Some(Body { headers, payload })
    }
}

impl<'a> Body<'a> {
    /// `None` for headers that are none.
    fn read(&self) -> Option<EventStreamMessage<'a>> {
        let (mut kind, mut event, mut exception, mut code, mut error_message) = (MessageKind::Event, None, None, None, None);
        let mut rest = self.headers;
        for _ in 0..MAX_HEADERS {
            if rest.is_empty() {
                break;
            }
            let (name, value, tail) = header(rest)?;
            rest = tail;
            let HeaderValue::Text(text) = value else { continue };
            match name {
                b":message-type" if text == "exception" => kind = MessageKind::Exception,
                b":message-type" if text == "error" => kind = MessageKind::Error,
                b":event-type" => event = Some(text),
                b":exception-type" => exception = Some(text),
                b":error-code" => code = Some(text),
                b":error-message" => error_message = Some(text),
                _ => {}
            }
        }
        let name = match kind {
            MessageKind::Event => event,
            MessageKind::Exception => exception,
            MessageKind::Error => code,
        };
        Some(EventStreamMessage { kind, name, error_message, payload: self.payload, after_loss: false })
    }
}

enum HeaderValue<'a> {
    Text(&'a str),
    /// A kind that no header of interest has, or a string that is not UTF-8.
    Other,
}

/// Name, value and what follows.
fn header(bytes: &[u8]) -> Option<(&[u8], HeaderValue<'_>, &[u8])> {
    let (length, rest) = bytes.split_first()?;
    let (name, rest) = rest.split_at_checked(usize::from(*length))?;
    let (kind, rest) = rest.split_first()?;
    let fixed = |length| rest.split_at_checked(length).map(|(_, tail)| (name, HeaderValue::Other, tail));
    match kind {
        0 | 1 => fixed(0), // true, false
        2 => fixed(1),     // byte
        3 => fixed(2),     // short
        4 => fixed(4),     // integer
        5 | 8 => fixed(8), // long, timestamp
        9 => fixed(16),    // UUID
        6 | 7 => {
            let (length, rest) = rest.split_first_chunk::<2>()?;
            let (value, tail) = rest.split_at_checked(usize::from(u16::from_be_bytes(*length)))?;
            let text = if *kind == 7 { std::str::from_utf8(value).ok() } else { None };
            Some((name, text.map_or(HeaderValue::Other, HeaderValue::Text), tail))
        }
        _ => None,
    }
}

fn number(bytes: &[u8]) -> Option<(u32, &[u8])> {
    bytes.split_first_chunk::<4>().map(|(number, rest)| (u32::from_be_bytes(*number), rest))
}

/// CRC-32 as gzip has it.
fn checksum(bytes: &[u8]) -> u32 {
    let mut crc = Crc::new();
    crc.update(bytes);
    crc.sum()
}

#[cfg(test)]
#[path = "aws_event_stream_tests.rs"]
pub(crate) mod tests;
