//! A message body as far as it is kept: all of it, or its beginning and end around what is missing.

use std::collections::VecDeque;

use super::partial_json::Fragments;
use crate::http::RequestHead;

/// Largest body kept whole: as much as the kernel half copies of one library call (8 MiB).
pub const BODY_CAP: usize = 8 * 1024 * 1024;

/// Kept of a body's end once bytes are missing: request parameters and usage are small and stand first or last.
pub const TAIL_CAP: usize = 64 * 1024;

/// Whether a request that nobody bills is worth following: everything of a request that is followed is copied, and an upload may be of any
/// length. A body whose length is not told must be JSON, which ends soon.
pub(super) fn is_worth_following(head: &RequestHead) -> bool {
    let is_json = || head.headers.text("content-type").is_some_and(|media_type| media_type.trim_start().starts_with("application/json"));
    match head.headers.text("content-length") {
        Some(length) => length.trim().parse().is_ok_and(|length: usize| length <= BODY_CAP),
        None => is_json(),
    }
}

/// Collects one body.
#[derive(Debug, Default)]
pub(super) struct BodyBuffer {
    head: Vec<u8>,
    /// The last bytes after a hole.
    tail: VecDeque<u8>,
    hole: bool,
    over_cap: bool,
}

impl BodyBuffer {
    pub(super) fn push(&mut self, bytes: &[u8]) {
        if self.hole {
            return self.push_tail(bytes);
        }
        let room = BODY_CAP.saturating_sub(self.head.len());
        match bytes.split_at_checked(room) {
            None => self.head.extend_from_slice(bytes),
            Some((fits, rest)) => {
                self.head.extend_from_slice(fits);
                if !rest.is_empty() {
                    self.hole = true;
                    self.over_cap = true;
                    self.push_tail(rest);
                }
            }
        }
    }

    fn push_tail(&mut self, bytes: &[u8]) {
        let kept = bytes.get(bytes.len().saturating_sub(TAIL_CAP)..).unwrap_or(bytes);
        let surplus = self.tail.len().saturating_add(kept.len()).saturating_sub(TAIL_CAP);
        self.tail.drain(..surplus.min(self.tail.len()));
        self.tail.extend(kept);
    }

    /// Bytes are missing here.
    pub(super) fn gap(&mut self) {
        self.hole = true;
        self.tail.clear();
    }

    /// All of the body, if nothing of it is missing.
    pub(super) fn whole(&self) -> Option<&[u8]> {
        (!self.hole).then_some(self.head.as_slice())
    }

    /// Seen, and longer than what is kept.
    pub(super) const fn is_over_cap(&self) -> bool {
        self.over_cap
    }

    /// The top-level JSON fields that are surely whole, as an object. `end_seen`: the last byte pushed is the body's last.
    pub(super) fn salvage(&mut self, end_seen: bool) -> Vec<u8> {
        let tail: &[u8] = if end_seen { self.tail.make_contiguous() } else { &[] };
        Fragments { head: &self.head, tail }.salvage()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_body_without_loss_is_whole() {
        let mut body = BodyBuffer::default();
        body.push(b"{\"a\":");
        body.push(b"1}");
        assert_eq!(body.whole(), Some(&b"{\"a\":1}"[..]));
    }

    #[test]
    fn a_body_longer_than_the_cap_keeps_its_beginning_and_its_end() {
        let mut body = BodyBuffer::default();
        body.push(b"{\"model\":\"m\",\"messages\":\"");
        for _ in 0..9 {
            body.push(&vec![b'x'; 1024 * 1024]);
        }
        body.push(b"\",\"stream\":true}");
        assert!(body.is_over_cap());
        assert_eq!(body.whole(), None);
        assert!(body.head.len() <= BODY_CAP && body.tail.len() <= TAIL_CAP);
        assert_eq!(body.salvage(true), br#"{"model":"m","stream":true}"#);
        assert_eq!(body.salvage(false), br#"{"model":"m"}"#);
    }

    #[test]
    fn of_two_holes_nothing_between_them_is_used() {
        let mut body = BodyBuffer::default();
        body.push(b"{\"a\":1,");
        body.gap();
        body.push(b"\"b\":2,");
        body.gap();
        body.push(b"1,\"c\":3}");
        assert_eq!(body.salvage(true), br#"{"a":1,"c":3}"#);
    }
}
