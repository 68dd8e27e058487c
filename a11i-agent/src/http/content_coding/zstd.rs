//! Zstandard (RFC 8878).

use super::{CodingError, Out};

#[derive(Debug, Default)]
pub(super) struct Zstd {}

impl Zstd {
    pub(super) fn decode(&mut self, _input: &[u8], _out: &mut Out<'_>) -> Result<(), CodingError> {
        Err(CodingError::Unknown)
    }

    pub(super) const fn is_finished(&self) -> bool {
        false
    }
}
