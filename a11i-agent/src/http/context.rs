//! What every step of a connection's parser needs and none owns.

use a11i_common::identity::BootTime;

use super::{ConnectionNotice, ExchangeId, HttpEvent, HttpEventKind, HttpSettings};

pub(super) struct Context<'a> {
    pub(super) settings: &'a HttpSettings,
    pub(super) notices: &'a mut Vec<ConnectionNotice>,
    pub(super) sink: &'a mut dyn FnMut(HttpEvent<'_>),
}

pub(super) fn emit(context: &mut Context<'_>, exchange: ExchangeId, time: BootTime, kind: HttpEventKind<'_>) {
    (context.sink)(HttpEvent { exchange, time, kind });
}
