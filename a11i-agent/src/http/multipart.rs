//! `multipart/form-data` (RFC 7578), in pieces: small fields are kept, of files their names and lengths, of what is in them nothing.
//!
//! Takes the body as it arrives. Gives one JSON object: fields as strings (repeated ones, and those named `x[]`, as arrays), files as
//! `{"filename", "content_type", "bytes"}`. After missing bytes it goes on with the next part; what the hole may have touched is left out.

use serde_json::{Map, Value};

/// RFC 2046 section 5.1.1.
const LONGEST_BOUNDARY: usize = 70;
/// Kept of one field: a prompt for speech or images is 32,000 characters at most.
const FIELD_BYTES: usize = 128 * 1024;
/// Kept of all fields together.
const ALL_FIELDS_BYTES: usize = 512 * 1024;
/// The head of a part: two or three lines. A longer one is no form's.
const HEAD_BYTES: usize = 8 * 1024;
/// Parts that are looked at: the largest forms in use have some twenty (sixteen images).
const PARTS: usize = 256;
/// Names of fields, files and media types.
const NAME_BYTES: usize = 256;

/// Reads one form.
#[derive(Debug)]
pub struct MultipartParser {
    /// CRLF, `--` and the boundary.
    delimiter: Vec<u8>,
    /// Bytes that may be the beginning of a delimiter, or a head that is not whole.
    pending: Vec<u8>,
    state: State,
    /// In the order of the form.
    fields: Vec<Field>,
    room: usize,
    parts: usize,
    /// The form holds more than is kept of it.
    truncated: bool,
}

#[derive(Debug)]
enum State {
    /// Before the first delimiter, or looking for the next one after a hole.
    Between,
    /// Behind a delimiter: the end, or the line's end and then a part's head.
    Head,
    Content(Part),
    /// The last delimiter was seen, or nothing more is read.
    Done,
}

#[derive(Debug)]
struct Part {
    name: String,
    file: Option<File>,
    /// Of a field.
    text: Vec<u8>,
    /// Of either, as far as it came.
    bytes: u64,
    cut: bool,
}

#[derive(Debug)]
struct File {
    filename: String,
    content_type: Option<String>,
}

#[derive(Debug)]
struct Field {
    name: String,
    value: Value,
}

impl MultipartParser {
    /// By the request's `content-type`. `None`: it is no form, or names no boundary.
    pub fn of(content_type: &str) -> Option<Self> {
        let (media_type, parameters) = content_type.split_once(';')?;
        if !media_type.trim().eq_ignore_ascii_case("multipart/form-data") {
            return None;
        }
        let boundary = parameter(parameters, "boundary").filter(|boundary| !boundary.is_empty() && boundary.len() <= LONGEST_BOUNDARY)?;
        let delimiter = [b"\r\n--", boundary.as_bytes()].concat();
        Some(Self {
            delimiter,
            // The first delimiter may be the first line.
            pending: b"\r\n".to_vec(),
            state: State::Between,
            fields: Vec::new(),
            room: ALL_FIELDS_BYTES,
            parts: 0,
            truncated: false,
        })
    }

    /// The next bytes.
    pub fn push(&mut self, bytes: &[u8]) {
        if matches!(self.state, State::Done) {
            return;
        }
        if self.pending.is_empty() {
            let used = self.read(bytes);
            self.pending.extend_from_slice(bytes.get(used..).unwrap_or_default());
        } else {
            let mut joined = std::mem::take(&mut self.pending);
            joined.extend_from_slice(bytes);
            let used = self.read(&joined);
            // A copy, so that the room for the whole piece is given back.
            self.pending = joined.get(used..).unwrap_or_default().to_vec();
        }
        if matches!(self.state, State::Done) {
            self.pending = Vec::new();
        }
    }

    /// Bytes are missing here. The part under way is left out: its end may be in the hole, and another one's beginning.
    pub fn gap(&mut self) {
        self.pending.clear();
        if !matches!(self.state, State::Done) {
            self.state = State::Between;
        }
    }

    /// More was sent than is kept.
    pub const fn is_truncated(&self) -> bool {
        self.truncated
    }

    /// The whole form was seen: its last delimiter.
    pub const fn is_done(&self) -> bool {
        matches!(self.state, State::Done)
    }

    /// What is known of the form: parts that were seen to their end.
    pub fn finish(self) -> Vec<u8> {
        let mut object = Map::new();
        for Field { name, value } in self.fields {
            let (name, is_list) = name.strip_suffix("[]").map_or((name.as_str(), false), |stem| (stem, true));
            match object.get_mut(name) {
                Some(Value::Array(list)) => list.push(value),
                Some(first) => {
                    let before = first.take();
                    *first = Value::Array(vec![before, value]);
                }
                None => drop(object.insert(name.to_owned(), if is_list { Value::Array(vec![value]) } else { value })),
            }
        }
        // Strings and numbers always serialise.
        serde_json::to_vec(&Value::Object(object)).unwrap_or_default()
    }

    /// Reads as far as it can be told what bytes are. How many that were.
    fn read(&mut self, bytes: &[u8]) -> usize {
        let mut rest = bytes;
        loop {
            let read = match &self.state {
                State::Between => self.look_for_part(rest),
                State::Head => self.head(rest),
                State::Content(_) => self.content(rest),
                State::Done => Some(rest.len()),
            };
            let Some((_, after)) = read.and_then(|read| rest.split_at_checked(read)) else { break };
            rest = after;
            if rest.is_empty() {
                break;
            }
        }
        bytes.len().saturating_sub(rest.len())
    }

    /// To behind the next delimiter. Nothing before the first one matters (RFC 2046: the preamble).
    fn look_for_part(&mut self, bytes: &[u8]) -> Option<usize> {
        if let Some(at) = find(bytes, &self.delimiter) {
            self.state = State::Head;
            return at.checked_add(self.delimiter.len());
        }
        self.certain(bytes)
    }

    /// All but what may be the beginning of a delimiter. `None`: nothing.
    fn certain(&self, bytes: &[u8]) -> Option<usize> {
        bytes.len().checked_sub(self.delimiter.len()).filter(|certain| *certain > 0)
    }

    /// `--` is the end; otherwise the rest of the line, lines of fields, and an empty line.
    fn head(&mut self, bytes: &[u8]) -> Option<usize> {
        if bytes.starts_with(b"--") {
            self.state = State::Done;
            return Some(bytes.len());
        }
        if bytes.len() < 2 {
            return None;
        }
        let line_ends = b"\r\n\r\n";
        let largest = bytes.get(..HEAD_BYTES.saturating_add(line_ends.len()));
        let Some(end) = find(largest.unwrap_or(bytes), line_ends) else {
            // The delimiter that ends this part may begin in what was looked at last.
            largest?;
            self.truncated = true;
            self.state = State::Between;
            return HEAD_BYTES.checked_sub(self.delimiter.len());
        };
        let head = bytes.get(..end).unwrap_or_default();
        self.parts = self.parts.saturating_add(1);
        self.state = match Part::of(head) {
            Some(part) if self.parts <= PARTS => State::Content(part),
            Some(_) => {
                self.truncated = true;
                State::Done
            }
            None => State::Between,
        };
        // The head's last line end belongs to a delimiter that follows at once: an empty part.
        end.checked_add(2)
    }

    fn content(&mut self, bytes: &[u8]) -> Option<usize> {
        if let Some(at) = find(bytes, &self.delimiter) {
            self.keep(bytes.get(..at).unwrap_or_default());
            if let State::Content(part) = std::mem::replace(&mut self.state, State::Head) {
                self.end_part(part);
            }
            return at.checked_add(self.delimiter.len());
        }
        let certain = self.certain(bytes)?;
        self.keep(bytes.get(..certain).unwrap_or_default());
        Some(certain)
    }

    fn keep(&mut self, bytes: &[u8]) {
        let State::Content(part) = &mut self.state else { return };
        part.bytes = part.bytes.saturating_add(bytes.len() as u64);
        if part.file.is_some() {
            return;
        }
        // Two more: the head's line end is still in front.
        let room = self.room.min(FIELD_BYTES.saturating_add(2).saturating_sub(part.text.len()));
        let kept = bytes.get(..room).unwrap_or(bytes);
        part.cut |= kept.len() < bytes.len();
        part.text.extend_from_slice(kept);
        self.room = self.room.saturating_sub(kept.len());
    }

    fn end_part(&mut self, part: Part) {
        let Part { name, file, text, bytes, cut } = part;
        self.truncated |= cut;
        let value = if let Some(File { filename, content_type }) = file {
            let mut file = Map::new();
            file.insert("filename".to_owned(), filename.into());
            if let Some(content_type) = content_type {
                file.insert("content_type".to_owned(), content_type.into());
            }
            // Without the head's own line end.
            file.insert("bytes".to_owned(), bytes.saturating_sub(2).into());
            Value::Object(file)
        } else {
            let text = text.strip_prefix(b"\r\n").unwrap_or(&text);
            Value::String(String::from_utf8_lossy(text).into_owned())
        };
        self.fields.push(Field { name, value });
    }
}

impl Part {
    /// By the lines of its head. `None`: it has no name, so that it is none of a form.
    fn of(head: &[u8]) -> Option<Self> {
        let head = String::from_utf8_lossy(head);
        let field = |wanted: &str| {
            head.split("\r\n").find_map(|line| {
                let (name, value) = line.split_once(':')?;
                name.trim().eq_ignore_ascii_case(wanted).then(|| value.trim().to_owned())
            })
        };
        let disposition = field("content-disposition")?;
        let (_, parameters) = disposition.split_once(';')?;
        let name = parameter(parameters, "name").filter(|name| name.len() <= NAME_BYTES)?;
        // RFC 7578 section 4.2: what has no file name and says that it is media is a file all the same.
        let content_type = field("content-type").map(|media| clip(&media));
        let is_media = |media: &String| !media.starts_with("text/") && !media.starts_with("application/json");
        let filename = parameter(parameters, "filename").or_else(|| content_type.as_ref().filter(|m| is_media(m)).map(|_| String::new()));
        let file = filename.map(|filename| File { filename: clip(&filename), content_type });
        Some(Self { name, file, text: Vec::new(), bytes: 0, cut: false })
    }
}

/// A parameter's value, quoted or not (RFC 9110 section 5.6.6). A quoted one may hold semicolons.
fn parameter(parameters: &str, wanted: &str) -> Option<String> {
    let mut rest = parameters;
    loop {
        let (name, after) = rest.split_once('=')?;
        let after = after.trim_start();
        let (value, next) = after.strip_prefix('"').map_or_else(
            || {
                let (value, next) = after.split_at_checked(after.find(';').unwrap_or(after.len())).unwrap_or_default();
                (value.trim().to_owned(), next)
            },
            quoted,
        );
        if name.trim_matches(|c: char| c.is_whitespace() || c == ';').eq_ignore_ascii_case(wanted) {
            return Some(value);
        }
        rest = next;
    }
}

/// A quoted value from behind its first quote, and what follows its last.
fn quoted(text: &str) -> (String, &str) {
    let mut value = String::new();
    let mut characters = text.char_indices();
    while let Some((at, character)) = characters.next() {
        let rest = text.get(at..).unwrap_or_default();
        match character {
            // Browsers write backslashes of file names as they are: only a quote or another backslash is escaped.
            '\\' if rest.starts_with("\\\"") || rest.starts_with("\\\\") => value.extend(characters.next().map(|(_, escaped)| escaped)),
            '"' => return (value, characters.as_str()),
            other => value.push(other),
        }
    }
    (value, "")
}

fn clip(text: &str) -> String {
    text.get(..text.floor_char_boundary(NAME_BYTES)).unwrap_or(text).to_owned()
}

fn find(bytes: &[u8], needle: &[u8]) -> Option<usize> {
    memchr::memmem::find(bytes, needle)
}

#[cfg(test)]
mod tests {
    use super::*;

    const FORM: &[u8] = b"preamble\r\n--b0\r\nContent-Disposition: form-data; name=\"model\"\r\n\r\nwhisper-1\r\n--b0\r\n\
        content-disposition: form-data; name=\"file\"; filename=\"a;b \\\"c\\\".mp3\"\r\nContent-Type: audio/mpeg\r\n\r\n\
        \x00\xff\r\n--b\r\nnot yet\r\n--b0\r\nContent-Disposition: form-data; name=\"include[]\"\r\n\r\nlogprobs\r\n--b0\r\n\
        Content-Disposition: form-data; name=empty\r\n\r\n\r\n--b0\r\nContent-Disposition: form-data; name=\"stream\"\r\n\r\ntrue\r\n--b0--\r\nepilogue";

    fn parser() -> MultipartParser {
        MultipartParser::of("multipart/form-data; boundary=b0").unwrap()
    }

    fn json(parser: MultipartParser) -> Value {
        serde_json::from_slice(&parser.finish()).unwrap()
    }

    fn want() -> Value {
        serde_json::json!({
            "model": "whisper-1",
            "file": {"filename": "a;b \"c\".mp3", "content_type": "audio/mpeg", "bytes": 16},
            "include": ["logprobs"],
            "empty": "",
            "stream": "true",
        })
    }

    #[test]
    fn a_form_cut_anywhere_is_the_same_form() {
        for at in 0..=FORM.len() {
            let mut parser = parser();
            parser.push(&FORM[..at]);
            parser.push(&FORM[at..]);
            assert!(parser.is_done(), "cut at {at}");
            assert_eq!(json(parser), want(), "cut at {at}");
        }
        let mut single = parser();
        for byte in FORM {
            single.push(&[*byte]);
        }
        assert_eq!(json(single), want());
    }

    #[test]
    fn a_form_that_breaks_off_gives_what_was_whole() {
        let mut before = 0;
        for at in 0..FORM.len() {
            let mut parser = parser();
            parser.push(&FORM[..at]);
            let known = json(parser);
            for (name, value) in known.as_object().unwrap() {
                assert_eq!(*value, want()[name], "{name} at {at}");
            }
            let fields = known.as_object().unwrap().len();
            assert!(fields >= before);
            before = fields;
        }
    }

    #[test]
    fn a_hole_costs_the_parts_it_touches_and_never_makes_up_another() {
        for from in 0..FORM.len() {
            for to in [from + 1, from + 9, from + 40] {
                let mut parser = parser();
                parser.push(&FORM[..from]);
                parser.gap();
                parser.push(FORM.get(to..).unwrap_or_default());
                for (name, value) in json(parser).as_object().unwrap() {
                    assert_eq!(*value, want()[name], "{name} with a hole from {from} to {to}");
                }
            }
        }
    }

    #[test]
    fn what_a_form_holds_is_bounded() {
        let mut parser = parser();
        let field =
            |name: usize, value: &str| format!("--b0\r\nContent-Disposition: form-data; name=\"f{name}\"\r\n\r\n{value}\r\n").into_bytes();
        parser.push(&field(0, &"x".repeat(FIELD_BYTES + 1)));
        for n in 1..2 * PARTS {
            parser.push(&field(n, &"y".repeat(16 * 1024)));
        }
        assert!(parser.is_truncated() && parser.fields.len() <= PARTS && parser.pending.is_empty());
        let kept: usize = parser.fields.iter().map(|field| field.value.as_str().map_or(0, str::len)).sum();
        assert!(kept <= ALL_FIELDS_BYTES);

        let mut endless = MultipartParser::of("multipart/form-data; boundary=b0").unwrap();
        endless.push(b"--b0\r\n");
        for _ in 0..100 {
            endless.push(&[b'h'; 1024]);
        }
        assert!(endless.is_truncated() && endless.pending.len() <= HEAD_BYTES);
    }

    #[test]
    fn a_head_without_end_costs_its_part_and_no_other_however_it_is_cut() {
        let long = "x".repeat(HEAD_BYTES);
        let form = format!(
            "--b0\r\nContent-Disposition: form-data; name=\"a\"; x={long}\r\n\r\nlost\r\n\
             --b0\r\nContent-Disposition: form-data; name=\"b\"\r\n\r\nkept\r\n--b0--"
        );
        for size in [form.len(), 4096, 1000, 7] {
            let mut parser = parser();
            form.as_bytes().chunks(size).for_each(|piece| parser.push(piece));
            assert!(parser.is_truncated() && parser.is_done());
            assert_eq!(json(parser), serde_json::json!({"b": "kept"}), "in pieces of {size}");
        }
    }

    #[test]
    fn a_file_of_any_length_leaves_nothing_but_its_length() {
        let mut parser = parser();
        parser.push(b"--b0\r\nContent-Disposition: form-data; name=\"image[]\"; filename=\"i.png\"\r\n\r\n");
        for _ in 0..512 {
            parser.push(&[b'\r'; 8 * 1024]);
            assert!(parser.pending.len() < 16);
        }
        parser.push(b"\r\n--b0--");
        assert_eq!(json(parser), serde_json::json!({"image": [{"filename": "i.png", "bytes": 64 * 64 * 1024}]}));
    }

    #[test]
    fn only_forms_with_a_boundary_are_forms() {
        for (content_type, want) in [
            ("multipart/form-data; boundary=x", true),
            ("Multipart/Form-Data;charset=utf-8; Boundary=\"a b\"", true),
            ("multipart/form-data", false),
            ("multipart/form-data; boundary=", false),
            ("multipart/mixed; boundary=x", false),
            ("application/json; boundary=x", false),
        ] {
            assert_eq!(MultipartParser::of(content_type).is_some(), want, "{content_type}");
        }
        assert!(MultipartParser::of(&format!("multipart/form-data; boundary={}", "x".repeat(71))).is_none());
    }
}
