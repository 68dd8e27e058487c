//! The programs themselves, each twice: for uprobe-multi links (6.6+, the cookie says which function was hit) and
//! for single probes (one program per function, since cookies begin with 5.15).

use a11i_common::probe::OPERATION_BITS;
use aya_ebpf::{
    macros::{uprobe, uretprobe},
    programs::{ProbeContext, RetProbeContext},
};

use super::{buffer_call, life, operation};
use crate::maps::{PROGRAMS, PROGRAMS_MULTI};

/// Entry of any buffer function, through a multi link.
#[uprobe(multi)]
pub(crate) fn tls_enter_multi(ctx: ProbeContext) {
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
    let cookie = operation::cookie(&ctx);
    let operation = (cookie & ((1 << OPERATION_BITS) - 1)) as u8;
    life::enter(&ctx, operation, buffer_call::attachment_of(cookie));
}

/// Reached from [`tls_leave_multi`] only.
#[uretprobe(multi)]
pub(crate) fn tls_leave_long_multi(_ctx: RetProbeContext) {
    buffer_call::leave_long();
}

/// Reached from [`tls_leave`] only.
#[uretprobe]
pub(crate) fn tls_leave_long(_ctx: RetProbeContext) {
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
}
