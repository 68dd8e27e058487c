//! Server-sent events (WHATWG HTML, section 9.2.6), from bytes cut anywhere.
//!
//! An event that lies whole in one piece of input is borrowed from it; one that does not is gathered in
//! buffers that are used again.

use memchr::memchr2;

/// Longest line, and longest data of one event. Images in base64 come as one line of a few MiB.
pub const EVENT_BYTES: usize = 16 * 1024 * 1024;

/// Buffers larger than this are given back after the event that needed them, so that idle streams stay small.
const KEPT_BUFFER_BYTES: usize = 8 * 1024;

const BOM: &[u8] = b"\xef\xbb\xbf";

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct SseEvent<'a> {
    /// The `event` field; `None` = absent, empty, or not UTF-8.
    pub event: Option<&'a str>,
    /// The `id` field of this very event.
    pub id: Option<&'a str>,
    /// The `data` lines, joined by LF. Not checked to be UTF-8: JSON parsers do that.
    pub data: &'a [u8],
}

#[derive(Debug, Default)]
pub struct SseParser {
    /// The part of a line that ended with the input.
    line: Vec<u8>,
    /// Fields of the event under way that are no longer in the input.
    data: Option<Vec<u8>>,
    event: Option<Vec<u8>>,
    id: Option<Vec<u8>>,
    /// An emptied data buffer, to be used again.
    spare: Vec<u8>,
    /// The input ended with CR: an LF that follows belongs to it.
    after_cr: bool,
    /// A byte order mark may only stand before the first line.
    past_first_line: bool,
    skipping: Skipping,
    dropped: u64,
}

#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
enum Skipping {
    #[default]
    No,
    /// The first line after a gap: mostly the rest of a line, unless it begins like an event.
    FirstLine,
    ToBlankLine,
}

/// Fields of the event under way that still lie in the input.
#[derive(Default)]
struct Borrowed<'a> {
    data: Option<&'a [u8]>,
    event: Option<&'a [u8]>,
    id: Option<&'a [u8]>,
}

impl SseParser {
    pub fn new() -> Self {
        Self::default()
    }

    /// Events that were dropped because they exceeded [`EVENT_BYTES`].
    pub const fn dropped_events(&self) -> u64 {
        self.dropped
    }

    pub fn push(&mut self, input: &[u8], mut sink: impl FnMut(SseEvent<'_>)) {
        let mut rest = input;
        let mut open = Borrowed::default();
        while let Some(&first) = rest.first() {
            if std::mem::take(&mut self.after_cr) && first == b'\n' {
                rest = rest.get(1..).unwrap_or_default();
                continue;
            }
            let Some((line, end, tail)) = split_line(rest) else {
                self.keep_partial(rest);
                break;
            };
            self.after_cr = end == b'\r';
            rest = tail;
            if self.line.is_empty() {
                self.take_line(line, &mut open, &mut sink);
            } else {
                self.keep_partial(line);
                self.take_kept_line(&mut open, &mut sink);
            }
        }
        self.keep(&mut open);
    }

    /// The body is over: an event that lacks only its blank line is given, as some servers forget it.
    pub fn finish(&mut self, mut sink: impl FnMut(SseEvent<'_>)) {
        let mut open = Borrowed::default();
        if !self.line.is_empty() {
            self.take_kept_line(&mut open, &mut sink);
        }
        self.take_line(b"", &mut open, &mut sink);
        self.after_cr = false;
    }

    /// Bytes are missing here: what is under way is dropped, and so is the rest up to the next event.
    pub fn reset_after_gap(&mut self) {
        self.clear();
        self.line.clear();
        self.after_cr = false;
        self.past_first_line = true;
        self.skipping = Skipping::FirstLine;
    }

    fn take_kept_line(&mut self, open: &mut Borrowed<'_>, sink: &mut impl FnMut(SseEvent<'_>)) {
        let mut line = std::mem::take(&mut self.line);
        {
            // The line is ours, not the input's: its fields cannot be borrowed for long.
            self.keep(open);
            let mut fields = Borrowed::default();
            self.take_line(&line, &mut fields, sink);
            self.keep(&mut fields);
        }
        line.clear();
        line.shrink_to(KEPT_BUFFER_BYTES);
        self.line = line;
    }

    fn take_line<'a>(&mut self, line: &'a [u8], open: &mut Borrowed<'a>, sink: &mut impl FnMut(SseEvent<'_>)) {
        let line = if std::mem::replace(&mut self.past_first_line, true) { line } else { line.strip_prefix(BOM).unwrap_or(line) };
        match self.skipping {
            Skipping::No => {}
            Skipping::FirstLine if line.starts_with(b"data:") || line.starts_with(b"event:") => self.skipping = Skipping::No,
            Skipping::FirstLine => {
                self.skipping = Skipping::ToBlankLine;
                return;
            }
            Skipping::ToBlankLine => {
                if line.is_empty() {
                    self.skipping = Skipping::No;
                }
                return;
            }
        }
        if line.is_empty() {
            self.dispatch(open, sink);
            return;
        }
        let (name, value) = match memchr::memchr(b':', line) {
            Some(at) => {
                let (name, value) = line.split_at_checked(at).unwrap_or((line, b""));
                let value = value.strip_prefix(b":").unwrap_or(value);
                (name, value.strip_prefix(b" ").unwrap_or(value))
            }
            None => (line, &b""[..]),
        };
        match name {
            b"data" => self.add_data(value, open),
            b"event" => {
                self.event = None;
                open.event = Some(value);
            }
            b"id" if !value.contains(&0) => {
                self.id = None;
                open.id = Some(value);
            }
            // `retry` is for a client that reconnects; comments have an empty name; the rest is unknown.
            _ => {}
        }
    }

    fn add_data<'a>(&mut self, value: &'a [u8], open: &mut Borrowed<'a>) {
        if open.data.is_none() && self.data.is_none() {
            open.data = Some(value);
            return;
        }
        self.keep_data(open);
        if let Some(data) = &mut self.data {
            if data.len().saturating_add(value.len()) >= EVENT_BYTES {
                self.drop_event();
            } else {
                data.push(b'\n');
                data.extend_from_slice(value);
            }
        }
    }

    fn dispatch(&mut self, open: &mut Borrowed<'_>, sink: &mut impl FnMut(SseEvent<'_>)) {
        let Borrowed { data, event, id } = std::mem::take(open);
        if let Some(data) = data.or(self.data.as_deref()) {
            let event = event.or(self.event.as_deref()).and_then(|bytes| std::str::from_utf8(bytes).ok()).filter(|e| !e.is_empty());
            let id = id.or(self.id.as_deref()).and_then(|bytes| std::str::from_utf8(bytes).ok());
            sink(SseEvent { event, id, data });
        }
        self.clear();
    }

    /// Moves what still lies in the input into our own buffers.
    fn keep(&mut self, open: &mut Borrowed<'_>) {
        self.keep_data(open);
        if let Some(event) = open.event.take() {
            self.event = Some(event.to_vec());
        }
        if let Some(id) = open.id.take() {
            self.id = Some(id.to_vec());
        }
    }

    fn keep_data(&mut self, open: &mut Borrowed<'_>) {
        if let Some(value) = open.data.take() {
            let mut data = std::mem::take(&mut self.spare);
            data.clear();
            data.extend_from_slice(value);
            self.data = Some(data);
        }
    }

    fn keep_partial(&mut self, part: &[u8]) {
        if self.line.len().saturating_add(part.len()) > EVENT_BYTES {
            self.line = Vec::new();
            self.drop_event();
        } else if self.skipping != Skipping::ToBlankLine || self.line.is_empty() {
            // While skipping, one byte of a line is enough to know that it is not blank.
            let part = if self.skipping == Skipping::ToBlankLine { part.get(..1).unwrap_or_default() } else { part };
            self.line.extend_from_slice(part);
        }
    }

    fn drop_event(&mut self) {
        self.dropped = self.dropped.saturating_add(1);
        self.clear();
        self.line.push(b':');
        self.skipping = Skipping::ToBlankLine;
    }

    fn clear(&mut self) {
        if let Some(mut data) = self.data.take() {
            data.clear();
            data.shrink_to(KEPT_BUFFER_BYTES);
            self.spare = data;
        }
        self.event = None;
        self.id = None;
    }
}

/// The first line, the byte that ends it, and what follows.
fn split_line(bytes: &[u8]) -> Option<(&[u8], u8, &[u8])> {
    let (line, rest) = bytes.split_at_checked(memchr2(b'\n', b'\r', bytes)?)?;
    let (&end, tail) = rest.split_first()?;
    Some((line, end, tail))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(pieces: &[&[u8]]) -> Vec<(Option<String>, String)> {
        let mut parser = SseParser::new();
        let mut events = Vec::new();
        for piece in pieces {
            parser.push(piece, |e| events.push((e.event.map(str::to_owned), String::from_utf8_lossy(e.data).into_owned())));
        }
        events
    }

    fn at_every_cut(text: &[u8], expected: &[(Option<&str>, &str)]) {
        let expected: Vec<_> = expected.iter().map(|(e, d)| (e.map(str::to_owned), (*d).to_owned())).collect();
        assert_eq!(parse(&[text]), expected);
        for cut in 0..=text.len() {
            let (a, b) = text.split_at(cut);
            assert_eq!(parse(&[a, b]), expected, "cut at {cut}");
        }
        let single: Vec<&[u8]> = text.chunks(1).collect();
        assert_eq!(parse(&single), expected);
    }

    #[test]
    fn events_are_the_same_however_the_input_is_cut() {
        at_every_cut(
            "\u{feff}: hi\nevent: message_start\ndata: {\"a\":\"ü€😀\"}\n\ndata: one\ndata:two\ndata\n\n\nevent: x\n\ndata:  two spaces\n\n".as_bytes(),
            &[(Some("message_start"), "{\"a\":\"ü€😀\"}"), (None, "one\ntwo\n"), (None, " two spaces")],
        );
    }

    #[test]
    fn all_three_line_ends_and_their_mixtures_work() {
        at_every_cut(
            b"data: a\r\n\r\ndata: b\r\rdata: c\n\ndata: d\r\n\ndata: e\r\n\r\n",
            &[(None, "a"), (None, "b"), (None, "c"), (None, "d"), (None, "e")],
        );
    }

    #[test]
    fn the_last_event_name_of_an_event_counts_and_is_forgotten_after_it() {
        at_every_cut(b"event: a\nevent: b\ndata: 1\n\ndata: 2\n\nevent: \xff\ndata: 3\n\n", &[(Some("b"), "1"), (None, "2"), (None, "3")]);
    }

    #[test]
    fn a_whole_event_is_borrowed_from_the_input() {
        let input = b"event: a\ndata: {}\n\n".to_vec();
        let range = input.as_ptr_range();
        let mut parser = SseParser::new();
        parser.push(&input, |e| assert!(range.contains(&e.data.as_ptr())));
    }

    #[test]
    fn an_unfinished_event_is_given_at_the_end_of_the_body_only() {
        let mut parser = SseParser::new();
        parser.push(b"data: [DO", |_| panic!("early"));
        parser.push(b"NE]", |_| panic!("early"));
        let mut data = Vec::new();
        parser.finish(|e| data.push(e.data.to_vec()));
        assert_eq!(data, [b"[DONE]"]);
        parser.finish(|_| panic!("twice"));
    }

    #[test]
    fn after_a_gap_parsing_resumes_at_the_next_event() {
        for (rest, expected) in [
            ("st of it\ndata: more\n\ndata: b\n\n", vec!["b"]),
            ("data: whole\n\ndata: b\n\n", vec!["whole", "b"]),
            ("\n\ndata: b\n\n", vec!["b"]),
        ] {
            for cut in 0..=rest.len() {
                let mut parser = SseParser::new();
                let mut seen = Vec::new();
                let mut take = |e: SseEvent<'_>| seen.push(String::from_utf8_lossy(e.data).into_owned());
                parser.push(b"data: lost and the re", &mut take);
                parser.reset_after_gap();
                parser.push(rest.get(..cut).unwrap().as_bytes(), &mut take);
                parser.push(rest.get(cut..).unwrap().as_bytes(), &mut take);
                assert_eq!(seen, expected, "{rest:?} cut at {cut}");
            }
        }
    }

    #[test]
    fn an_endless_line_and_an_endless_event_are_dropped_and_counted() {
        let mut parser = SseParser::new();
        let block = vec![b'x'; 1024 * 1024];
        parser.push(b"data: ", |_| panic!("event"));
        for _ in 0..40 {
            parser.push(&block, |_| panic!("event"));
            assert!(parser.line.capacity() <= 2 * EVENT_BYTES);
        }
        let mut seen = 0;
        parser.push(b"\n\ndata: ok\n\n", |e| {
            assert_eq!(e.data, b"ok");
            seen += 1;
        });
        assert_eq!((parser.dropped_events(), seen), (1, 1));
        for _ in 0..40 {
            parser.push(b"data: ", |_| panic!("event"));
            parser.push(&block, |_| panic!("event"));
            parser.push(b"\n", |_| panic!("event"));
        }
        parser.push(b"\ndata: ok\n\n", |e| assert_eq!(e.data, b"ok"));
        assert_eq!(parser.dropped_events(), 2);
    }
}
