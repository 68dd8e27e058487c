//! Heads of HTTP/2 messages (RFC 9113 section 8.3) from their field lines, credentials taken out.

use a11i_common::identity::BootTime;

use super::hpack::Field;
use crate::{
    call::Role,
    http::{
        HeaderValue, Headers, HttpVersion, RequestHead, ResponseHead,
        authority::split_authority,
        content_coding::push_coding,
        credential::{Fingerprinter, is_secret_field, strip_query},
    },
};

/// Most field lines and bytes that are kept of a head, as for HTTP/1.
const FIELD_LINES: usize = 128;
const HEAD_BYTES: usize = 64 * 1024;

/// The field lines of one block.
#[derive(Debug, Default)]
pub(super) struct Lines {
    pub(super) method: Option<String>,
    pub(super) status: Option<u16>,
    path: Option<String>,
    authority: Option<String>,
    host: Option<String>,
    headers: Headers,
    pub(super) codings: String,
    kept: usize,
    count: usize,
    /// A line, or its value, refers to what was missed.
    pub(super) has_unseen: bool,
}

impl Lines {
    pub(super) fn take(&mut self, field: Field<'_>, fingerprinter: &Fingerprinter) {
        let (Some(name), Some(value)) = (field.name, field.value) else {
            self.has_unseen = true;
            return;
        };
        self.kept = self.kept.saturating_add(name.len()).saturating_add(value.len());
        self.count = self.count.saturating_add(1);
        if self.kept > HEAD_BYTES || self.count > FIELD_LINES {
            self.has_unseen = true;
            return;
        }
        // Upper case is malformed (section 8.2.1); a credential hidden behind it is none the less.
        let name = String::from_utf8_lossy(name).to_ascii_lowercase();
        let value = value.trim_ascii();
        if is_secret_field(&name, value) {
            self.headers.push(name, HeaderValue::Fingerprint(fingerprinter.fingerprint(value)));
            return;
        }
        let text = String::from_utf8_lossy(value).into_owned();
        match name.as_str() {
            ":method" => self.method = Some(text),
            ":path" => self.path = Some(text),
            ":authority" => self.authority = Some(text),
            ":status" => self.status = text.parse().ok().filter(|status| (100..1000).contains(status)),
            // Of an extended CONNECT (RFC 8441 section 4), kept among the fields: who asks for a WebSocket is known by it.
            ":protocol" => self.headers.push(name, HeaderValue::Text(text)),
            name if name.starts_with(':') => {}
            _ => {
                match name.as_str() {
                    "host" if self.host.is_none() => self.host = Some(text.clone()),
                    "content-encoding" => push_coding(&mut self.codings, &text),
                    _ => {}
                }
                self.headers.push(name, HeaderValue::Text(text));
            }
        }
    }

    /// Bytes of memory behind it.
    pub(super) fn held(&self) -> usize {
        let texts = [&self.method, &self.path, &self.authority, &self.host].into_iter().flatten().chain([&self.codings]);
        let fields = self.headers.iter().map(|(name, HeaderValue::Text(value) | HeaderValue::Fingerprint(value))| {
            size_of::<(String, HeaderValue)>().saturating_add(name.len()).saturating_add(value.len())
        });
        texts.map(String::len).chain(fields).fold(size_of::<Self>(), usize::saturating_add)
    }

    /// An interim response (1xx): another follows.
    pub(super) fn is_interim(&self) -> bool {
        self.status.is_some_and(|status| status < 200)
    }

    pub(super) fn into_request(mut self, role: Role, first_byte: BootTime) -> RequestHead {
        let (host, port) = self.authority.or(self.host).as_deref().map_or((None, None), split_authority);
        let target = self.path.unwrap_or_default();
        let target = target.split_once('#').map_or(target.as_str(), |(before, _)| before);
        let (path, query) = target.split_once('?').map_or((target, None), |(path, query)| (path, Some(query)));
        if self.has_unseen {
            self.headers.mark_unseen();
        }
        RequestHead {
            role,
            version: HttpVersion::Http2,
            method: self.method.unwrap_or_default(),
            path: path.to_owned(),
            query: query.map(strip_query),
            host,
            port,
            headers: self.headers,
            first_byte,
        }
    }

    /// `None`: without a status it is none.
    pub(super) fn into_response(self, first_byte: BootTime) -> Option<ResponseHead> {
        Some(ResponseHead { version: HttpVersion::Http2, status: self.status?, headers: self.into_trailers(), first_byte })
    }

    /// Fields alone.
    pub(super) fn into_trailers(mut self) -> Headers {
        if self.has_unseen {
            self.headers.mark_unseen();
        }
        self.headers
    }
}
