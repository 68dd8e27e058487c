//! Memory of the pure pipeline: `cargo bench --no-default-features --bench memory`.
//!
//! Counts bytes that are allocated and not freed, so the numbers are the same on every run. Prints what 1,000 streams in
//! mid-answer hold, and what is left after many calls, which must not depend on how many there were.

#![expect(clippy::print_stdout, reason = "a bench prints what it measured")]

#[path = "traffic/mod.rs"]
#[expect(dead_code, reason = "the other bench uses all of it")]
mod traffic;

use std::{
    alloc::{GlobalAlloc, Layout, System},
    sync::atomic::{AtomicUsize, Ordering},
};

use a11i_agent::{
    pipeline::{Leaving, Output},
    redaction::ContentPolicy,
};
use traffic::{Exchange, Session};

/// Streams at once, as the budget says.
const STREAMS: u64 = 1_000;
/// Deltas of such a stream; half of them have arrived.
const CHUNKS: usize = 400;
/// A prompt with a long history.
const PROMPT_BYTES: usize = 16_000;
/// Calls after which nothing may have grown, as the budget says.
const CALLS: u64 = 1_000_000;
/// Calls until tables and buffers have the size they keep.
const WARM_UP: u64 = 1_000;

struct Counting;

static LIVE: AtomicUsize = AtomicUsize::new(0);
static PEAK: AtomicUsize = AtomicUsize::new(0);

#[global_allocator]
static ALLOCATOR: Counting = Counting;

#[expect(unsafe_code, reason = "an allocator that counts is one by the trait's definition")]
// SAFETY: every request goes to the system's allocator as it came.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        let live = LIVE.fetch_add(layout.size(), Ordering::Relaxed) + layout.size();
        PEAK.fetch_max(live, Ordering::Relaxed);
        // SAFETY: the caller's contract is the system allocator's.
        unsafe { System.alloc(layout) }
    }

    unsafe fn dealloc(&self, pointer: *mut u8, layout: Layout) {
        LIVE.fetch_sub(layout.size(), Ordering::Relaxed);
        // SAFETY: as above.
        unsafe { System.dealloc(pointer, layout) }
    }
}

fn main() {
    println!("{:<44}{:>14}{:>14}", "pure pipeline", "live bytes", "per stream");
    for (name, content) in [("no content kept (default)", ContentPolicy::None), ("content kept", ContentPolicy::Full)] {
        let live = concurrent_streams(content);
        println!("{:<44}{live:>14}{:>14}", format!("{STREAMS} concurrent streams, {name}"), live / usize::try_from(STREAMS).unwrap_or(1));
    }
    let (early, late) = many_calls();
    println!("{:<44}{early:>14}", format!("after {WARM_UP} calls"));
    println!("{:<44}{late:>14}", format!("after {CALLS} calls"));
    println!("peak of all of it: {} bytes; resident now: {} KiB", PEAK.load(Ordering::Relaxed), resident_kib());
}

/// What the pipeline holds while every stream is in the middle of its answer.
fn concurrent_streams(content: ContentPolicy) -> usize {
    let exchange = Exchange::streamed(CHUNKS, PROMPT_BYTES);
    let mut pipeline = traffic::pipeline(content);
    let before = LIVE.load(Ordering::Relaxed);
    let mut sessions: Vec<Session> = (0..STREAMS).map(Session::new).collect();
    let own = LIVE.load(Ordering::Relaxed) - before;
    let mut calls = 0u64;
    let mut sink = |output: Output| calls += u64::from(matches!(output, Output::Leaving(Leaving::Call(_))));
    for session in &mut sessions {
        session.write(&exchange.request, &mut pipeline, &mut sink);
    }
    let half = exchange.records.len() / 2;
    for record in exchange.records.iter().take(half) {
        for session in &mut sessions {
            session.read(exchange.response.get(record.clone()).unwrap_or_default(), &mut pipeline, &mut sink);
        }
    }
    let held = LIVE.load(Ordering::Relaxed) - before - own;
    for record in exchange.records.iter().skip(half) {
        for session in &mut sessions {
            session.read(exchange.response.get(record.clone()).unwrap_or_default(), &mut pipeline, &mut sink);
        }
    }
    assert_eq!(calls, STREAMS, "every stream is a call");
    held
}

/// Live bytes after the first calls and after all of them, each call in a session of its own.
fn many_calls() -> (usize, usize) {
    let exchange = Exchange::streamed(4, 400);
    let mut pipeline = traffic::pipeline(ContentPolicy::None);
    let (mut calls, mut early) = (0u64, 0);
    for number in 0..CALLS {
        traffic::run(&exchange, number, &mut pipeline, &mut |output| {
            calls += u64::from(matches!(output, Output::Leaving(Leaving::Call(_))));
        });
        if number + 1 == WARM_UP {
            early = LIVE.load(Ordering::Relaxed);
        }
    }
    assert_eq!(calls, CALLS, "every exchange is a call");
    (early, LIVE.load(Ordering::Relaxed))
}

fn resident_kib() -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).unwrap_or_default();
    line.split_whitespace().next().and_then(|number| number.parse().ok()).unwrap_or_default()
}
