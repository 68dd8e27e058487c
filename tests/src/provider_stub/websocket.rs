//! The stand-in's end of a WebSocket (RFC 6455) with permessage-deflate (RFC 7692), both directions keeping their context.

use std::io;

use flate2::{Compress, Compression, Decompress, FlushCompress, FlushDecompress};
use hyper::HeaderMap;
use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _};

/// What ends every deflated message and is not sent.
const TAIL: [u8; 4] = [0, 0, 0xff, 0xff];
/// A text frame of the server's is split in two where it is longer: clients have to join fragments, and so has who looks on.
const FRAGMENT: usize = 1024;
/// Largest message that the stand-in takes.
const MESSAGE: usize = 16 * 1024 * 1024;

/// Whether these are the headers of a handshake.
pub(super) fn is_asked(headers: &HeaderMap) -> bool {
    headers.get("upgrade").is_some_and(|name| name.as_bytes().eq_ignore_ascii_case(b"websocket"))
}

/// Whether the client offers to deflate.
pub(super) fn deflates(headers: &HeaderMap) -> bool {
    let offers = headers.get_all("sec-websocket-extensions").iter().filter_map(|value| value.to_str().ok());
    offers.flat_map(|value| value.split(',')).any(|offer| offer.trim().starts_with("permessage-deflate"))
}

/// `sec-websocket-accept` to the client's key.
pub(super) fn accept_key(key: &[u8]) -> String {
    let keyed = [key, b"258EAFA5-E914-47DA-95CA-C5AB0DC85B11"].concat();
    base64(ring::digest::digest(&ring::digest::SHA1_FOR_LEGACY_USE_ONLY, &keyed).as_ref())
}

fn base64(bytes: &[u8]) -> String {
    const DIGITS: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    let mut text = String::new();
    for group in bytes.chunks(3) {
        let word = group.iter().chain(&[0; 2]).take(3).fold(0_u32, |word, byte| word << 8 | u32::from(*byte));
        for place in 0..4_u32 {
            let digit = usize::try_from(word >> (18 - 6 * place) & 63).unwrap_or_default();
            text.push(if usize::try_from(place).is_ok_and(|place| place <= group.len()) { char::from(DIGITS[digit]) } else { '=' });
        }
    }
    text
}

/// An open connection.
pub(super) struct Socket<S> {
    stream: S,
    inflate: Option<Decompress>,
    deflate: Option<Compress>,
}

impl<S: AsyncRead + AsyncWrite + Unpin> Socket<S> {
    pub(super) fn new(stream: S, deflates: bool) -> Self {
        let inflate = deflates.then(|| Decompress::new(false));
        Self { stream, inflate, deflate: deflates.then(|| Compress::new(Compression::default(), false)) }
    }

    /// The next message; `None`: the client has said goodbye, and was answered. Pings are answered, too.
    pub(super) async fn receive(&mut self) -> io::Result<Option<String>> {
        let (mut message, mut deflated) = (Vec::new(), false);
        loop {
            let first = self.stream.read_u8().await?;
            let payload = self.payload().await?;
            match first & 0x0f {
                0..=2 => {
                    deflated |= first & 0x40 != 0;
                    message.extend_from_slice(&payload);
                    if message.len() > MESSAGE {
                        return Err(io::Error::other("the message is too large"));
                    }
                    if first & 0x80 != 0 {
                        let text = if deflated { self.inflate(&message)? } else { message };
                        return String::from_utf8(text).map(Some).map_err(io::Error::other);
                    }
                }
                8 => {
                    self.frame(0x88, &payload).await?;
                    self.stream.flush().await?;
                    return Ok(None);
                }
                9 => self.frame(0x8a, &payload).await?,
                _ => {}
            }
        }
    }

    async fn payload(&mut self) -> io::Result<Vec<u8>> {
        let length = match self.stream.read_u8().await? {
            byte if byte & 0x80 == 0 => return Err(io::Error::other("a client masks")),
            0xfe => u64::from(self.stream.read_u16().await?),
            0xff => self.stream.read_u64().await?,
            byte => u64::from(byte & 0x7f),
        };
        let length =
            usize::try_from(length).ok().filter(|length| *length <= MESSAGE).ok_or_else(|| io::Error::other("the frame is too large"))?;
        let mut mask = [0; 4];
        self.stream.read_exact(&mut mask).await?;
        let mut payload = vec![0; length];
        self.stream.read_exact(&mut payload).await?;
        for (byte, key) in payload.iter_mut().zip(mask.iter().cycle()) {
            *byte ^= key;
        }
        Ok(payload)
    }

    fn inflate(&mut self, message: &[u8]) -> io::Result<Vec<u8>> {
        let stream = self.inflate.as_mut().ok_or_else(|| io::Error::other("nobody agreed to deflate"))?;
        let input = [message, &TAIL].concat();
        let (mut text, start) = (Vec::with_capacity(input.len() * 4 + 1024), stream.total_in());
        loop {
            let taken = usize::try_from(stream.total_in() - start).unwrap_or(usize::MAX);
            let rest = input.get(taken..).unwrap_or_default();
            let before = text.len();
            stream.decompress_vec(rest, &mut text, FlushDecompress::Sync).map_err(io::Error::other)?;
            if rest.is_empty() && text.len() == before {
                return Ok(text);
            }
            text.reserve(4096);
        }
    }

    /// One text message; it is handed to the connection before this returns.
    pub(super) async fn send(&mut self, text: &str) -> io::Result<()> {
        let (payload, compressed) = match &mut self.deflate {
            Some(stream) => {
                let mut deflated = Vec::with_capacity(text.len() + 1024);
                stream.compress_vec(text.as_bytes(), &mut deflated, FlushCompress::Sync).map_err(io::Error::other)?;
                let length = deflated.strip_suffix(&TAIL).map(<[u8]>::len).ok_or_else(|| io::Error::other("the message is not flushed"))?;
                deflated.truncate(length);
                (deflated, 0x40)
            }
            None => (text.as_bytes().to_vec(), 0),
        };
        if payload.len() > FRAGMENT {
            let (one, two) = payload.split_at(payload.len() / 2);
            self.frame(0x01 | compressed, one).await?;
            self.frame(0x89, b"between").await?;
            self.frame(0x80, two).await?;
        } else {
            self.frame(0x81 | compressed, &payload).await?;
        }
        self.stream.flush().await
    }

    async fn frame(&mut self, first: u8, payload: &[u8]) -> io::Result<()> {
        let mut frame = vec![first];
        match (u8::try_from(payload.len()), u16::try_from(payload.len())) {
            (Ok(length @ 0..126), _) => frame.push(length),
            (_, Ok(length)) => {
                frame.push(126);
                frame.extend_from_slice(&length.to_be_bytes());
            }
            (_, Err(_)) => {
                frame.push(127);
                frame.extend_from_slice(&u64::try_from(payload.len()).unwrap_or(u64::MAX).to_be_bytes());
            }
        }
        frame.extend_from_slice(payload);
        self.stream.write_all(&frame).await
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_answer_to_the_key_is_that_of_the_rfc() {
        assert_eq!(accept_key(b"dGhlIHNhbXBsZSBub25jZQ=="), "s3pPLMBiTxaQ9kYGzzhZRbK+xOo=");
    }
}
