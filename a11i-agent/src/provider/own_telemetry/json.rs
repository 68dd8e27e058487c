//! The same in OTLP's JSON encoding: `resourceSpans` › `scopeSpans` › `spans` › `attributes` › `key`, wherever else those words stand.

use super::{GEN_AI, Reported, Span};

/// Members whose arrays are entered: of the objects at depth 1, 3, 5 and 7.
const ENTERED: [&[u8]; 4] = [b"resourceSpans", b"scopeSpans", b"spans", b"attributes"];
/// Depth of a span and of an attribute.
const SPAN: u32 = 7;
const ATTRIBUTE: u32 = 9;
const KIND_SERVER: &[u8] = b"SPAN_KIND_SERVER";
/// Kept of a string: one more than the longest that is compared.
const TEXT_BYTES: usize = 17;

#[derive(Debug, Default)]
pub(super) struct JsonScan {
    /// Objects and arrays around the next byte, and how many of them, from outside, are those that are looked for.
    depth: u32,
    on_path: u32,
    is_inside_string: bool,
    is_escaped: bool,
    /// A colon came since the last member's name.
    is_value: bool,
    name: Vec<u8>,
    text: Vec<u8>,
    span: Span,
    reported: Reported,
}

impl JsonScan {
    pub(super) const fn reported(&self) -> Reported {
        self.reported
    }

    /// Reads no further than to the end of what is wanted: with that it is known, however the bytes are cut.
    pub(super) fn push(&mut self, bytes: &[u8], wanted: Reported) {
        for byte in bytes {
            if self.reported.covers(wanted) {
                return;
            }
            if self.is_inside_string {
                self.string_byte(*byte);
                continue;
            }
            match byte {
                b'"' => {
                    self.is_inside_string = true;
                    self.text.clear();
                }
                b'{' | b'[' => self.enter(*byte),
                b'}' | b']' => self.leave(),
                b':' => self.is_value = true,
                b',' => self.is_value = false,
                b'0'..=b'9' if self.is_value && self.is_at(SPAN) && self.name == b"kind" => self.span.is_server = *byte == b'2',
                _ => {}
            }
        }
    }

    fn string_byte(&mut self, byte: u8) {
        match byte {
            b'"' if !self.is_escaped => {
                self.is_inside_string = false;
                self.string();
            }
            _ => {
                // Nobody writes the words that are looked for with escapes: such a text is another one.
                let kept = if self.is_escaped || byte == b'\\' { 0 } else { byte };
                self.is_escaped = byte == b'\\' && !self.is_escaped;
                if self.text.len() < TEXT_BYTES {
                    self.text.push(kept);
                }
            }
        }
    }

    fn string(&mut self) {
        if self.depth != self.on_path {
            return;
        }
        if !self.is_value {
            std::mem::swap(&mut self.name, &mut self.text);
        } else if self.is_at(ATTRIBUTE) && self.name == b"key" {
            self.span.is_gen_ai |= self.text.starts_with(GEN_AI);
        } else if self.is_at(SPAN) && self.name == b"kind" {
            self.span.is_server = self.text == KIND_SERVER;
        }
    }

    fn enter(&mut self, bracket: u8) {
        let is_array = bracket == b'[';
        let expected = self.depth == self.on_path
            && match (self.depth, is_array) {
                (0, false) => true,
                // An object: by the member's name. An array: any object in it.
                (depth, true) if depth % 2 == 1 => {
                    let wanted = usize::try_from(depth / 2).ok().and_then(|at| ENTERED.get(at));
                    self.is_value && wanted.is_some_and(|wanted| self.name == *wanted)
                }
                (depth, false) => depth % 2 == 0,
                (_, true) => false,
            };
        self.depth = self.depth.saturating_add(1);
        if expected {
            self.on_path = self.depth;
            if self.depth == SPAN {
                self.span = Span::default();
            }
        }
        self.is_value = false;
        if expected {
            self.name.clear();
        }
    }

    fn leave(&mut self) {
        if self.depth == self.on_path {
            if self.depth == SPAN {
                self.reported.add(self.span);
            }
            self.on_path = self.on_path.saturating_sub(1);
        }
        self.depth = self.depth.saturating_sub(1);
        self.is_value = false;
    }

    const fn is_at(&self, depth: u32) -> bool {
        self.depth == depth && self.on_path == depth
    }
}
