//! `struct sock`: what kind of socket it is, and its ends. Offsets come from the running kernel's BTF.

use a11i_common::event::SocketEnds;

use crate::{settings, task::read_member};

/// `AF_UNIX`, `AF_INET`, `AF_INET6`, `SOCK_STREAM` of the Linux ABI.
pub(crate) const UNIX: u16 = 1;
const INET: u16 = 2;
const INET6: u16 = 10;
const STREAM: u16 = 1;

/// The address family of a stream socket; `None` for all others.
#[inline(always)]
pub(crate) fn stream_family(sock: u64) -> Option<u16> {
    let family = read_member::<u16>(sock, settings::sock_family())?;
    if family != INET && family != INET6 && family != UNIX {
        return None;
    }
    if read_member::<u16>(sock, settings::sock_type())? == STREAM { Some(family) } else { None }
}

/// `struct sock` of a `struct socket`.
#[inline(always)]
pub(crate) fn of_socket(socket: u64) -> Option<u64> {
    read_member::<u64>(socket, settings::socket_sk()).filter(|sock| *sock != 0)
}

/// Names the session of a socket. The end of a TCP socket is always told; of a Unix socket it is not everywhere, so that its inode number
/// takes the place of the upper bits, which are set in every kernel address: another socket at the same address is another session.
#[inline(always)]
pub(crate) fn session_of(sock: u64, family: u16) -> u64 {
    if family != UNIX {
        return sock;
    }
    let inode = read_member::<u64>(sock, settings::sock_socket()).and_then(|socket| read_member::<u64>(socket, settings::socket_inode()));
    (sock & 0x0000_ffff_ffff_ffff) | (inode.unwrap_or(0) << 48)
}

/// Tells this socket from others: of a kernel address, the part that differs. Not 0.
#[inline(always)]
pub(crate) fn mark(sock: u64) -> u32 {
    // Objects of the kernel's lie 64 bytes apart at least.
    (sock >> 6) as u32 | 1 << 31
}

/// Both ends of an Internet socket.
#[inline(always)]
pub(crate) fn ends(sock: u64, family: u16) -> SocketEnds {
    let mut ends = SocketEnds { family, ..SocketEnds { family: 0, local_port: 0, remote_port: 0, local: [0; 16], remote: [0; 16] } };
    if family == UNIX {
        return ends;
    }
    ends.local_port = read_member(sock, settings::sock_local_port()).unwrap_or(0);
    ends.remote_port = read_member::<u16>(sock, settings::sock_remote_port()).map_or(0, u16::from_be);
    if family == INET6 {
        ends.local = read_member(sock, settings::sock_local_v6()).unwrap_or([0; 16]);
        ends.remote = read_member(sock, settings::sock_remote_v6()).unwrap_or([0; 16]);
    } else {
        let v4 = |offset| read_member::<[u8; 4]>(sock, offset).unwrap_or([0; 4]);
        ends.local[..4].copy_from_slice(&v4(settings::sock_local_v4()));
        ends.remote[..4].copy_from_slice(&v4(settings::sock_remote_v4()));
    }
    ends
}
