//! Session life: freed, cleared, shut down, named.

use a11i_common::{
    decision::{FNV_OFFSET, fnv_1a},
    event::{Counter, RecordKind, ServerNameRecord},
    limits::SERVER_NAME_BYTES,
    session::{SessionKey, flag, protocol},
};
use aya_ebpf::programs::ProbeContext;

use super::operation;
use crate::{
    count, decide, emit, filter,
    maps::{DECISIONS, LLM_NAMES, RING, SESSIONS},
    registers, session, task, user_memory,
};

/// `SSL_CTRL_SET_TLSEXT_HOSTNAME` of OpenSSL's public `tls1.h`.
const SET_HOST_NAME_COMMAND: u64 = 55;

/// `GNUTLS_NAME_DNS` of GnuTLS's public `gnutls.h`.
const GNUTLS_NAME_DNS: u64 = 1;

/// The length of a name that ends with a zero.
const TERMINATED: u64 = u64::MAX;

#[inline(always)]
pub(crate) fn enter(ctx: &ProbeContext, operation: u8, attachment: u64) {
    let (tgid, tid) = task::current_ids();
    if !filter::follows(tgid) {
        return;
    }
    let key = session::key(tgid, registers::argument::<0>(ctx.regs));
    let (second, third) = (registers::argument::<1>(ctx.regs), registers::argument::<2>(ctx.regs));
    let fourth = registers::argument::<3>(ctx.regs);
    if operation == operation::CONTROL {
        if second as u32 as u64 == SET_HOST_NAME_COMMAND {
            name(&key, tid, attachment, fourth, TERMINATED);
        }
    } else if operation == operation::SET_HOST_NAME {
        name(&key, tid, attachment, second, TERMINATED);
    } else if operation == operation::GNUTLS_SERVER_NAME {
        if second as u32 as u64 == GNUTLS_NAME_DNS {
            name(&key, tid, attachment, third, fourth);
        }
    } else if operation == operation::SHUTDOWN {
        tell(RecordKind::WriteShutdown, &key, tid, attachment);
    } else if operation == operation::CLEAR && is_untouched(&key) {
        // OpenSSL clears every new session when its handshake begins, after the server name was set: nothing has ended.
    } else {
        // `SSL_clear` begins a new stream at the same address: the next transfer makes a fresh entry with another generation.
        end(&key, tid, attachment);
    }
}

#[inline(always)]
pub(super) fn end(key: &SessionKey, tid: u32, attachment: u64) {
    tell(RecordKind::SessionEnd, key, tid, attachment);
    let _ = SESSIONS.remove(key);
    let _ = DECISIONS.remove(key);
}

/// No byte was transferred yet.
#[inline(always)]
fn is_untouched(key: &SessionKey) -> bool {
    let Some(session) = SESSIONS.get_ptr(key) else {
        return true;
    };
    // SAFETY: a live map value.
    let [write, read] = unsafe { (*session).offsets };
    write == 0 && read == 0
}

#[inline(always)]
pub(crate) fn tell(kind: RecordKind, key: &SessionKey, tid: u32, attachment: u64) {
    let Some(session) = SESSIONS.get_ptr(key) else {
        return;
    };
    // SAFETY: a live map value; freeing a session that another thread uses is an error of the program's own.
    emit::fixed(&session::record(kind, key, unsafe { &*session }, tid, attachment), Counter::SessionRecordsLost);
}

#[inline(always)]
fn name(key: &SessionKey, tid: u32, attachment: u64, source: u64, length: u64) {
    // GnuTLS takes an empty name back.
    if decide::is_switched_off() || length == 0 {
        return;
    }
    let Some(session) = session::find_or_insert(key) else {
        return;
    };
    // SAFETY: a live map value; nobody else uses a session that is being set up.
    let session = unsafe { &mut *session };
    // A name is set before the handshake: what was known of this address was another connection, whose end was not seen.
    if session.offsets != [0; 2] || session.protocol != protocol::UNDECIDED {
        session::begin_connection(session);
        session.protocol = protocol::UNDECIDED;
    }
    // Only a client names whom it wants.
    session.request_direction = 0;
    session.flags = if is_llm_name(source, length) { flag::LLM_HOST } else { 0 };
    let Some(mut entry) = RING.reserve::<ServerNameRecord>(0) else {
        count::add(Counter::SessionRecordsLost, 1);
        return;
    };
    let record = entry.as_mut_ptr();
    // SAFETY: `record` is the reservation; every field of its fixed part is written before submit, the name by the helper.
    unsafe {
        let name = (&raw mut (*record).name).cast();
        let copied = if length == TERMINATED {
            user_memory::copy_str::<SERVER_NAME_BYTES>(name, source)
        } else if length < SERVER_NAME_BYTES as u64 && user_memory::copy::<SERVER_NAME_BYTES>(name, length, source) {
            Some(length as u32)
        } else {
            None
        };
        let Some(length) = copied else {
            entry.discard(0);
            return;
        };
        (&raw mut (*record).header).write(session::header(RecordKind::ServerName, session.process, tid, length));
        (&raw mut (*record).session).write(key.session);
        (&raw mut (*record).attachment).write(attachment);
        (&raw mut (*record).generation).write(session.generation);
        (&raw mut (*record).reserved).write([0; 3]);
    }
    entry.submit(emit::wake_by_volume());
}

/// Read byte by byte: the name fits no stack beside the rest, and the ring may have no room for it.
#[inline(always)]
fn is_llm_name(source: u64, length: u64) -> bool {
    let mut hash = FNV_OFFSET;
    for at in 0..SERVER_NAME_BYTES as u64 {
        if at >= length {
            break;
        }
        match user_memory::read::<u8>(source + at) {
            None => return false,
            Some(0) => break,
            Some(byte) => hash = fnv_1a(hash, byte),
        }
    }
    LLM_NAMES.get_ptr(&hash).is_some()
}
