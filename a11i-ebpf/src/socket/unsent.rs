//! Records that were written, and that no socket was seen to send yet.
//!
//! A library that has no socket of its own (CPython's asyncio, Node, rustls) gives its records to the program, which sends them a little later,
//! mostly in the same breath. A record is as long as its plaintext and what encryption adds. So the record that a socket of no known session
//! sends is of the session whose plaintext of that length the thread has written, if it is one session's alone. Where several sessions have
//! written as much, nobody's socket is told, until all of that was sent: connections of one program often begin with requests of the same length.

use a11i_common::{
    event::Counter,
    limits::{TELLING_RECORD_BYTES, TLS_RECORD_BYTES},
    session::{Session, SessionKey, flag},
};
use aya_ebpf::bindings::BPF_ANY;

use super::transfer::Finished;
use crate::{
    count, decide,
    emit::launder,
    maps::{SESSIONS, UNSENT},
    session, settings, task, user_memory,
};

/// Key of the map `UNSENT`.
#[repr(C)]
#[derive(Clone, Copy)]
pub(crate) struct UnsentKey {
    tgid: u32,
    tid: u32,
    /// Plaintext of the first record of a write.
    length: u32,
    reserved: u32,
}

/// Its value. Only the key's thread touches it.
#[repr(C)]
#[derive(Clone, Copy)]
pub(crate) struct Unsent {
    /// Whose they are; [`SEVERAL`].
    session: u64,
    /// When the last of them was written.
    time: u64,
    /// The period ([`period`]) that `recent` counts the records of; `before` those of the one before it. Older ones are given up.
    period: u32,
    recent: u16,
    before: u16,
    /// The session's: another at its address has not written them.
    born: u64,
}

/// Of several sessions, or of one that is not told by it. No session has this number.
const SEVERAL: u64 = 1;

/// A record that waits for longer may be told by chance.
const FRESH_NS: u64 = 1_000_000_000;

/// What encryption adds to the plaintext: the tag and the inner type of TLS 1.3; the nonce and the tag of TLS 1.2 with GCM; the tag of TLS 1.2 with
/// ChaCha20-Poly1305 (RFC 8446 section 5.2, RFC 5288, RFC 7905).
const ADDED: [u64; 3] = [17, 24, 16];
pub(super) const LEAST_ADDED: u64 = 16;

/// A session has written a record, or several whose first is full. `buffer`: the plaintext.
#[inline(always)]
pub(crate) fn wrote(key: &SessionKey, session: *const Session, tid: u32, length: u64, buffer: u64) {
    // SAFETY: a live map value; aligned words and a single byte.
    let (socket, flags, born) = unsafe { ((*session).socket, (*session).flags, (*session).born) };
    if settings::sees_sockets() == 0 || (socket != 0 && flags & flag::PEER_PROVEN != 0) {
        return;
    }
    // Full records all look alike, and a large body may wait for the socket: what begins a message does not.
    let tells = length < TLS_RECORD_BYTES || user_memory::read::<u32>(buffer).is_some_and(|word| decide::begins_http(u32::from_le(word)));
    let is_bound = socket != 0;
    if tells || !is_bound {
        note(key.tgid, tid, length, &Owner { session: key.session, born: u64::from(born), tells, is_bound });
    }
}

/// The same of a session that is not followed now: its records must not be taken for another's.
#[inline(always)]
pub(crate) fn passed_over(tgid: u32, length: u64) {
    if settings::sees_sockets() != 0 {
        let (_, tid) = task::current_ids();
        note(tgid, tid, length, &Owner { session: SEVERAL, born: 0, tells: false, is_bound: false });
    }
}

/// Who has written a record.
struct Owner {
    session: u64,
    born: u64,
    /// It may be recognised by its length.
    tells: bool,
    /// Its socket is known and not proven: it does not stand in the way of those without one.
    is_bound: bool,
}

#[inline(always)]
fn note(tgid: u32, tid: u32, length: u64, owner: &Owner) {
    if length < TELLING_RECORD_BYTES {
        return;
    }
    let first = if length > TLS_RECORD_BYTES { TLS_RECORD_BYTES } else { length };
    let key = UnsentKey { tgid, tid, length: first as u32, reserved: 0 };
    let now = session::now();
    let session = if owner.tells { owner.session } else { SEVERAL };
    let Some(known) = UNSENT.get_ptr_mut(&key) else {
        let fresh = Unsent { session, time: now, period: period(now), recent: 1, before: 0, born: owner.born };
        let _ = UNSENT.insert(&key, &fresh, u64::from(BPF_ANY));
        return;
    };
    // SAFETY: a live map value that only this thread touches.
    let known = unsafe { &mut *known };
    let_go_of_old(known, now);
    if known.session != owner.session || known.born != owner.born {
        if known.recent == 0 && known.before == 0 || state(tgid, known.session, known.born) != UNBOUND {
            known.session = session;
            known.born = owner.born;
            known.time = now;
            known.recent = 1;
            known.before = 0;
            return;
        }
        if owner.is_bound {
            return;
        }
        known.session = SEVERAL;
    }
    known.time = now;
    if known.recent < u16::MAX {
        known.recent += 1;
    }
}

/// The session that has written the record of this length which a socket sends, and nobody else: 0 = unknown. The record waits no longer.
#[inline(always)]
pub(super) fn taken(done: &Finished, length: u64) -> u64 {
    let now = session::now();
    let mut found = take(done, length - ADDED[0], now);
    for added in [ADDED[1], ADDED[2]] {
        let other = take(done, length - added, now);
        if other != 0 {
            found = if found == 0 { other } else { SEVERAL };
        }
    }
    if found == SEVERAL {
        count::add(Counter::PeersAmbiguous, 1);
        return 0;
    }
    found
}

/// Whether this session has written such a record. It waits no longer then.
#[inline(always)]
pub(super) fn is_of(done: &Finished, length: u64, session: u64) -> bool {
    let now = session::now();
    for added in ADDED {
        let key = UnsentKey { tgid: done.tgid, tid: done.tid, length: (length - added) as u32, reserved: 0 };
        // SAFETY: a live map value that only this thread touches.
        if UNSENT.get_ptr(&key).is_some_and(|known| unsafe { (*known).session == session && now - (*known).time <= FRESH_NS }) {
            let _ = UNSENT.remove(&key);
            return true;
        }
    }
    false
}

/// One record of this plaintext's length: whose, [`SEVERAL`] or 0.
#[inline(always)]
fn take(done: &Finished, plaintext: u64, now: u64) -> u64 {
    let key = UnsentKey { tgid: done.tgid, tid: done.tid, length: plaintext as u32, reserved: 0 };
    let Some(known) = UNSENT.get_ptr_mut(&key) else {
        return 0;
    };
    // SAFETY: a live map value that only this thread touches.
    let known = unsafe { &mut *known };
    let_go_of_old(known, now);
    let (session, time) = (launder(&raw const known.session), launder(&raw const known.time));
    let left = u32::from(launder(&raw const known.recent)) + u32::from(launder(&raw const known.before));
    let is_fresh = now - time <= FRESH_NS;
    let state = state(done.tgid, session, launder(&raw const known.born));
    if left == 0 || state == SETTLED || (state == BOUND && !is_fresh) {
        let _ = UNSENT.remove(&key);
        return 0;
    }
    if done.is_refused && session == SEVERAL {
        return SEVERAL; // it is sent later
    }
    if left == 1 {
        let _ = UNSENT.remove(&key);
    } else if known.before > 0 {
        known.before -= 1;
    } else {
        known.recent -= 1;
    }
    if is_fresh { session } else { SEVERAL }
}

/// What is known of the socket of a session that has written: nothing; a little; all, or the session is gone, and another may be at its address.
const UNBOUND: u32 = 0;
const BOUND: u32 = 1;
const SETTLED: u32 = 2;

#[inline(always)]
fn state(tgid: u32, session: u64, born: u64) -> u32 {
    if session == SEVERAL {
        return UNBOUND;
    }
    let Some(session) = SESSIONS.get_ptr(&session::key(tgid, session)) else {
        return SETTLED;
    };
    // SAFETY: a live map value; aligned words and a single byte.
    let (socket, flags, its_birth) = unsafe { ((*session).socket, (*session).flags, (*session).born) };
    if u64::from(its_birth) != born {
        SETTLED
    } else if socket == 0 {
        UNBOUND
    } else if flags & flag::PEER_PROVEN == 0 {
        BOUND
    } else {
        SETTLED
    }
}

/// Four seconds: what does not come within the next period will not come, or is not known again.
#[inline(always)]
fn period(now: u64) -> u32 {
    (now >> 32) as u32
}

#[inline(always)]
fn let_go_of_old(known: &mut Unsent, now: u64) {
    let passed = period(now).wrapping_sub(known.period);
    if passed != 0 {
        known.before = if passed == 1 { known.recent } else { 0 };
        known.recent = 0;
        known.period = period(now);
    }
}
