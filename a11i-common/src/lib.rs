//! What crosses the border between the kernel programs and the agent, and nothing else.
//!
//! # The wire contract
//!
//! Kernel programs write *records* to one ring buffer, native byte order, every record starting with
//! [`event::RecordHeader`]. A record's payload, if any, follows its fixed part directly; `payload_len`
//! says how many of its bytes are valid, the reserved record may be longer (see [`limits::TIERS`]).
//!
//! Plaintext travels as [`event::RecordKind::Data`] records. Each names its session (process, TLS session
//! pointer, generation), its direction and the **absolute offset** of its first byte in that direction's
//! stream, counted from the first byte seen. A byte that could not be copied still advances the offset: a
//! hole in the offsets is a loss, and `causes` says why. A session's last record carries both final
//! offsets, so that a loss at its end is seen too.
//!
//! Records of one direction of one session are submitted in the order in which the program made its
//! calls; records of different sessions interleave. Those of the two directions come in the order in which calls returned (where a
//! library's write is copied at its entry: began), so that an answer may come before its request where one thread reads and another writes.
//!
//! The agent treats records as untrusted input: [`decode::decode`] checks every length.
#![no_std]

pub mod decision;
pub mod event;
pub mod identity;
pub mod limits;
pub mod probation;
pub mod probe;
pub mod rustls;
pub mod session;
pub mod settings;

#[cfg(feature = "user")]
pub mod decode;
