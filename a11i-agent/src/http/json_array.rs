//! A JSON array that is sent element by element (Gemini without `alt=sse`), from bytes cut anywhere.
//!
//! Elements are told apart by brackets and strings alone; whether they are JSON their reader finds out.

use super::sse::EVENT_BYTES;

/// Buffers larger than this are given back after the element that needed them, so that idle streams stay small.
const KEPT_BUFFER_BYTES: usize = 8 * 1024;

#[derive(Debug, Default)]
pub struct JsonArrayParser {
    /// The element under way.
    element: Vec<u8>,
    /// Open brackets and braces of the element.
    depth: u64,
    in_string: bool,
    escaped: bool,
    /// The element under way exceeds [`EVENT_BYTES`]: it is followed and not kept.
    oversize: bool,
    resync: Option<Resync>,
    dropped: u64,
}

/// After a gap an element's beginning is looked for where a line has nothing but a comma, as Google's servers separate elements: within an
/// element such a line would be indented, and strings contain no line ends.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Resync {
    /// Somewhere in a line.
    InLine,
    AtLineStart,
    /// A comma began this line, and only blanks came since.
    AfterComma,
}

impl JsonArrayParser {
    /// Elements that were dropped because they exceeded [`EVENT_BYTES`].
    pub const fn dropped_elements(&self) -> u64 {
        self.dropped
    }

    pub fn push(&mut self, input: &[u8], mut sink: impl FnMut(&[u8])) {
        let mut begin = 0_usize;
        for (at, &byte) in input.iter().enumerate() {
            if let Some(state) = self.resync {
                self.resync = match (state, byte) {
                    (_, b'\n') if state != Resync::AfterComma => Some(Resync::AtLineStart),
                    (Resync::AtLineStart, b',') | (Resync::AfterComma, b'\r' | b'\n') => Some(Resync::AfterComma),
                    (Resync::AfterComma, b'{') => None,
                    _ => Some(Resync::InLine),
                };
                if self.resync.is_some() {
                    continue;
                }
            }
            if self.depth == 0 {
                // Between elements: the array's own brackets, commas, blanks.
                if byte == b'{' {
                    begin = at;
                    self.depth = 1;
                }
                continue;
            }
            match byte {
                _ if self.in_string => match byte {
                    _ if self.escaped => self.escaped = false,
                    b'\\' => self.escaped = true,
                    b'"' => self.in_string = false,
                    _ => {}
                },
                b'"' => self.in_string = true,
                b'{' | b'[' => self.depth = self.depth.saturating_add(1),
                b'}' | b']' => {
                    self.depth = self.depth.saturating_sub(1);
                    if self.depth == 0 {
                        self.end(input.get(begin..=at).unwrap_or_default(), &mut sink);
                    }
                }
                _ => {}
            }
        }
        if self.depth > 0 {
            self.keep(input.get(begin..).unwrap_or_default());
        }
    }

    /// Bytes are missing here: the element under way is dropped.
    pub fn reset_after_gap(&mut self) {
        *self = Self { dropped: self.dropped, resync: Some(Resync::InLine), ..Self::default() };
    }

    fn end(&mut self, last: &[u8], sink: &mut impl FnMut(&[u8])) {
        if self.element.is_empty() && !self.oversize {
            sink(last);
        } else {
            self.keep(last);
            if !self.oversize {
                sink(&self.element);
            }
        }
        self.element.clear();
        self.element.shrink_to(KEPT_BUFFER_BYTES);
        self.oversize = false;
    }

    fn keep(&mut self, part: &[u8]) {
        if self.oversize {
            return;
        }
        if self.element.len().saturating_add(part.len()) > EVENT_BYTES {
            self.element = Vec::new();
            self.oversize = true;
            self.dropped = self.dropped.saturating_add(1);
        } else {
            self.element.extend_from_slice(part);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn elements(pieces: &[&[u8]]) -> Vec<String> {
        let (mut parser, mut elements) = (JsonArrayParser::default(), Vec::new());
        for piece in pieces {
            if piece.is_empty() {
                parser.reset_after_gap();
            } else {
                parser.push(piece, |element| elements.push(String::from_utf8_lossy(element).into_owned()));
            }
        }
        elements
    }

    #[test]
    fn elements_come_out_the_same_wherever_the_bytes_are_cut() {
        let body = br#"[{"a":"}]\"{\\"},
  {"b":[{"c":[]}]} , {}]"#;
        let want = [r#"{"a":"}]\"{\\"}"#, r#"{"b":[{"c":[]}]}"#, "{}"];
        for at in 0..=body.len() {
            let (head, tail) = body.split_at(at);
            let pieces: Vec<&[u8]> = [head, tail].into_iter().filter(|piece| !piece.is_empty()).collect();
            assert_eq!(elements(&pieces), want, "cut at {at}");
        }
        assert_eq!(elements(&body.chunks(1).collect::<Vec<_>>()), want);
    }

    #[test]
    fn after_a_gap_the_next_element_begins_behind_a_comma_that_is_alone_on_its_line() {
        let lost = b"\"},\n  {\"no\": [1\n,2]}\n}\n,\r\n{\"yes\":1}\n,\n{\"yes\":2}\n]";
        assert_eq!(elements(&[b"[{\"a\":1}\n,\n{\"b\":\"", b"", lost]), ["{\"a\":1}", "{\"yes\":1}", "{\"yes\":2}"]);
    }

    #[test]
    fn an_element_without_end_is_dropped_and_counted() {
        let (mut parser, mut seen) = (JsonArrayParser::default(), 0);
        parser.push(b"[{\"a\":\"", |_| seen += 1);
        for _ in 0..=EVENT_BYTES / (1024 * 1024) {
            parser.push(&vec![b'x'; 1024 * 1024], |_| seen += 1);
        }
        parser.push(b"\"},{}]", |_| seen += 1);
        assert_eq!((parser.dropped_elements(), seen), (1, 1));
    }
}
