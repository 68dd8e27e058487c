//! Request and response heads (RFC 9112 sections 2 to 5, RFC 9110 section 7.2), credentials taken out.

use a11i_common::identity::BootTime;
use httparse::{EMPTY_HEADER, Header, ParserConfig, Request, Response, Status};

use crate::{
    call::Role,
    http::{
        HeaderValue, Headers, HttpVersion, MalformedReason, RequestHead, ResponseHead,
        authority::split_authority,
        content_coding::push_coding,
        credential::{Fingerprinter, is_secret_field, strip_query},
    },
};

/// Largest head. Servers allow 8 to 64 KiB; gateways that pass tokens and cookies on reach the upper end.
pub(crate) const HEAD_BYTES: usize = 64 * 1024;

/// Most field lines of a head: twice what the most talkative CDN sends.
const FIELD_LINES: usize = 128;

/// How a message's body ends.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Framing {
    None,
    Length(u64),
    Chunked,
    UntilClose,
}

/// What a request's method means for its response.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum MethodKind {
    Head,
    Connect,
    Other,
}

#[derive(Debug)]
pub(super) struct ParsedRequest {
    pub(super) head: RequestHead,
    pub(super) method: MethodKind,
    pub(super) framing: Result<Framing, MalformedReason>,
    /// Content and transfer codings in order of application, as one field value.
    pub(super) codings: String,
}

#[derive(Debug)]
pub(super) struct ParsedResponse {
    pub(super) head: ResponseHead,
    pub(super) framing: Result<Framing, MalformedReason>,
    pub(super) codings: String,
}

/// Collects a head that comes in pieces and knows where it ends.
#[derive(Debug, Default)]
pub(super) struct HeadBuffer {
    bytes: Vec<u8>,
    line: LineState,
    /// A field value goes on in the next line (RFC 9112 section 5.2).
    folded: bool,
}

#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
enum LineState {
    #[default]
    Inside,
    AfterLf,
    AfterLfCr,
}

impl HeadBuffer {
    pub(super) const fn is_empty(&self) -> bool {
        self.bytes.is_empty()
    }

    pub(super) fn bytes(&self) -> &[u8] {
        &self.bytes
    }

    /// How many bytes of `input` belong to the head, if it ends there.
    pub(super) fn find_end(&mut self, input: &[u8]) -> Option<usize> {
        let mut at = 0_usize;
        loop {
            if self.line == LineState::Inside {
                // To the next line end at memory speed.
                at = at.saturating_add(memchr::memchr(b'\n', input.get(at..)?)?).saturating_add(1);
                self.line = LineState::AfterLf;
            }
            let &byte = input.get(at)?;
            self.line = match (self.line, byte) {
                (_, b'\n') => {
                    self.line = LineState::Inside;
                    return Some(at.saturating_add(1));
                }
                (LineState::AfterLf, b'\r') => LineState::AfterLfCr,
                (LineState::AfterLf, b' ' | b'\t') => {
                    self.folded = true;
                    LineState::Inside
                }
                (LineState::Inside | LineState::AfterLf | LineState::AfterLfCr, _) => LineState::Inside,
            };
            at = at.saturating_add(1);
        }
    }

    /// False when the head exceeds [`HEAD_BYTES`].
    pub(super) fn extend(&mut self, part: &[u8]) -> bool {
        if self.bytes.len().saturating_add(part.len()) > HEAD_BYTES {
            return false;
        }
        self.bytes.extend_from_slice(part);
        true
    }

    /// The head, from `last` alone where it came in one piece, else gathered. Folded lines are joined.
    pub(super) fn complete<'a>(&'a mut self, last: &'a [u8]) -> Option<&'a [u8]> {
        if self.bytes.is_empty() && !self.folded {
            return (last.len() <= HEAD_BYTES).then_some(last);
        }
        if !self.extend(last) {
            return None;
        }
        if self.folded {
            unfold(&mut self.bytes);
        }
        Some(&self.bytes)
    }

    /// What a gap left of a head: its complete lines and an end. `None` when not even the first line came whole.
    pub(super) fn complete_damaged(&mut self) -> Option<&[u8]> {
        let end = memchr::memrchr(b'\n', &self.bytes)?.saturating_add(1);
        self.bytes.truncate(end);
        if self.folded {
            unfold(&mut self.bytes);
        }
        self.bytes.extend_from_slice(b"\r\n");
        Some(&self.bytes)
    }

    pub(super) fn clear(&mut self) {
        // Heads are rare next to bodies: the memory is given back.
        *self = Self::default();
    }
}

fn unfold(head: &mut [u8]) {
    let mut end_of_line = None;
    for at in 0..head.len() {
        match (head.get(at).copied(), end_of_line) {
            (Some(b' ' | b'\t'), Some(lf)) => {
                if let Some(line_end) = head.get_mut(usize::saturating_sub(lf, 1)..=lf) {
                    for byte in line_end.iter_mut().filter(|b| matches!(b, b'\r' | b'\n')) {
                        *byte = b' ';
                    }
                }
                end_of_line = None;
            }
            (Some(b'\n'), _) => end_of_line = Some(at),
            _ => end_of_line = None,
        }
    }
}

pub(super) fn parse_request(
    bytes: &[u8],
    role: Role,
    first_byte: BootTime,
    fingerprinter: &Fingerprinter,
) -> Result<ParsedRequest, MalformedReason> {
    let mut lines = [EMPTY_HEADER; FIELD_LINES];
    let mut request = Request::new(&mut lines);
    let mut config = ParserConfig::default();
    config.allow_multiple_spaces_in_request_line_delimiters(true);
    complete(config.parse_request(&mut request, bytes))?;
    let (Some(method), Some(target), Some(version)) = (request.method, request.path, request.version) else {
        return Err(MalformedReason::Head);
    };
    let fields = Fields::read(request.headers, fingerprinter);
    let target = Target::parse(method, target);
    let authority = target.authority.map(str::to_owned).or(fields.host);
    let (host, port) = authority.as_deref().map_or((None, None), split_authority);
    let framing = fields.framing.map(|framing| framing.unwrap_or(Framing::None));
    // A request cannot be ended by closing: a transfer coding without chunked is none that a server takes.
    let framing = framing.map(|framing| if framing == Framing::UntilClose { Framing::None } else { framing });
    Ok(ParsedRequest {
        method: match method {
            "HEAD" => MethodKind::Head,
            "CONNECT" => MethodKind::Connect,
            _ => MethodKind::Other,
        },
        head: RequestHead {
            role,
            version: http_version(version),
            method: method.to_owned(),
            path: target.path.to_owned(),
            query: target.query.map(strip_query),
            host,
            port,
            headers: fields.headers,
            first_byte,
        },
        framing,
        codings: fields.codings,
    })
}

/// `method` is that of the request it answers.
pub(super) fn parse_response(
    bytes: &[u8],
    method: MethodKind,
    first_byte: BootTime,
    fingerprinter: &Fingerprinter,
) -> Result<ParsedResponse, MalformedReason> {
    let mut lines = [EMPTY_HEADER; FIELD_LINES];
    let mut response = Response::new(&mut lines);
    let mut config = ParserConfig::default();
    config.allow_multiple_spaces_in_response_status_delimiters(true);
    config.allow_spaces_after_header_name_in_responses(true);
    complete(config.parse_response(&mut response, bytes))?;
    let (Some(status), Some(version)) = (response.code, response.version) else { return Err(MalformedReason::Head) };
    let fields = Fields::read(response.headers, fingerprinter);
    // RFC 9112 section 6.3.
    let bodiless = matches!(status, 100..200 | 204 | 304)
        || method == MethodKind::Head
        || (method == MethodKind::Connect && (200..300).contains(&status));
    let framing = if bodiless { Ok(Framing::None) } else { fields.framing.map(|framing| framing.unwrap_or(Framing::UntilClose)) };
    Ok(ParsedResponse {
        head: ResponseHead { version: http_version(version), status, headers: fields.headers, first_byte },
        framing,
        codings: fields.codings,
    })
}

fn complete(result: httparse::Result<usize>) -> Result<(), MalformedReason> {
    match result {
        Ok(Status::Complete(_)) => Ok(()),
        Err(httparse::Error::TooManyHeaders) => Err(MalformedReason::HeadTooLarge),
        Ok(Status::Partial) | Err(_) => Err(MalformedReason::Head),
    }
}

const fn http_version(minor: u8) -> HttpVersion {
    if minor == 0 { HttpVersion::Http10 } else { HttpVersion::Http11 }
}

/// Field lines read once: what frames the body, and what may leave this stage.
struct Fields {
    headers: Headers,
    host: Option<String>,
    /// `Ok(None)`: no field says.
    framing: Result<Option<Framing>, MalformedReason>,
    codings: String,
}

impl Fields {
    fn read(lines: &[Header<'_>], fingerprinter: &Fingerprinter) -> Self {
        let mut headers = Headers::default();
        let (mut host, mut length, mut chunked, mut transfer_codings, mut codings) = (None, Ok(None), false, String::new(), String::new());
        let mut transfer_encoding = false;
        for line in lines {
            let name = line.name.to_ascii_lowercase();
            let value = line.value.trim_ascii();
            if is_secret_field(&name, value) {
                headers.push(name, HeaderValue::Fingerprint(fingerprinter.fingerprint(value)));
                continue;
            }
            let text = String::from_utf8_lossy(value).into_owned();
            match name.as_str() {
                "host" if host.is_none() => host = Some(text.clone()),
                "content-length" => length = length.and_then(|before| content_length(before, &text)),
                "content-encoding" => push_coding(&mut codings, &text),
                "transfer-encoding" => {
                    transfer_encoding = true;
                    for coding in text.split(',').map(str::trim) {
                        chunked = coding.eq_ignore_ascii_case("chunked");
                        if !chunked && !coding.is_empty() {
                            push_coding(&mut transfer_codings, coding);
                        }
                    }
                }
                _ => {}
            }
            headers.push(name, HeaderValue::Text(text));
        }
        let framing = match (transfer_encoding, chunked) {
            // Both fields present: transfer-encoding overrides (RFC 9112 section 6.3).
            (true, true) => Ok(Some(Framing::Chunked)),
            (true, false) => Ok(Some(Framing::UntilClose)),
            (false, _) => length.map(|length| length.map(Framing::Length)),
        };
        if !transfer_codings.is_empty() {
            push_coding(&mut codings, &transfer_codings);
        }
        Self { headers, host, framing, codings }
    }
}

/// The same number several times is one number (RFC 9110 section 8.6).
fn content_length(before: Option<u64>, text: &str) -> Result<Option<u64>, MalformedReason> {
    let mut length = before;
    for part in text.split(',').map(str::trim) {
        if part.is_empty() || !part.bytes().all(|b| b.is_ascii_digit()) {
            return Err(MalformedReason::ContentLength);
        }
        let value = part.parse().map_err(|_| MalformedReason::ContentLength)?;
        if length.is_some_and(|length| length != value) {
            return Err(MalformedReason::ContentLength);
        }
        length = Some(value);
    }
    Ok(length)
}

/// A request target taken apart (RFC 9112 section 3.2).
struct Target<'a> {
    authority: Option<&'a str>,
    path: &'a str,
    query: Option<&'a str>,
}

impl<'a> Target<'a> {
    fn parse(method: &str, target: &'a str) -> Self {
        if method == "CONNECT" {
            return Self { authority: Some(target), path: "", query: None };
        }
        let (authority, rest) = match target.split_once("://") {
            Some((scheme, rest)) if !scheme.is_empty() && scheme.bytes().all(|b| b.is_ascii_alphanumeric()) => {
                let end = rest.find(['/', '?', '#']).unwrap_or(rest.len());
                let (authority, path) = rest.split_at_checked(end).unwrap_or((rest, ""));
                (Some(authority), path)
            }
            Some(_) | None => (None, target),
        };
        let rest = rest.split_once('#').map_or(rest, |(before, _)| before);
        let (path, query) = rest.split_once('?').map_or((rest, None), |(path, query)| (path, Some(query)));
        let path = if path.is_empty() && authority.is_some() { "/" } else { path };
        Self { authority, path, query }
    }
}

#[cfg(test)]
#[path = "head_tests.rs"]
mod tests;
