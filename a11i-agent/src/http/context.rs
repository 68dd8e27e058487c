//! What every step of a connection's parser needs and none owns.

use a11i_common::identity::BootTime;

use super::{ConnectionNotice, ExchangeId, HttpEvent, HttpEventKind, HttpSettings, Interest};

pub(super) struct Context<'a> {
    pub(super) settings: &'a HttpSettings,
    pub(super) notices: &'a mut Vec<ConnectionNotice>,
    pub(super) sink: &'a mut dyn FnMut(HttpEvent<'_>) -> Interest,
    /// Bytes that the decoders of messages hold which come side by side.
    pub(super) decoders: &'a mut usize,
}

pub(super) fn emit(context: &mut Context<'_>, exchange: ExchangeId, time: BootTime, kind: HttpEventKind<'_>) {
    ask(context, exchange, time, kind);
}

/// The same, where the answer matters.
pub(super) fn ask(context: &mut Context<'_>, exchange: ExchangeId, time: BootTime, kind: HttpEventKind<'_>) -> Interest {
    (context.sink)(HttpEvent { exchange, time, kind })
}
