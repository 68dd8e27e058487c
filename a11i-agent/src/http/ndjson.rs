//! Newline-delimited JSON: one value a line (<https://github.com/ndjson/ndjson-spec>), from bytes cut anywhere.

use super::sse::EVENT_BYTES;

/// Buffers larger than this are given back after the line that needed them, so that idle streams stay small.
const KEPT_BUFFER_BYTES: usize = 8 * 1024;

#[derive(Debug, Default)]
pub struct NdjsonParser {
    /// The part of a line that ended with the input.
    partial: Vec<u8>,
    /// What comes up to the next line's end belongs to a line whose beginning is missing or was given up.
    skipping: bool,
    dropped: u64,
}

impl NdjsonParser {
    /// Lines that were dropped because they exceeded [`EVENT_BYTES`].
    pub const fn dropped_lines(&self) -> u64 {
        self.dropped
    }

    pub fn push(&mut self, input: &[u8], mut sink: impl FnMut(&[u8])) {
        let mut rest = input;
        while let Some((line, tail)) = memchr::memchr(b'\n', rest).and_then(|at| rest.split_at_checked(at)) {
            rest = tail.get(1..).unwrap_or_default();
            if std::mem::take(&mut self.skipping) {
                continue;
            }
            if self.partial.is_empty() {
                give(line, &mut sink);
            } else {
                self.keep(line);
                if !std::mem::take(&mut self.skipping) {
                    give(&self.partial, &mut sink);
                }
                self.partial.clear();
                self.partial.shrink_to(KEPT_BUFFER_BYTES);
            }
        }
        if !self.skipping {
            self.keep(rest);
        }
    }

    /// The body is over: the last line may lack its end.
    pub fn finish(&mut self, mut sink: impl FnMut(&[u8])) {
        give(&std::mem::take(&mut self.partial), &mut sink);
    }

    /// Bytes are missing here: nobody knows whether the line under way went on behind them.
    pub fn reset_after_gap(&mut self) {
        self.partial.clear();
        self.skipping = true;
    }

    fn keep(&mut self, part: &[u8]) {
        if self.partial.len().saturating_add(part.len()) > EVENT_BYTES {
            self.partial = Vec::new();
            self.skipping = true;
            self.dropped = self.dropped.saturating_add(1);
        } else {
            self.partial.extend_from_slice(part);
        }
    }
}

fn give(line: &[u8], sink: &mut impl FnMut(&[u8])) {
    let line = line.trim_ascii();
    if !line.is_empty() {
        sink(line);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn lines(pieces: &[&[u8]]) -> Vec<String> {
        let (mut parser, mut lines) = (NdjsonParser::default(), Vec::new());
        let mut sink = |line: &[u8]| lines.push(String::from_utf8_lossy(line).into_owned());
        for piece in pieces {
            if piece.is_empty() { parser.reset_after_gap() } else { parser.push(piece, &mut sink) }
        }
        parser.finish(&mut sink);
        lines
    }

    #[test]
    fn lines_come_out_the_same_wherever_the_bytes_are_cut() {
        let body = b"{\"a\":1}\r\n\n{\"b\":\"\xc3\xa9\"}\n{\"c\":3}";
        let want = ["{\"a\":1}", "{\"b\":\"\u{e9}\"}", "{\"c\":3}"];
        for at in 0..=body.len() {
            let (head, tail) = body.split_at(at);
            let pieces: Vec<&[u8]> = [head, tail].into_iter().filter(|piece| !piece.is_empty()).collect();
            assert_eq!(lines(&pieces), want, "cut at {at}");
        }
        assert_eq!(lines(&body.chunks(1).collect::<Vec<_>>()), want);
    }

    #[test]
    fn after_a_gap_the_next_whole_line_is_the_first() {
        assert_eq!(lines(&[b"{\"a\":1}\n{\"b\":", b"", b"2}\n{\"c\":3}\n"]), ["{\"a\":1}", "{\"c\":3}"]);
        assert_eq!(lines(&[b"{\"a\":1}\n", b"", b"{\"b\":2}\n{\"c\":3}\n"]), ["{\"a\":1}", "{\"c\":3}"], "its beginning may be missing");
    }

    #[test]
    fn a_line_without_end_is_dropped_and_counted() {
        let (mut parser, mut seen) = (NdjsonParser::default(), 0);
        for _ in 0..=EVENT_BYTES / (1024 * 1024) {
            parser.push(&vec![b'x'; 1024 * 1024], |_| seen += 1);
        }
        parser.push(b"\n{}\n", |_| seen += 1);
        assert_eq!((parser.dropped_lines(), seen), (1, 1));
    }
}
