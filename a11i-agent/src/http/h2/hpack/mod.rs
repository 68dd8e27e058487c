//! Header compression of HTTP/2 (RFC 7541), as a bystander can undo it: with holes where something was missed, and never a guess.

mod huffman;
mod integer;
mod static_table;
mod table;

pub(in crate::http) use self::huffman::encode as huffman_encode;
use self::{
    static_table::ENTRIES,
    table::{Entry, Table},
};

/// Bytes of fields that one block may give away. A block of indices into a full table grows some thousandfold.
const LIST_BYTES: usize = 256 * 1024;

/// Longest name or value.
const STRING_BYTES: usize = 64 * 1024;

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum HpackError {
    /// It ends within a field.
    Truncated,
    /// It breaks RFC 7541: nothing after it can be decoded.
    Invalid,
    /// More than is followed.
    TooLarge,
}

/// One field line. `None`: a reference to what was missed.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct Field<'a> {
    pub(super) name: Option<&'a [u8]>,
    pub(super) value: Option<&'a [u8]>,
}

/// Decoder of one direction's blocks.
#[derive(Debug)]
pub(super) struct Decoder {
    table: Table,
}

impl Decoder {
    /// `from_the_start`: no block was sent before the first one that is given.
    pub(super) const fn new(from_the_start: bool) -> Self {
        Self { table: Table::new(from_the_start) }
    }

    /// A block, or part of one, was not seen.
    pub(super) fn poison(&mut self) {
        self.table.poison();
    }

    /// Decodes one whole block. After an error the fields given so far are right, and the table is poisoned: what the encoder meant to insert is
    /// not known.
    pub(super) fn decode(&mut self, block: &[u8], sink: &mut dyn FnMut(Field<'_>)) -> Result<(), HpackError> {
        let decoded = self.fields(block, sink);
        if decoded.is_err() {
            self.poison();
        }
        decoded
    }

    fn fields(&mut self, block: &[u8], sink: &mut dyn FnMut(Field<'_>)) -> Result<(), HpackError> {
        let mut rest = block;
        let mut given = 0_usize;
        while let Some(&first) = rest.first() {
            let entry = if first & 0x80 != 0 {
                let (index, tail) = integer::read(rest, 7)?;
                rest = tail;
                self.entry(index)?
            } else if first & 0xe0 == 0x20 {
                let (size, tail) = integer::read(rest, 5)?;
                rest = tail;
                self.table.resize(size);
                continue;
            } else {
                let is_inserted = first & 0x40 != 0;
                let (index, tail) = integer::read(rest, if is_inserted { 6 } else { 4 })?;
                let (name, tail) = if index == 0 {
                    let (name, tail) = string(tail)?;
                    (Some(name), tail)
                } else {
                    (self.entry(index)?.name, tail)
                };
                let (value, tail) = string(tail)?;
                rest = tail;
                let entry = Entry { name, value: Some(value) };
                if is_inserted {
                    self.table.insert(entry.clone());
                }
                entry
            };
            let Entry { name, value } = &entry;
            let length = |text: &Option<Box<[u8]>>| text.as_ref().map_or(0, |text| text.len());
            given = given.saturating_add(length(name)).saturating_add(length(value)).saturating_add(1);
            if given > LIST_BYTES {
                // A byte may stand for a field of 64 KiB: the rest is not worth its copies. What it would insert is not known any more.
                return Err(HpackError::TooLarge);
            }
            sink(Field { name: name.as_deref(), value: value.as_deref() });
        }
        Ok(())
    }

    fn entry(&self, index: u64) -> Result<Entry, HpackError> {
        let nth = usize::try_from(index).ok().and_then(|index| index.checked_sub(1)).ok_or(HpackError::Invalid)?;
        if let Some((name, value)) = ENTRIES.get(nth) {
            return Ok(Entry { name: Some(name.as_bytes().into()), value: Some(value.as_bytes().into()) });
        }
        self.table.get(nth.saturating_sub(ENTRIES.len())).ok_or(HpackError::Invalid)
    }
}

/// A string literal (section 5.2) and the rest.
fn string(input: &[u8]) -> Result<(Box<[u8]>, &[u8]), HpackError> {
    let is_coded = input.first().is_some_and(|first| first & 0x80 != 0);
    let (length, rest) = integer::read(input, 7)?;
    let length = usize::try_from(length).map_err(|_| HpackError::TooLarge)?;
    let (text, rest) = rest.split_at_checked(length).ok_or(HpackError::Truncated)?;
    if !is_coded {
        return if length > STRING_BYTES { Err(HpackError::TooLarge) } else { Ok((text.into(), rest)) };
    }
    let mut decoded = Vec::with_capacity(length.min(STRING_BYTES));
    huffman::decode(text, STRING_BYTES, &mut decoded)?;
    Ok((decoded.into(), rest))
}

#[cfg(test)]
pub(in crate::http::h2) mod tests;
