//! `struct msghdr` and its `iov_iter`, as a socket function is entered: the iterator advances while the function runs.

use super::call::{Place, UNREADABLE, shape};
use crate::{settings, task::read_member};

/// Where the bytes of a message lie.
#[inline(always)]
pub(crate) fn place(message: u64) -> Place {
    read(message).unwrap_or(UNREADABLE)
}

#[inline(always)]
fn read(message: u64) -> Option<Place> {
    let iterator = message + u64::from(settings::message_iterator());
    // Before 5.14 the lowest bit was the direction; kinds had bits of their own.
    let kind = u32::from(read_member::<u8>(iterator, settings::iterator_type())?);
    let skip = read_member::<u64>(iterator, settings::iterator_offset())?;
    if kind == settings::kind_buffer() {
        return Some(Place {
            base: read_member(iterator, settings::iterator_buffer())?,
            segments: 1,
            skip,
            shape: u64::from(shape::BUFFER),
        });
    }
    if kind == settings::kind_vector() || kind == (settings::kind_vector() | settings::kind_direction()) {
        return Some(Place {
            base: read_member(iterator, settings::iterator_vector())?,
            segments: read_member(iterator, settings::iterator_segments())?,
            skip,
            shape: u64::from(shape::KERNEL_VECTOR),
        });
    }
    None
}
