//! The kernel half's table of rustls traffic keys: which connection each belongs to.

/// Key of the map `RUSTLS_KEYS`: a boxed object that encrypts or decrypts the records of one direction under one traffic key.
#[repr(C)]
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub struct RustlsKey {
    /// Address of the object. Connections move in memory, these do not; and they are used again at once by others.
    pub object: u64,
    pub tgid: u32,
    /// [`crate::identity::Direction`].
    pub direction: u32,
}

/// Value of the map `RUSTLS_KEYS`.
#[repr(C)]
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct RustlsKeyState {
    /// The connection's session: a number with [`SESSION_BIT`].
    pub session: u64,
    /// Tells the object's content from that of a later one at its address.
    pub fingerprint: u64,
    /// Sequence number of the next record; [`UNSEEN`] for a key that was only seen beside the other direction's.
    pub next_sequence: u64,
    /// Object of the other direction; 0 = unknown.
    pub peer: u64,
    /// Attach cookie of the probe that saw the last record.
    pub attachment: u64,
    /// Bytes of the object.
    pub object_size: u32,
    pub reserved: u32,
}

/// Set in the numbers of rustls sessions.
pub const SESSION_BIT: u64 = 1 << 63;

/// Whether a session is one of rustls: other sessions are known by pointers.
pub const fn is_session(session: u64) -> bool {
    session & SESSION_BIT != 0
}

/// See [`RustlsKeyState::next_sequence`]. No key encrypts so many records.
pub const UNSEEN: u64 = u64::MAX;

const _: () = {
    use core::mem::size_of;
    assert!(size_of::<RustlsKey>() == 16);
    assert!(size_of::<RustlsKeyState>() == 48);
};
