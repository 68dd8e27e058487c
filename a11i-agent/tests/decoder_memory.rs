//! What a hostile peer makes a connection hold: a hundred answers side by side, each of which fills the window of its decoder.
//!
//! Counts bytes that are allocated and not freed. Alone in its program, so that nothing else allocates meanwhile.

use std::{
    alloc::{GlobalAlloc, Layout, System},
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
};

use a11i_agent::{
    flow::{Segment, SegmentBody},
    http::{Connection, HttpSettings, Interest},
};
use a11i_common::identity::{BootTime, Direction};

const STREAMS: u32 = 100;
const MIB: usize = 1024 * 1024;

struct Counting;

static LIVE: AtomicUsize = AtomicUsize::new(0);

#[global_allocator]
static ALLOCATOR: Counting = Counting;

#[expect(unsafe_code, reason = "an allocator that counts is one by the trait's definition")]
// SAFETY: every request goes to the system's allocator as it came.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        LIVE.fetch_add(layout.size(), Ordering::Relaxed);
        // SAFETY: the caller's contract is the system allocator's.
        unsafe { System.alloc(layout) }
    }

    unsafe fn dealloc(&self, pointer: *mut u8, layout: Layout) {
        LIVE.fetch_sub(layout.size(), Ordering::Relaxed);
        // SAFETY: as above.
        unsafe { System.dealloc(pointer, layout) }
    }
}

#[test]
fn a_hundred_windows_are_no_more_than_decoders_may_hold_and_of_unwanted_answers_there_is_none() {
    let most = HttpSettings::new(&[1; 32]).decode.memory;
    let wanted = held(Interest::Wanted);
    assert!((most / 2..most + 2 * MIB).contains(&wanted), "{wanted} bytes held");
    let declined = held(Interest::Declined);
    assert!(declined < MIB, "{declined} bytes held");
}

/// Bytes held while all of the answers are under way.
fn held(interest: Interest) -> usize {
    let before = LIVE.load(Ordering::Relaxed);
    let mut connection = Connection::new(Arc::new(HttpSettings::new(&[1; 32])));
    let mut push = |direction, bytes: &[u8]| {
        connection.push_to(Segment { direction, time: BootTime(1), body: SegmentBody::Bytes(bytes) }, &mut |_| interest);
    };
    push(Direction::Write, b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\0\0\0\x04\0\0\0\0\0");
    push(Direction::Read, b"\0\0\0\x04\0\0\0\0\0");
    for stream in (0..STREAMS).map(|nth| 2 * nth + 1) {
        push(Direction::Write, &frame(1, 0x5, stream, &fields(&[(":method", "GET"), (":path", "/"), (":authority", "x")])));
        push(Direction::Read, &frame(1, 0x4, stream, &fields(&[(":status", "200"), ("content-encoding", "zstd")])));
        // A frame with a window of 8 MiB, and 4 MiB for it in blocks of four bytes: as much as no ratio forbids.
        let blocks = [0x02, 0x00, 0x10, b'x'].repeat(31);
        push(Direction::Read, &frame(0, 0, stream, &[&[0x28, 0xb5, 0x2f, 0xfd, 0x00, 0x68][..], &blocks].concat()));
    }
    LIVE.load(Ordering::Relaxed) - before
}

fn frame(kind: u8, flags: u8, stream: u32, payload: &[u8]) -> Vec<u8> {
    let [.., high, middle, low] = payload.len().to_be_bytes();
    [&[high, middle, low, kind, flags][..], &stream.to_be_bytes(), payload].concat()
}

/// Literal field lines without indexing (RFC 7541 section 6.2.2).
fn fields(lines: &[(&str, &str)]) -> Vec<u8> {
    let text = |text: &str| [&text.len().to_be_bytes()[7..], text.as_bytes()].concat();
    lines.iter().flat_map(|(name, value)| [vec![0], text(name), text(value)].concat()).collect()
}
