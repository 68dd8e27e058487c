//! `ExportTraceServiceRequest` as it comes: down to the keys of spans' attributes, past everything else.

use super::{GEN_AI, NoExport, Reported, Span};

/// Fields that are entered, from outside: `resource_spans`, `scope_spans`, `spans`, `attributes` (opentelemetry-proto, `trace.proto`).
const ENTERED: [u64; 4] = [1, 2, 2, 9];
/// Messages around what `Span` and `KeyValue` hold, themselves included.
const SPAN: usize = 3;
const ATTRIBUTE: usize = 4;
/// `Span.kind`, and its `SPAN_KIND_SERVER`.
const KIND: u64 = 6;
const KIND_SERVER: u64 = 2;
/// `KeyValue.key`.
const KEY: u64 = 1;

#[derive(Debug, Default)]
pub(super) struct ProtobufScan {
    position: u64,
    /// Where the messages that were entered end, the innermost last.
    ends: Vec<u64>,
    step: Step,
    number: Varint,
    span: Span,
    reported: Reported,
}

#[derive(Clone, Copy, Debug, Default)]
enum Step {
    #[default]
    Tag,
    Number {
        field: u64,
    },
    Length {
        field: u64,
    },
    /// An attribute's key, of which so much is as looked for.
    Key {
        matched: usize,
        until: u64,
    },
    Skip {
        until: u64,
    },
}

impl ProtobufScan {
    pub(super) const fn reported(&self) -> Reported {
        self.reported
    }

    /// Reads no further than to the end of what is wanted: with that it is known, however the bytes are cut.
    pub(super) fn push(&mut self, mut bytes: &[u8], wanted: Reported) -> Result<(), NoExport> {
        while let Some((first, rest)) = bytes.split_first().filter(|_| !self.reported.covers(wanted)) {
            let taken = if let Step::Skip { until } = self.step {
                let left = until.saturating_sub(self.position);
                let skipped = usize::try_from(left).unwrap_or(usize::MAX).min(bytes.len());
                bytes = bytes.get(skipped..).unwrap_or_default();
                skipped
            } else {
                bytes = rest;
                1
            };
            self.position = self.position.checked_add(u64::try_from(taken).unwrap_or(u64::MAX)).ok_or(NoExport)?;
            self.take(*first)?;
            self.leave_what_is_over()?;
        }
        Ok(())
    }

    /// `byte` has been taken, or what was to be skipped.
    fn take(&mut self, byte: u8) -> Result<(), NoExport> {
        let depth = self.ends.len();
        match self.step {
            Step::Tag => {
                let Some(tag) = self.number.push(byte)? else { return Ok(()) };
                let field = tag >> 3;
                self.step = match tag & 7 {
                    0 => Step::Number { field },
                    1 => Step::Skip { until: self.within(8)? },
                    2 => Step::Length { field },
                    5 => Step::Skip { until: self.within(4)? },
                    _ => return Err(NoExport), // groups are none of OTLP's
                };
            }
            Step::Number { field } => {
                let Some(number) = self.number.push(byte)? else { return Ok(()) };
                if (depth, field) == (SPAN, KIND) {
                    self.span.is_server = number == KIND_SERVER;
                }
                self.step = Step::Tag;
            }
            Step::Length { field } => {
                let Some(length) = self.number.push(byte)? else { return Ok(()) };
                let until = self.within(length)?;
                self.step = if ENTERED.get(depth) == Some(&field) {
                    self.ends.push(until);
                    if self.ends.len() == SPAN {
                        self.span = Span::default();
                    }
                    Step::Tag
                } else if (depth, field) == (ATTRIBUTE, KEY) {
                    Step::Key { matched: 0, until }
                } else {
                    Step::Skip { until }
                };
            }
            Step::Key { matched, until } => {
                let matched = matched.saturating_add(1);
                let is_like = GEN_AI.get(matched.saturating_sub(1)) == Some(&byte);
                let is_all = is_like && matched == GEN_AI.len();
                self.span.is_gen_ai |= is_all;
                self.step = if is_like && !is_all { Step::Key { matched, until } } else { Step::Skip { until } };
            }
            Step::Skip { .. } => {}
        }
        if let Step::Skip { until } | Step::Key { until, .. } = self.step
            && self.position >= until
        {
            self.step = Step::Tag;
        }
        Ok(())
    }

    /// Where so many bytes end, which lie within the message they are in.
    fn within(&self, length: u64) -> Result<u64, NoExport> {
        let until = self.position.checked_add(length).ok_or(NoExport)?;
        if self.ends.last().is_some_and(|end| *end < until) { Err(NoExport) } else { Ok(until) }
    }

    fn leave_what_is_over(&mut self) -> Result<(), NoExport> {
        while let Some(end) = self.ends.last() {
            if *end > self.position {
                break;
            }
            if *end < self.position || !matches!(self.step, Step::Tag) || self.number.is_begun() {
                return Err(NoExport);
            }
            if self.ends.len() == SPAN {
                self.reported.add(self.span);
            }
            self.ends.pop();
        }
        Ok(())
    }
}

/// A base-128 number under way.
#[derive(Clone, Copy, Debug, Default)]
struct Varint {
    value: u64,
    shift: u32,
}

impl Varint {
    fn push(&mut self, byte: u8) -> Result<Option<u64>, NoExport> {
        // Ten bytes hold 64 bits; what is beyond them is cut off, as decoders do.
        if self.shift >= 70 {
            return Err(NoExport);
        }
        self.value |= u64::from(byte & 0x7f).checked_shl(self.shift).unwrap_or_default();
        self.shift = self.shift.saturating_add(7);
        if byte & 0x80 != 0 {
            return Ok(None);
        }
        Ok(Some(std::mem::take(self).value))
    }

    const fn is_begun(self) -> bool {
        self.shift > 0
    }
}
