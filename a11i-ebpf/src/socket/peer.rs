//! Tells the agent which ends a session's socket has.

use a11i_common::{
    event::{Counter, PeerRecord, RecordKind, SocketEnds},
    limits::UNIX_PATH_BYTES,
    session::{Session, SessionKey, flag},
};
use aya_ebpf::helpers::generated::bpf_probe_read_kernel;

use super::sock;
use crate::{count, emit, maps::RING, session, settings, task::read_member};

/// Length of the family before a Unix socket's path.
const FAMILY_BYTES: u32 = 2;
/// `sun_path` of Linux.
const MOST_PATH_BYTES: u32 = 108;

/// `attachment`: of what the socket itself carries; 0 of a TLS session, whose plaintext is seen elsewhere. False: there was no room for it.
#[inline(always)]
pub(crate) fn tell(key: &SessionKey, session: &mut Session, tid: u32, sock: u64, family: u16, attachment: u64) -> bool {
    let Some(mut entry) = RING.reserve::<PeerRecord>(0) else {
        count::add(Counter::SessionRecordsLost, 1);
        return false;
    };
    session.flags |= flag::PEER_TOLD;
    let record = entry.as_mut_ptr();
    // SAFETY: `record` is the reservation; everything in it is written before submit.
    unsafe {
        (&raw mut (*record).path).write([0; UNIX_PATH_BYTES]);
        let length = if family == sock::UNIX { copy_path((&raw mut (*record).path).cast(), sock) } else { 0 };
        (&raw mut (*record).header).write(session::header(RecordKind::Peer, session.process, tid, length));
        (&raw mut (*record).session).write(key.session);
        (&raw mut (*record).attachment).write(attachment);
        (&raw mut (*record).generation).write(session.generation);
        let ends: SocketEnds = sock::ends(sock, family);
        (&raw mut (*record).socket).write(ends);
    }
    entry.submit(emit::wake_by_volume());
    true
}

/// The server's path, as either end knows it: a client has no address of its own as a rule. Where both have one, nobody can say which.
///
/// # Safety
/// `destination` points to `UNIX_PATH_BYTES` writable bytes.
#[inline(always)]
unsafe fn copy_path(destination: *mut u8, sock: u64) -> u32 {
    let address = |sock: u64| read_member::<u64>(sock, settings::unix_address()).unwrap_or(0);
    let own = address(sock);
    let peer = read_member::<u64>(sock, settings::unix_peer()).filter(|peer| *peer != 0).map_or(0, address);
    if (own == 0) == (peer == 0) {
        return 0;
    }
    let named = own | peer;
    let length = read_member::<u32>(named, settings::unix_address_length()).unwrap_or(0);
    if length <= FAMILY_BYTES || length > FAMILY_BYTES + MOST_PATH_BYTES {
        return 0;
    }
    let length = length - FAMILY_BYTES;
    let from = named + u64::from(settings::unix_address_name()) + u64::from(FAMILY_BYTES);
    // SAFETY: by contract; the helper checks the source.
    if unsafe { bpf_probe_read_kernel(destination.cast(), length, from as *const _) } == 0 { length } else { 0 }
}
