//! What a probed function does. On uprobe-multi links the attach cookie says it; single probes have a program each.

use a11i_common::probe::Operation;
use aya_ebpf::{EbpfContext, helpers::generated::bpf_get_attach_cookie};

use crate::settings;

/// The attach cookie; 0 where the kernel has none (before 5.15: the call is dead code there and not verified).
#[inline(always)]
pub(crate) fn cookie<C: EbpfContext>(ctx: &C) -> u64 {
    if settings::has_attach_cookie() == 0 {
        return 0;
    }
    // SAFETY: the context is the one the kernel passed in.
    unsafe { bpf_get_attach_cookie(ctx.as_ptr()) }
}

pub(crate) const WRITE: u8 = Operation::Write as u8;
pub(crate) const READ: u8 = Operation::Read as u8;
pub(crate) const WRITE_EX: u8 = Operation::WriteEx as u8;
pub(crate) const READ_EX: u8 = Operation::ReadEx as u8;
pub(crate) const WRITE_EX2: u8 = Operation::WriteEx2 as u8;
pub(crate) const WRITE_EARLY_DATA: u8 = Operation::WriteEarlyData as u8;
pub(crate) const READ_EARLY_DATA: u8 = Operation::ReadEarlyData as u8;
pub(crate) const FREE: u8 = Operation::Free as u8;
pub(crate) const CLEAR: u8 = Operation::Clear as u8;
pub(crate) const SHUTDOWN: u8 = Operation::Shutdown as u8;
pub(crate) const CONTROL: u8 = Operation::Control as u8;
pub(crate) const SET_HOST_NAME: u8 = Operation::SetHostName as u8;
pub(crate) const GO_WRITE: u8 = Operation::GoWrite as u8;
pub(crate) const GO_READ: u8 = Operation::GoRead as u8;
pub(crate) const GO_WRITE_RETURN: u8 = Operation::GoWriteReturn as u8;
pub(crate) const GO_READ_RETURN: u8 = Operation::GoReadReturn as u8;
pub(crate) const GO_READ_RETURN_KEPT: u8 = Operation::GoReadReturnKept as u8;
pub(crate) const GO_CLOSE: u8 = Operation::GoClose as u8;
pub(crate) const GO_CLOSE_WRITE: u8 = Operation::GoCloseWrite as u8;
pub(crate) const GO_HANDSHAKE: u8 = Operation::GoHandshake as u8;
pub(crate) const GO_OUTER_WRITE: u8 = Operation::GoOuterWrite as u8;
pub(crate) const GO_OUTER_HANDSHAKE: u8 = Operation::GoOuterHandshake as u8;
pub(crate) const GO_OUTER_READ: u8 = Operation::GoOuterRead as u8;
pub(crate) const GO_OUTER_CLOSE: u8 = Operation::GoOuterClose as u8;
pub(crate) const GNUTLS_SEND: u8 = Operation::GnuTlsSend as u8;
pub(crate) const GNUTLS_SEND2: u8 = Operation::GnuTlsSend2 as u8;
pub(crate) const GNUTLS_RECV: u8 = Operation::GnuTlsRecv as u8;
pub(crate) const GNUTLS_SEND_EARLY_DATA: u8 = Operation::GnuTlsSendEarlyData as u8;
pub(crate) const GNUTLS_UNCORK: u8 = Operation::GnuTlsUncork as u8;
pub(crate) const GNUTLS_RECV_PACKET: u8 = Operation::GnuTlsRecvPacket as u8;
pub(crate) const GNUTLS_SERVER_NAME: u8 = Operation::GnuTlsServerName as u8;
pub(crate) const RUSTLS_ENCRYPT: u8 = Operation::RustlsEncrypt as u8;
pub(crate) const RUSTLS_DECRYPT: u8 = Operation::RustlsDecrypt as u8;

/// 0 = write, 1 = read.
#[inline(always)]
pub(crate) fn direction(operation: u8) -> usize {
    (operation == READ
        || operation == READ_EX
        || operation == READ_EARLY_DATA
        || operation == GO_READ
        || operation == GO_OUTER_READ
        || operation == GO_READ_RETURN
        || operation == GO_READ_RETURN_KEPT
        || operation == GNUTLS_RECV
        || operation == GNUTLS_RECV_PACKET) as usize
}
