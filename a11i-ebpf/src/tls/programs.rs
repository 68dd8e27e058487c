//! The programs themselves, each twice: for uprobe-multi links (6.6+, the cookie says which function was hit) and
//! for single probes (one program per function, since cookies begin with 5.15).
//!
//! Each has a tail call, some of them one that never happens ([`keep_own_stack`]).

use a11i_common::probe::{LONG_TRANSFER, OPERATION_BITS};
use aya_ebpf::{
    EbpfContext,
    macros::{uprobe, uretprobe},
    maps::ProgramArray,
    programs::{ProbeContext, RetProbeContext},
};

use super::{buffer_call, go, life, operation, rustls, rustls_join};
use crate::{
    maps::{PROGRAMS, PROGRAMS_MULTI},
    settings,
};

/// Keeps the program on the stack of its own thread.
///
/// From 6.13 on the kernel gives a tracing program that uses 64 bytes of stack or more a *private* stack, one per CPU. Uprobe programs are
/// preemptible, and nothing keeps two threads from being in the same one on the same CPU: there they overwrite each other's variables (seen
/// on 7.2: keys that are not found, records that are reserved and never submitted). A program with a tail call gets none
/// (`check_max_stack_depth` in the kernel's `verifier.c`), and it counts although it is dead code: the agent never sets the condition.
#[inline(always)]
fn keep_own_stack<C: EbpfContext>(ctx: &C, programs: &ProgramArray) {
    if settings::never() != 0 {
        // SAFETY: nothing here has to be dropped.
        unsafe { programs.tail_call(ctx, LONG_TRANSFER) };
    }
}

/// Entry of any buffer function, through a multi link.
#[uprobe(multi)]
pub(crate) fn tls_enter_multi(ctx: ProbeContext) {
    keep_own_stack(&ctx, &PROGRAMS_MULTI);
    let cookie = operation::cookie(&ctx);
    let operation = (cookie & ((1 << OPERATION_BITS) - 1)) as u8;
    buffer_call::enter(&ctx, operation, buffer_call::attachment_of(cookie));
}

/// Return of any buffer function, through a multi link.
#[uretprobe(multi)]
pub(crate) fn tls_leave_multi(ctx: RetProbeContext) {
    buffer_call::leave(&ctx, &PROGRAMS_MULTI);
}

/// Entry of any session-life function, through a multi link.
#[uprobe(multi)]
pub(crate) fn session_life_multi(ctx: ProbeContext) {
    keep_own_stack(&ctx, &PROGRAMS_MULTI);
    let cookie = operation::cookie(&ctx);
    let operation = (cookie & ((1 << OPERATION_BITS) - 1)) as u8;
    life::enter(&ctx, operation, buffer_call::attachment_of(cookie));
}

/// Entry of a Go function that transfers, through a multi link.
#[uprobe(multi)]
pub(crate) fn go_enter_multi(ctx: ProbeContext) {
    keep_own_stack(&ctx, &PROGRAMS_MULTI);
    let cookie = operation::cookie(&ctx);
    let operation = (cookie & ((1 << OPERATION_BITS) - 1)) as u8;
    go::enter(&ctx, &PROGRAMS_MULTI, operation, buffer_call::attachment_of(cookie));
}

/// Return instructions of those, through a multi link.
#[uprobe(multi)]
pub(crate) fn go_leave_multi(ctx: ProbeContext) {
    keep_own_stack(&ctx, &PROGRAMS_MULTI);
    let cookie = operation::cookie(&ctx);
    go::leave(&ctx, &PROGRAMS_MULTI, (cookie & ((1 << OPERATION_BITS) - 1)) as u8);
}

/// Begin and end of a Go connection, through a multi link.
#[uprobe(multi)]
pub(crate) fn go_life_multi(ctx: ProbeContext) {
    keep_own_stack(&ctx, &PROGRAMS_MULTI);
    let cookie = operation::cookie(&ctx);
    let operation = (cookie & ((1 << OPERATION_BITS) - 1)) as u8;
    go::begin_or_end(&ctx, operation, buffer_call::attachment_of(cookie));
}

/// Reached from the programs that copy only: a transfer of several records.
#[uretprobe(multi)]
pub(crate) fn tls_leave_long_multi(ctx: RetProbeContext) {
    keep_own_stack(&ctx, &PROGRAMS_MULTI);
    buffer_call::leave_long();
}

/// The same for single probes.
#[uretprobe]
pub(crate) fn tls_leave_long(ctx: RetProbeContext) {
    keep_own_stack(&ctx, &PROGRAMS);
    buffer_call::leave_long();
}

#[uretprobe]
pub(crate) fn tls_leave(ctx: RetProbeContext) {
    buffer_call::leave(&ctx, &PROGRAMS);
}

macro_rules! single {
    ($($name:ident: $module:ident, $operation:ident;)*) => {$(
        #[uprobe]
        pub(crate) fn $name(ctx: ProbeContext) {
            keep_own_stack(&ctx, &PROGRAMS);
            $module::enter(&ctx, operation::$operation, buffer_call::attachment_of(operation::cookie(&ctx)));
        }
    )*};
}

single! {
    tls_write: buffer_call, WRITE;
    tls_read: buffer_call, READ;
    tls_write_ex: buffer_call, WRITE_EX;
    tls_read_ex: buffer_call, READ_EX;
    tls_write_ex2: buffer_call, WRITE_EX2;
    tls_write_early_data: buffer_call, WRITE_EARLY_DATA;
    tls_read_early_data: buffer_call, READ_EARLY_DATA;
    session_free: life, FREE;
    session_clear: life, CLEAR;
    session_shutdown: life, SHUTDOWN;
    session_control: life, CONTROL;
    session_set_host_name: life, SET_HOST_NAME;
    gnutls_send: buffer_call, GNUTLS_SEND;
    gnutls_send2: buffer_call, GNUTLS_SEND2;
    gnutls_recv: buffer_call, GNUTLS_RECV;
    gnutls_send_early_data: buffer_call, GNUTLS_SEND_EARLY_DATA;
    gnutls_uncork: buffer_call, GNUTLS_UNCORK;
    gnutls_recv_packet: buffer_call, GNUTLS_RECV_PACKET;
    gnutls_server_name: life, GNUTLS_SERVER_NAME;
}

macro_rules! single_go {
    ($($name:ident: $operation:ident;)*) => {$(
        #[uprobe]
        pub(crate) fn $name(ctx: ProbeContext) {
            keep_own_stack(&ctx, &PROGRAMS);
            go::hit(&ctx, &PROGRAMS, operation::$operation, buffer_call::attachment_of(operation::cookie(&ctx)));
        }
    )*};
}

single_go! {
    go_write: GO_WRITE;
    go_read: GO_READ;
    go_write_return: GO_WRITE_RETURN;
    go_read_return: GO_READ_RETURN;
    go_read_return_kept: GO_READ_RETURN_KEPT;
    go_close: GO_CLOSE;
    go_close_write: GO_CLOSE_WRITE;
    go_handshake: GO_HANDSHAKE;
    go_outer_write: GO_OUTER_WRITE;
    go_outer_handshake: GO_OUTER_HANDSHAKE;
    go_outer_read: GO_OUTER_READ;
    go_outer_close: GO_OUTER_CLOSE;
}

/// Entry of any rustls function, through a multi link.
#[uprobe(multi)]
pub(crate) fn rustls_enter_multi(ctx: ProbeContext) {
    keep_own_stack(&ctx, &PROGRAMS_MULTI);
    let cookie = operation::cookie(&ctx);
    let (operation, attachment) = ((cookie & ((1 << OPERATION_BITS) - 1)) as u8, buffer_call::attachment_of(cookie));
    if operation == operation::RUSTLS_ENCRYPT {
        rustls::encrypt(&ctx, &PROGRAMS_MULTI, attachment);
    } else if operation == operation::RUSTLS_DECRYPT {
        rustls::decrypt(&ctx, attachment);
    } else {
        rustls::drop_key(&ctx, attachment);
    }
}

/// The return instruction of `decrypt`, through a multi link.
#[uprobe(multi)]
pub(crate) fn rustls_exit_multi(ctx: ProbeContext) {
    rustls::decrypted(&ctx, &PROGRAMS_MULTI);
}

/// Reached from the two above only.
#[uprobe(multi)]
pub(crate) fn rustls_join_multi(ctx: ProbeContext) {
    rustls_join::join(&ctx, &PROGRAMS_MULTI);
}

/// Reached from those above only.
#[uprobe(multi)]
pub(crate) fn rustls_slice_multi(ctx: ProbeContext) {
    rustls::slice(&ctx, &PROGRAMS_MULTI);
}

#[uprobe]
pub(crate) fn rustls_encrypt(ctx: ProbeContext) {
    rustls::encrypt(&ctx, &PROGRAMS, buffer_call::attachment_of(operation::cookie(&ctx)));
}

#[uprobe]
pub(crate) fn rustls_decrypt(ctx: ProbeContext) {
    keep_own_stack(&ctx, &PROGRAMS);
    rustls::decrypt(&ctx, buffer_call::attachment_of(operation::cookie(&ctx)));
}

#[uprobe]
pub(crate) fn rustls_drop(ctx: ProbeContext) {
    keep_own_stack(&ctx, &PROGRAMS);
    rustls::drop_key(&ctx, buffer_call::attachment_of(operation::cookie(&ctx)));
}

#[uprobe]
pub(crate) fn rustls_decrypt_exit(ctx: ProbeContext) {
    rustls::decrypted(&ctx, &PROGRAMS);
}

#[uprobe]
pub(crate) fn rustls_join(ctx: ProbeContext) {
    rustls_join::join(&ctx, &PROGRAMS);
}

#[uprobe]
pub(crate) fn rustls_slice(ctx: ProbeContext) {
    rustls::slice(&ctx, &PROGRAMS);
}
