//! A record as HTTP/1.1 (RFC 9112).

use super::{Coding, pieces, record::Record, seed::Seed};

/// How a body's length is told.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Length {
    /// Beforehand.
    Counted,
    Chunked,
}

/// Set here, whatever the record says: its bodies are decoded.
const FRAMING_FIELDS: [&str; 3] = ["content-length", "transfer-encoding", "content-encoding"];

pub(super) fn request(record: &Record, length: Length, coding: Option<Coding>, seed: &mut Seed) -> Vec<u8> {
    let request = &record.request;
    let has_host = request.message.headers.iter().any(|(name, _)| name.eq_ignore_ascii_case("host"));
    let host = if has_host { String::new() } else { format!("Host: {}\r\n", one_line(&request.host)) };
    let start = format!("{} {} HTTP/1.1\r\n{host}", one_line(&request.method), one_line(&request.path));
    let body = &request.message.body;
    Outgoing { start, headers: &request.message.headers, body, length, coding, has_body: !body.is_empty(), is_cut: false }.bytes(seed)
}

/// `is_cut`: the connection ends before the body does.
pub(super) fn response(record: &Record, length: Length, coding: Option<Coding>, is_cut: bool, seed: &mut Seed) -> Vec<u8> {
    let response = &record.response;
    let start = format!("HTTP/1.1 {} {}\r\n", response.status, if response.status < 400 { "OK" } else { "Error" });
    let message = &response.message;
    Outgoing { start, headers: &message.headers, body: &message.body, length, coding, has_body: true, is_cut }.bytes(seed)
}

struct Outgoing<'a> {
    start: String,
    headers: &'a [(String, String)],
    body: &'a [u8],
    length: Length,
    coding: Option<Coding>,
    has_body: bool,
    is_cut: bool,
}

impl Outgoing<'_> {
    fn bytes(self, seed: &mut Seed) -> Vec<u8> {
        let Self { start: mut head, headers, body, length, coding, has_body, is_cut } = self;
        let coded = coding.and_then(|coding| coding.apply(body).map(|coded| (coding.name, coded)));
        for (name, value) in headers {
            if !FRAMING_FIELDS.iter().any(|field| name.eq_ignore_ascii_case(field)) {
                head.push_str(&one_line(name));
                head.push_str(": ");
                head.push_str(&one_line(value));
                head.push_str("\r\n");
            }
        }
        if let Some((name, _)) = &coded {
            head.push_str(&["Content-Encoding: ", name, "\r\n"].concat());
        }
        let body = coded.as_ref().map_or(body, |(_, coded)| coded);
        match length {
            Length::Counted if has_body => {
                let told = body.len().saturating_add(usize::from(is_cut));
                head.push_str(&["Content-Length: ", &told.to_string(), "\r\n"].concat());
            }
            Length::Chunked if has_body => head.push_str("Transfer-Encoding: chunked\r\n"),
            Length::Counted | Length::Chunked => {}
        }
        head.push_str("\r\n");
        let mut out = head.into_bytes();
        match length {
            Length::Counted => out.extend_from_slice(body),
            Length::Chunked if has_body => {
                for chunk in pieces(body, seed) {
                    out.extend_from_slice(format!("{:x}\r\n", chunk.len()).as_bytes());
                    out.extend_from_slice(chunk);
                    out.extend_from_slice(b"\r\n");
                }
                if !is_cut {
                    out.extend_from_slice(b"0\r\n\r\n");
                }
            }
            Length::Chunked => {}
        }
        out
    }
}

/// Without line breaks: a record's texts must not become further header lines.
pub(super) fn one_line(text: &str) -> String {
    text.replace(['\r', '\n'], " ")
}
