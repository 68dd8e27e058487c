//! rustls as the kernel half sees it: which connection each traffic key belongs to, and where a record to encrypt has what.

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

/// Where the argument of `encrypt` has what: bytes from its beginning. The compiler decides it. Value of the map `RUSTLS_LAYOUTS`, by
/// attachment; without an entry those below are tried.
#[repr(C)]
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub struct RustlsLayout {
    /// An array of slices: pointer and count; a pointer that is 0 says that there is one slice instead. [`ABSENT`]: there always is.
    pub slices: u8,
    /// The one slice: pointer and length.
    pub slice: u8,
    /// Which of the array's bytes are meant, from one bound up to the other. The lower one comes first, whichever that is.
    pub bounds: [u8; 2],
    /// One byte: the wire's (RFC 8446 section 5.1), or the library's own numbering.
    pub content_type: u8,
    /// Two bytes: the wire's, or the library's own numbering.
    pub version: u8,
    /// Not 0: it is the last that is looked for, and no more samples are wanted.
    pub is_final: u8,
    pub reserved: u8,
}

impl RustlsLayout {
    /// Of rustls 0.23, as compilers since 2024 lay it out.
    pub const USUAL: Self = Self { slices: 0, slice: 8, bounds: [16, 24], content_type: 32, version: 34, is_final: 0, reserved: 0 };
    /// Until 0.22 there is one slice, always.
    pub const UNTIL_0_22: Self = Self { slices: ABSENT, slice: 0, bounds: [0, 0], content_type: 16, version: 18, is_final: 0, reserved: 0 };
}

/// See [`RustlsLayout::slices`].
pub const ABSENT: u8 = u8::MAX;

/// Words of a sampled argument. It has five or six, whatever their order.
pub const SAMPLE_WORDS: usize = 7;

/// Samples of one attachment that wait for the agent.
pub const SAMPLES: u32 = 4;

/// Key of the map `RUSTLS_SAMPLES`.
#[repr(C)]
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub struct RustlsSampleKey {
    pub attachment: u64,
    /// Below [`SAMPLES`].
    pub slot: u64,
}

/// An argument of `encrypt` that does not have the layout that was expected, and a few bytes of what it points to: the agent finds the
/// layout in it.
#[repr(C)]
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct RustlsSample {
    pub words: [u64; SAMPLE_WORDS],
    /// What each word points to, if anything: the beginning of a plaintext, or the first of an array of slices. Zeros: nothing readable.
    pub behind: [[u64; 2]; SAMPLE_WORDS],
    /// What the first word of that points to.
    pub further: [u64; SAMPLE_WORDS],
    /// The record's number under its key.
    pub sequence: u64,
}

const _: () = {
    use core::mem::size_of;
    assert!(size_of::<RustlsLayout>() == 8);
    assert!(size_of::<RustlsSampleKey>() == 16);
    assert!(size_of::<RustlsSample>() == 8 * (4 * SAMPLE_WORDS + 1));
    assert!(size_of::<RustlsKey>() == 16);
    assert!(size_of::<RustlsKeyState>() == 48);
};
