//! permessage-deflate (RFC 7692): what was agreed on, and one direction's decompression.

use crate::http::content_coding::{CodingError, DecodeLimits, Inflate, RATIO_GRACE_BYTES};

/// What ends every compressed message and is not sent (section 7.2.1).
const TAIL: [u8; 4] = [0, 0, 0xff, 0xff];

/// What the server's answer says of the extension. Window sizes say nothing here: the largest window reads them all.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct Agreement {
    /// Each message of the direction is compressed by itself.
    pub(super) client_without_context: bool,
    pub(super) server_without_context: bool,
}

/// What of the extensions that a server accepts concerns reading. Error: one that nobody here can read.
pub(super) fn agreement(extensions: &str) -> Result<Option<Agreement>, UnknownExtension> {
    let mut agreed = None;
    for extension in extensions.split(',').map(str::trim).filter(|extension| !extension.is_empty()) {
        let mut words = extension.split(';').map(str::trim);
        if agreed.is_some() || !words.next().is_some_and(|name| name.eq_ignore_ascii_case("permessage-deflate")) {
            return Err(UnknownExtension);
        }
        let mut found = Agreement { client_without_context: false, server_without_context: false };
        for word in words {
            let name = word.split_once('=').map_or(word, |(name, _)| name.trim_end());
            match name.to_ascii_lowercase().as_str() {
                "client_no_context_takeover" => found.client_without_context = true,
                "server_no_context_takeover" => found.server_without_context = true,
                "client_max_window_bits" | "server_max_window_bits" => {}
                _ => return Err(UnknownExtension),
            }
        }
        agreed = Some(found);
    }
    Ok(agreed)
}

/// Frames may mean anything.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct UnknownExtension;

/// Decompresses the messages of one direction.
#[derive(Debug)]
pub(super) struct Inflater {
    /// What came before is needed to read what follows.
    keeps_context: bool,
    limits: DecodeLimits,
    stream: Stream,
    /// Of the message under way.
    taken: u64,
    given: u64,
}

#[derive(Debug)]
enum Stream {
    /// Nothing is held between messages that stand alone: 43 KiB.
    None,
    Open(Box<Inflate>),
    /// Something before was missed, so that nothing more can be read.
    Dead,
}

impl Inflater {
    pub(super) const fn new(without_context: bool, limits: DecodeLimits) -> Self {
        Self { keeps_context: !without_context, limits, stream: Stream::None, taken: 0, given: 0 }
    }

    /// Whether a compressed message can be read from its beginning.
    pub(super) const fn can_read(&self) -> bool {
        !matches!(self.stream, Stream::Dead)
    }

    /// Each compressed message can be read by itself.
    pub(super) const fn stands_alone(&self) -> bool {
        !self.keeps_context
    }

    /// Of a compressed message: the next piece of its payload.
    pub(super) fn push(&mut self, bytes: &[u8], out: &mut dyn FnMut(&[u8])) -> Result<(), CodingError> {
        self.taken = self.taken.saturating_add(u64::try_from(bytes.len()).unwrap_or(u64::MAX));
        if matches!(self.stream, Stream::None) {
            self.stream = Stream::Open(Box::new(Inflate::new(false)));
        }
        let Self { stream, limits, taken, given, .. } = self;
        let Stream::Open(inflate) = stream else { return Err(CodingError::Invalid) };
        let most = taken.saturating_mul(limits.ratio).max(RATIO_GRACE_BYTES).min(limits.bytes);
        let done = inflate.decode(bytes, &mut |piece| {
            *given = given.saturating_add(u64::try_from(piece.len()).unwrap_or(u64::MAX));
            if *given > most {
                return Err(CodingError::TooLarge);
            }
            out(piece);
            Ok(())
        });
        if let Err(error) = done {
            self.spoil();
            return Err(error);
        }
        Ok(())
    }

    /// The message is over.
    pub(super) fn end_message(&mut self, out: &mut dyn FnMut(&[u8])) -> Result<(), CodingError> {
        self.push(&TAIL, out)?;
        (self.taken, self.given) = (0, 0);
        // A last block ends the stream, and with it the window that the next message builds on (section 7.2.3.4): nobody sends it.
        let is_over = matches!(&self.stream, Stream::Open(inflate) if inflate.is_finished());
        if !self.keeps_context {
            self.stream = Stream::None;
        } else if is_over {
            self.stream = Stream::Dead;
        }
        Ok(())
    }

    /// Some of a compressed message was missed, or may have been.
    pub(super) fn spoil(&mut self) {
        (self.taken, self.given) = (0, 0);
        self.stream = if self.keeps_context { Stream::Dead } else { Stream::None };
    }
}
