//! Traffic without TLS, and what sockets tell about TLS.
//!
//! Two front ends give the same records: kprobes on the socket functions of TCP and Unix sockets, and the raw tracepoints `sock_send_length`
//! and `sock_recv_length` (6.3+), which are hit by socket calls alone and by no other system call. What a call transferred is looked at when
//! it is over. A socket that does not begin like HTTP costs that look at four bytes; nothing is remembered of it.

pub(crate) mod binding;
pub(crate) mod call;
mod gather;
mod iterator;
mod kprobes;
mod life;
mod peer;
mod sock;
mod system_call;
mod tls;
mod tracepoints;
mod transfer;
pub(crate) mod unsent;
