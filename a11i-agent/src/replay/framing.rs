//! A record as HTTP/1.1 bytes (RFC 9112), framed one way or another.

use std::io::Write;

use super::{
    pieces,
    record::{Message, Record},
    seed::Seed,
};

/// Both directions of one connection that carries one exchange.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Framed {
    pub request: Vec<u8>,
    pub response: Vec<u8>,
}

/// How a body's length is told.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Framing {
    ContentLength,
    Chunked,
}

impl Framing {
    const fn pick(seed: &mut Seed) -> Self {
        if seed.below(2) == 0 { Self::ContentLength } else { Self::Chunked }
    }
}

/// Set here, whatever the record says: its bodies are decoded.
const FRAMING_FIELDS: [&str; 3] = ["content-length", "transfer-encoding", "content-encoding"];

pub fn frame(record: &Record, seed: &mut Seed) -> Framed {
    let request = &record.request;
    let has_host = request.message.headers.iter().any(|(name, _)| name.eq_ignore_ascii_case("host"));
    let host = if has_host { String::new() } else { format!("Host: {}\r\n", one_line(&request.host)) };
    let start = format!("{} {} HTTP/1.1\r\n{host}", one_line(&request.method), one_line(&request.path));
    // Requests are framed by their length as a rule; streams are chunked.
    let request_framing = if seed.below(8) == 0 { Framing::Chunked } else { Framing::ContentLength };
    let request_bytes = message(start, &request.message, request_framing, !request.message.body.is_empty(), seed);

    let response = &record.response;
    let start = format!("HTTP/1.1 {} {}\r\n", response.status, if response.status < 400 { "OK" } else { "Error" });
    let framing = Framing::pick(seed);
    let (coding, body) = Coding::pick(seed).apply(&response.message.body);
    let message_bytes = match coding {
        None => message(start, &response.message, framing, true, seed),
        Some(name) => {
            let mut coded = Message { headers: response.message.headers.clone(), body };
            coded.headers.retain(|(name, _)| !name.eq_ignore_ascii_case("content-encoding"));
            message(format!("{start}Content-Encoding: {name}\r\n"), &coded, framing, true, seed)
        }
    };
    Framed { request: request_bytes, response: message_bytes }
}

/// How a response's body is coded on the wire (RFC 9110 section 8.4.1).
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Coding {
    Identity,
    Gzip,
    Deflate,
}

impl Coding {
    const fn pick(seed: &mut Seed) -> Self {
        match seed.below(4) {
            0 => Self::Gzip,
            1 => Self::Deflate,
            _ => Self::Identity,
        }
    }

    /// The coding's name and the coded body. An empty body stays as it is.
    fn apply(self, body: &[u8]) -> (Option<&'static str>, Vec<u8>) {
        let coded = match self {
            _ if body.is_empty() => None,
            Self::Identity => None,
            Self::Gzip => {
                let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
                encoder.write_all(body).and_then(|()| encoder.finish()).ok().map(|body| ("gzip", body))
            }
            Self::Deflate => {
                let mut encoder = flate2::write::ZlibEncoder::new(Vec::new(), flate2::Compression::fast());
                encoder.write_all(body).and_then(|()| encoder.finish()).ok().map(|body| ("deflate", body))
            }
        };
        coded.map_or((None, Vec::new()), |(name, body)| (Some(name), body))
    }
}

fn message(start: String, message: &Message, framing: Framing, has_body: bool, seed: &mut Seed) -> Vec<u8> {
    let mut head = start;
    for (name, value) in &message.headers {
        if !FRAMING_FIELDS.iter().any(|field| name.eq_ignore_ascii_case(field)) {
            head.push_str(&one_line(name));
            head.push_str(": ");
            head.push_str(&one_line(value));
            head.push_str("\r\n");
        }
    }
    match framing {
        Framing::ContentLength if has_body => head.push_str(&["Content-Length: ", &message.body.len().to_string(), "\r\n"].concat()),
        Framing::Chunked if has_body => head.push_str("Transfer-Encoding: chunked\r\n"),
        Framing::ContentLength | Framing::Chunked => {}
    }
    head.push_str("\r\n");
    let mut out = head.into_bytes();
    match framing {
        Framing::ContentLength => out.extend_from_slice(&message.body),
        Framing::Chunked if has_body => {
            for chunk in pieces(&message.body, seed) {
                out.extend_from_slice(format!("{:x}\r\n", chunk.len()).as_bytes());
                out.extend_from_slice(chunk);
                out.extend_from_slice(b"\r\n");
            }
            out.extend_from_slice(b"0\r\n\r\n");
        }
        Framing::Chunked => {}
    }
    out
}

/// Without line breaks: a record's texts must not become further header lines.
fn one_line(text: &str) -> String {
    text.replace(['\r', '\n'], " ")
}
