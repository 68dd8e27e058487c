//! Server name and application protocols of a TLS ClientHello (RFC 8446 section 4.1.2; extensions of RFC 6066 and RFC 7301).
//!
//! The beginning is enough: what is cut off is unknown. Hostile input gives less, never an error.

/// What a client says before anything is encrypted.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct ClientHello {
    /// In lower case.
    pub server_name: Option<String>,
    /// ALPN, best first: `h2`, `http/1.1`.
    pub protocols: Vec<String>,
}

/// Content type, version and length of a record.
const RECORD_HEADER: usize = 5;
const HANDSHAKE: u8 = 22;
const CLIENT_HELLO: u8 = 1;
const SERVER_NAME: u16 = 0;
const HOST_NAME: u8 = 0;
const ALPN: u16 = 16;

/// RFC 1035 section 2.3.4.
const NAME_BYTES: usize = 255;
/// Clients offer two or three.
const PROTOCOLS: usize = 8;

impl ClientHello {
    /// `bytes`: a stream from its first byte, as far as it was copied. `None`: it does not begin with a ClientHello. One that is spread over
    /// several records is read as far as the first goes.
    pub fn parse(bytes: &[u8]) -> Option<Self> {
        let (header, rest) = bytes.split_at_checked(RECORD_HEADER)?;
        let [HANDSHAKE, 3, _, high, low] = *header else { return None };
        let length = usize::from(u16::from_be_bytes([high, low]));
        let mut rest = Reader(rest.get(..length).unwrap_or(rest));
        if rest.byte()? != CLIENT_HELLO {
            return None;
        }
        let mut hello = Self::default();
        // What is missing from here on is cut off, or was left out.
        let _cut = hello.read(rest).is_none();
        Some(hello)
    }

    fn read(&mut self, mut r: Reader<'_>) -> Option<()> {
        r.skip(3 + 2 + 32)?; // length, version, random
        r.vector8()?; // session id
        r.vector16()?; // cipher suites
        r.vector8()?; // compression methods
        let length = usize::from(r.word()?);
        let mut extensions = Reader(r.0.get(..length).unwrap_or(r.0));
        loop {
            let (kind, mut body) = (extensions.word()?, extensions.vector16()?);
            match kind {
                SERVER_NAME => self.server_name = self.server_name.take().or(server_name(&mut body)),
                ALPN => self.protocols = protocols(&mut body),
                _ => {}
            }
        }
    }
}

/// The first host name of the list; there is one at most.
fn server_name(body: &mut Reader<'_>) -> Option<String> {
    let mut list = body.vector16()?;
    loop {
        let (kind, name) = (list.byte()?, list.vector16()?);
        if kind == HOST_NAME {
            let name = std::str::from_utf8(name.0).ok()?;
            let plain = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'.' | b'-' | b'_');
            return (!name.is_empty() && name.len() <= NAME_BYTES && name.bytes().all(plain)).then(|| name.to_ascii_lowercase());
        }
    }
}

fn protocols(body: &mut Reader<'_>) -> Vec<String> {
    let mut found = Vec::new();
    let Some(mut list) = body.vector16() else { return found };
    while let Some(name) = list.vector8() {
        // GREASE (RFC 8701) is no text.
        if found.len() < PROTOCOLS && !name.0.is_empty() && name.0.iter().all(u8::is_ascii_graphic) {
            found.push(String::from_utf8_lossy(name.0).into_owned());
        }
    }
    found
}

/// Takes from the front; cannot read past the end.
struct Reader<'a>(&'a [u8]);

impl<'a> Reader<'a> {
    fn skip(&mut self, length: usize) -> Option<()> {
        self.0 = self.0.get(length..)?;
        Some(())
    }

    fn byte(&mut self) -> Option<u8> {
        let (byte, rest) = self.0.split_first()?;
        self.0 = rest;
        Some(*byte)
    }

    fn word(&mut self) -> Option<u16> {
        let (word, rest) = self.0.split_first_chunk::<2>()?;
        self.0 = rest;
        Some(u16::from_be_bytes(*word))
    }

    fn vector8(&mut self) -> Option<Reader<'a>> {
        let length = usize::from(self.byte()?);
        self.take(length)
    }

    fn vector16(&mut self) -> Option<Reader<'a>> {
        let length = usize::from(self.word()?);
        self.take(length)
    }

    fn take(&mut self, length: usize) -> Option<Reader<'a>> {
        let (taken, rest) = self.0.split_at_checked(length)?;
        self.0 = rest;
        Some(Reader(taken))
    }
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;

    fn extension(kind: u16, body: &[u8]) -> Vec<u8> {
        let mut out = kind.to_be_bytes().to_vec();
        out.extend(u16::try_from(body.len()).unwrap().to_be_bytes());
        out.extend(body);
        out
    }

    fn vector16(body: &[u8]) -> Vec<u8> {
        let mut out = u16::try_from(body.len()).unwrap().to_be_bytes().to_vec();
        out.extend(body);
        out
    }

    pub(crate) fn hello(name: &str, protocols: &[&[u8]]) -> Vec<u8> {
        let named: Vec<u8> = [vec![HOST_NAME], vector16(name.as_bytes())].concat();
        let offered: Vec<u8> = protocols.iter().flat_map(|name| [&[u8::try_from(name.len()).unwrap()], *name].concat()).collect();
        let extensions = [
            extension(0x0a0a, b""),
            extension(SERVER_NAME, &vector16(&named)),
            extension(43, b"\x02\x03\x04"),
            extension(ALPN, &vector16(&offered)),
        ]
        .concat();
        let mut body = vec![3, 3];
        body.extend([7; 32]);
        body.extend([4, 1, 2, 3, 4]);
        body.extend(vector16(&[0x13, 0x01]));
        body.extend([1, 0]);
        body.extend(vector16(&extensions));
        let mut message = vec![CLIENT_HELLO, 0];
        message.extend(vector16(&body));
        [vec![HANDSHAKE, 3, 1], vector16(&message)].concat()
    }

    #[test]
    fn name_and_protocols_are_read_whatever_follows() {
        let mut bytes = hello("API.OpenAI.com", &[b"\x0a\x0a", b"h2", b"http/1.1"]);
        let expected =
            ClientHello { server_name: Some("api.openai.com".to_owned()), protocols: vec!["h2".to_owned(), "http/1.1".to_owned()] };
        assert_eq!(ClientHello::parse(&bytes), Some(expected.clone()));
        bytes.extend(b"early data");
        assert_eq!(ClientHello::parse(&bytes), Some(expected));
    }

    #[test]
    fn every_cut_gives_less_and_never_something_else() {
        let bytes = hello("api.openai.com", &[b"h2"]);
        let whole = ClientHello::parse(&bytes).unwrap();
        for cut in 0..bytes.len() {
            if let Some(found) = ClientHello::parse(&bytes[..cut]) {
                assert!(found.server_name.is_none() || found.server_name == whole.server_name, "cut at {cut}");
                assert!(found.protocols.is_empty() || found.protocols == whole.protocols, "cut at {cut}");
            } else {
                assert!(cut < 6, "cut at {cut}");
            }
        }
    }

    #[test]
    fn every_changed_byte_is_survived() {
        let bytes = hello("api.openai.com", &[b"h2"]);
        for at in 0..bytes.len() {
            for value in [0, 1, 0x7f, 0xff] {
                let mut changed = bytes.clone();
                changed[at] = value;
                let found = ClientHello::parse(&changed);
                assert!(found.and_then(|hello| hello.server_name).is_none_or(|name| name.len() <= NAME_BYTES));
            }
        }
    }

    #[test]
    fn what_is_no_client_hello_or_names_nothing_readable_gives_nothing() {
        for other in [b"".as_slice(), b"POST / HTTP/1.1", b"\x17\x03\x03\x00\x01x", b"\x16\x03\x03\x00\x01\x02"] {
            assert_eq!(ClientHello::parse(other), None, "{other:?}");
        }
        for name in ["", "a b", "x\u{e9}"] {
            assert_eq!(ClientHello::parse(&hello(name, &[])).unwrap().server_name, None, "{name}");
        }
    }
}
