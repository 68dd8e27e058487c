//! Uprobe programs of TLS libraries.

pub(crate) mod buffer_call;
pub(crate) mod frame;
pub(crate) mod gnutls;
pub(crate) mod go;
pub(crate) mod life;
pub(crate) mod operation;
pub(crate) mod programs;
pub(crate) mod record_call;
pub(crate) mod rustls;
pub(crate) mod rustls_join;
mod rustls_record;
