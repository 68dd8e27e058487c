//! What a call of rustls's `encrypt` or `decrypt` says of its record: arguments and results, as the Rust compiler lays them out.
//!
//! The calling convention is not promised: a record whose arguments fail the tests here is none.

use a11i_common::{
    limits::TLS_RECORD_BYTES,
    rustls::{ABSENT, RustlsLayout, RustlsSampleKey, SAMPLE_WORDS, SAMPLES},
};
use aya_ebpf::{bindings::BPF_NOEXIST, programs::ProbeContext};

use super::record_call::RecordCall;
use crate::{emit::launder, maps::RUSTLS_SAMPLES, probation, registers, user_memory};

pub(super) const WRITE: u32 = 0;
pub(super) const READ: u32 = 1;

/// Content types of a record (RFC 8446 section 5.1), by the wire's values and by rustls's own numbering of them.
const CHANGE_CIPHER_SPEC: [u8; 2] = [20, 0];
pub(super) const ALERT: [u8; 2] = [21, 1];
pub(super) const HANDSHAKE: [u8; 2] = [22, 2];
pub(super) const APPLICATION_DATA: [u8; 2] = [23, 3];
/// Handshake messages have a type below, and a length of three bytes (RFC 8446 section 4).
const HANDSHAKE_TYPES: u8 = 26;
/// Longest handshake message: a chain of certificates.
const MOST_MESSAGE: u64 = 0x1_ffff;
/// The handshake message that both sides encrypt first in TLS 1.2, and a client in TLS 1.3.
const FINISHED: u8 = 20;
/// Versions are numbered from SSL 2.0 on (these are TLS 1.1 to 1.3), or are the wire's.
const LEAST_NUMBERED_VERSION: u16 = 3;
const MOST_NUMBERED_VERSION: u16 = 5;
const WIRE_VERSION: u16 = 3;
/// More slices than a caller hands to the kernel at once (`IOV_MAX`): no array of slices.
const MOST_SLICES: u64 = 1024;
/// What encryption adds to a record, at most (RFC 5246 section 6.2.3).
const MOST_EXPANSION: u64 = 2048;
/// Before the record's body.
const RECORD_HEADER_BYTES: u64 = 5;
/// What is behind the plaintext of a record of TLS 1.3 and of TLS 1.2: the tag; and before the one of TLS 1.2 with GCM, its nonce.
const TAG: u64 = 16;
const NONCE: u64 = 8;
/// Words among which the record to decrypt is told, and those of the result of that. Both end on the stack of the caller.
const MESSAGE_WORDS: usize = 4;
const RESULT_WORDS: usize = 6;
/// No pointer is lower, and no capacity of a record's vector higher.
const LOWEST_POINTER: u64 = 0x1_0000;
/// TLS 1.2 and 1.3, as rustls numbers them.
const NUMBERED_VERSIONS: [u16; 2] = [4, 5];

/// A record to decrypt, until 0.22: a vector of its own, without the record's header. The plaintext is the same vector, made shorter.
#[repr(C)]
#[derive(Clone, Copy)]
struct OwnedMessage {
    capacity: u64,
    pointer: u64,
    length: u64,
    /// Content type and version, in either order.
    kind: u64,
}

impl OwnedMessage {
    #[inline(always)]
    fn content_type(&self) -> u8 {
        let first = self.kind as u16;
        let is_version_first = NUMBERED_VERSIONS[0] == first || NUMBERED_VERSIONS[1] == first;
        // None of the types that are asked for has these numbers.
        if is_version_first { (self.kind >> 32) as u8 } else { first as u8 }
    }
}

#[repr(C)]
#[derive(Clone, Copy)]
pub(super) struct Slice {
    pub(super) pointer: u64,
    pub(super) length: u64,
}

/// (result, self, message, sequence number)
#[cfg(bpf_target_arch = "x86_64")]
#[inline(always)]
pub(super) fn arguments(ctx: &ProbeContext) -> (u64, u64, u64, u64) {
    (
        registers::argument::<0>(ctx.regs),
        registers::argument::<1>(ctx.regs),
        registers::argument::<2>(ctx.regs),
        registers::argument::<3>(ctx.regs),
    )
}

/// (result, self, message, sequence number): the result has a register of its own.
#[cfg(bpf_target_arch = "aarch64")]
#[inline(always)]
pub(super) fn arguments(ctx: &ProbeContext) -> (u64, u64, u64, u64) {
    (
        registers::result_pointer(ctx.regs),
        registers::argument::<0>(ctx.regs),
        registers::argument::<1>(ctx.regs),
        registers::argument::<2>(ctx.regs),
    )
}

/// The content type of a record to encrypt, and where its plaintext is. None: it is not laid out like that.
#[inline(always)]
pub(super) fn outbound(call: &mut RecordCall, message: u64, layout: &RustlsLayout) -> Option<u8> {
    let at = |offset: u8| message + u64::from(offset);
    let content_type = user_memory::read::<u8>(at(layout.content_type))?;
    let version = user_memory::read::<u16>(at(layout.version))?;
    // Both are the wire's numbers, or both are the library's own.
    let is_wire = content_type >= CHANGE_CIPHER_SPEC[0] && content_type <= APPLICATION_DATA[0] && version >> 8 == WIRE_VERSION;
    let is_numbered = content_type >= ALERT[1]
        && content_type <= APPLICATION_DATA[1]
        && version >= LEAST_NUMBERED_VERSION
        && version <= MOST_NUMBERED_VERSION;
    if !is_wire && !is_numbered {
        return None;
    }
    let slices = if layout.slices == ABSENT { 0 } else { user_memory::read::<u64>(at(layout.slices))? };
    call.slices = slices;
    if slices == 0 {
        let slice = user_memory::read::<Slice>(at(layout.slice))?;
        call.buffer = slice.pointer;
        call.slices_left = 1;
        call.skip = 0;
        call.left = slice.length;
        call.length = slice.length;
    } else {
        call.slices_left = user_memory::read::<u64>(at(layout.slices) + 8)?;
        let one = user_memory::read::<u64>(at(layout.bounds[0]))?;
        let other = user_memory::read::<u64>(at(layout.bounds[1]))?;
        call.skip = if one < other { one } else { other };
        call.left = if one < other { other - one } else { one - other };
    }
    if launder(&raw const call.left) > TLS_RECORD_BYTES || launder(&raw const call.slices_left) > MOST_SLICES {
        return None;
    }
    // Of less than two slices there is no array, and nobody encrypts nothing of several.
    if slices != 0 && (launder(&raw const call.slices_left) < 2 || launder(&raw const call.left) == 0) {
        return None;
    }
    // Application data says itself whether it is any. Of a handshake, what every key begins with is known.
    if launder(&raw const call.sequence) == 0 && slices == 0 {
        let header = user_memory::read::<[u8; 4]>(launder(&raw const call.buffer))?;
        let told = (u64::from(header[1]) << 16) | (u64::from(header[2]) << 8) | u64::from(header[3]);
        let is_finished = header[0] == FINISHED && told + 4 == launder(&raw const call.length);
        if is(content_type, HANDSHAKE) {
            if !is_finished && (header[0] == FINISHED || header[0] >= HANDSHAKE_TYPES || told > MOST_MESSAGE) {
                return None;
            }
            probation::fits(call.attachment, WRITE as usize);
        } else if is(content_type, APPLICATION_DATA) && is_finished {
            return None;
        }
    }
    Some(content_type)
}

/// Finds the record to decrypt, and remembers where it is. None: the arguments tell of none.
#[inline(always)]
pub(super) fn inbound(call: &mut RecordCall, message: u64) -> Option<()> {
    call.owned = 0;
    // The record's body is told among the words of the message, in whatever order: its header stands before it.
    for i in 0..MESSAGE_WORDS - 1 {
        let Some(body) = user_memory::read::<Slice>(message + 8 * i as u64) else {
            break;
        };
        if let Some(outer_type) = header_type(body.pointer, body.length) {
            call.outer_type = u32::from(outer_type);
            call.buffer = body.pointer;
            call.length = body.length;
            return Some(());
        }
    }
    let record = user_memory::read::<OwnedMessage>(message)?;
    if record.capacity >= LOWEST_POINTER || record.pointer < LOWEST_POINTER || record.length > record.capacity {
        return None;
    }
    call.owned = 1;
    call.outer_type = u32::from(record.content_type());
    call.buffer = record.pointer;
    call.length = record.length;
    Some(())
}

/// Where the result says that the plaintext of the record is, and its content type. None: it is none, the record failed.
#[inline(always)]
pub(super) fn plaintext(call: &RecordCall) -> Option<(Slice, u8)> {
    if call.owned != 0 {
        return shortened(call);
    }
    // The first word of a result tells success from failure where this compiler put it there; what a failure has elsewhere fails the tests.
    for turn in 0..RESULT_WORDS - 1 {
        // The second first: as it was in all builds seen.
        let i = if turn == 0 { 1 } else { turn - usize::from(turn == 1) };
        let plain = user_memory::read::<Slice>(call.out + 8 * i as u64)?;
        if let Some(content_type) = inner_type(call, &plain) {
            return Some((plain, content_type));
        }
    }
    None
}

/// Until 0.22, the vector that the record was, behind a word that tells success from failure: what a failure has there fails the tests.
#[inline(always)]
fn shortened(call: &RecordCall) -> Option<(Slice, u8)> {
    let message = user_memory::read::<OwnedMessage>(call.out + 8)?;
    let outer_type = call.outer_type as u8;
    let content_type = message.content_type();
    let is_same = message.pointer == call.buffer && message.length < call.length;
    // Only a record of TLS 1.2 says outside what it is.
    let is_told = is(outer_type, APPLICATION_DATA) || same_kind(outer_type, content_type);
    if is_same && is_told { Some((Slice { pointer: message.pointer, length: message.length }, content_type)) } else { None }
}

/// The same content type, by whichever numbers.
#[inline(always)]
fn same_kind(one: u8, other: u8) -> bool {
    (is(one, ALERT) && is(other, ALERT)) || (is(one, HANDSHAKE) && is(other, HANDSHAKE))
}

/// The content type of a decrypted record; None if this is not its plaintext. Decryption is in place, so the plaintext lies within the
/// record, and a record of TLS 1.3 goes on with its content type and zeros (RFC 8446 section 5.4).
#[inline(always)]
fn inner_type(call: &RecordCall, plain: &Slice) -> Option<u8> {
    let before = plain.pointer.wrapping_sub(call.buffer);
    if (before != 0 && before != NONCE) || before + TAG > call.length || plain.length > call.length - before - TAG {
        return None;
    }
    let outer_type = call.outer_type as u8;
    let growth = call.length - plain.length;
    // Only a record of TLS 1.2 says outside what it is.
    if !is(outer_type, APPLICATION_DATA) || growth == TAG || before != 0 {
        return Some(outer_type);
    }
    if growth == NONCE + TAG {
        // Of TLS 1.2, if this is not a type and all the zeros.
        let rest = user_memory::read::<u64>(plain.pointer + plain.length)?;
        return Some(if is_inner_type(rest) { rest as u8 } else { outer_type });
    }
    let inner_type = user_memory::read::<u8>(plain.pointer + plain.length)?;
    if is_inner_type(u64::from(inner_type)) { Some(inner_type) } else { None }
}

#[inline(always)]
fn is_inner_type(value: u64) -> bool {
    value >= u64::from(ALERT[0]) && value <= u64::from(APPLICATION_DATA[0])
}

/// The content type in the header of the record whose body this is, if there is one: type, a version of TLS, and this length.
#[inline(always)]
fn header_type(body: u64, length: u64) -> Option<u8> {
    let header = user_memory::read::<[u8; RECORD_HEADER_BYTES as usize]>(body.wrapping_sub(RECORD_HEADER_BYTES))?;
    let told = (u64::from(header[3]) << 8) | u64::from(header[4]);
    let is_record = header[1] == 3 && header[2] <= 4 && told == length && length <= TLS_RECORD_BYTES + MOST_EXPANSION;
    if is_record { Some(header[0]) } else { None }
}

#[inline(always)]
pub(super) fn is(content_type: u8, kind: [u8; 2]) -> bool {
    content_type == kind[0] || content_type == kind[1]
}

/// Shows the agent an argument that has another layout, if it has seen the ones before.
#[inline(always)]
pub(super) fn sample(call: &mut RecordCall, message: u64) {
    if call.attachment == 0 {
        return;
    }
    // Reading one costs more than all the rest of the record does.
    let Some(free) = free_slot(call.attachment) else {
        return;
    };
    call.sample.sequence = call.sequence;
    for i in 0..SAMPLE_WORDS {
        let word = user_memory::read::<u64>(message + 8 * i as u64).unwrap_or(0);
        let behind = user_memory::read::<Slice>(word).unwrap_or(Slice { pointer: 0, length: 0 });
        call.sample.words[i] = word;
        call.sample.behind[i] = [behind.pointer, behind.length];
        call.sample.further[i] = user_memory::read::<u64>(behind.pointer).unwrap_or(0);
    }
    // Another thread may have been faster: it sampled one that is as good.
    let _ = RUSTLS_SAMPLES.insert(&free, &call.sample, u64::from(BPF_NOEXIST));
}

/// Where the agent has taken what was there.
#[inline(always)]
fn free_slot(attachment: u64) -> Option<RustlsSampleKey> {
    for slot in 0..u64::from(SAMPLES) {
        let key = RustlsSampleKey { attachment, slot };
        if RUSTLS_SAMPLES.get_ptr(&key).is_none() {
            return Some(key);
        }
    }
    None
}
