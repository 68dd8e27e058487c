//! Attach cookies: what a probed function does and which attachment it belongs to.

/// What a probed function does: its arguments and what it returns.
#[repr(u8)]
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub enum Operation {
    /// `int SSL_write(SSL *, const void *buf, int num)`
    Write = 1,
    /// `int SSL_read(SSL *, void *buf, int num)`
    Read = 2,
    /// `int SSL_write_ex(SSL *, const void *buf, size_t num, size_t *written)`
    WriteEx = 3,
    /// `int SSL_read_ex(SSL *, void *buf, size_t num, size_t *readbytes)`
    ReadEx = 4,
    /// `int SSL_write_ex2(SSL *, const void *buf, size_t num, uint64_t flags, size_t *written)`
    WriteEx2 = 5,
    /// `int SSL_write_early_data(SSL *, const void *buf, size_t num, size_t *written)`
    WriteEarlyData = 6,
    /// `int SSL_read_early_data(SSL *, void *buf, size_t num, size_t *readbytes)`: 0 error, 1 success, 2 finished
    ReadEarlyData = 7,
    /// `void SSL_free(SSL *)`
    Free = 8,
    /// `int SSL_clear(SSL *)`
    Clear = 9,
    /// `int SSL_shutdown(SSL *)`
    Shutdown = 10,
    /// `long SSL_ctrl(SSL *, int cmd, long larg, void *parg)`: cmd 55 sets the server name
    Control = 11,
    /// `int SSL_set_tlsext_host_name(SSL *, const char *name)` where it is a function (BoringSSL)
    SetHostName = 12,
    /// `ssize_t gnutls_record_send(session, const void *data, size_t size)` and its kin: bytes taken, or a negative error
    GnuTlsSend = 32,
    /// `ssize_t gnutls_record_send2(session, const void *data, size_t size, …)`, to which newer versions' `gnutls_record_send` jumps: apart
    /// from it, because one function that is entered twice without a return was left without one
    GnuTlsSend2 = 33,
    /// `ssize_t gnutls_record_recv(session, void *data, size_t size)` and its kin: bytes read, 0 at the end, or a negative error
    GnuTlsRecv = 34,
    /// `ssize_t gnutls_record_send_early_data(session, const void *data, size_t size)`: 0 when all was taken
    GnuTlsSendEarlyData = 35,
    /// `int gnutls_record_uncork(session, unsigned flags)`: sends what earlier calls took, through `gnutls_record_send`
    GnuTlsUncork = 36,
    /// `ssize_t gnutls_record_recv_packet(session, gnutls_packet_t *)`: bytes in a packet whose inside is the library's own
    GnuTlsRecvPacket = 37,
    /// `int gnutls_server_name_set(session, gnutls_server_name_type_t, const void *name, size_t length)`
    GnuTlsServerName = 38,
    /// rustls, `MessageEncrypter::encrypt(out, self, message, sequence)`: plaintext of one record
    RustlsEncrypt = 48,
    /// rustls, `MessageDecrypter::decrypt(out, self, message, sequence)`: the record as it came
    RustlsDecrypt = 49,
    /// The return instruction of [`Self::RustlsDecrypt`]: the record's plaintext
    RustlsDecryptExit = 50,
    /// rustls, destructor of a key: `drop(self)`
    RustlsDrop = 51,
    /// `func (c *crypto/tls.Conn) Write(b []byte) (int, error)` of Go
    GoWrite = 64,
    /// `func (c *crypto/tls.Conn) Read(b []byte) (int, error)` of Go
    GoRead = 65,
    /// A return instruction of [`Self::GoWrite`]'s function
    GoWriteReturn = 66,
    /// A return instruction of [`Self::GoRead`]'s function
    GoReadReturn = 67,
    /// `func (c *crypto/tls.Conn) Close() error` of Go
    GoClose = 68,
    /// `func (c *crypto/tls.Conn) CloseWrite() error` of Go
    GoCloseWrite = 69,
    /// `func (c *crypto/tls.Conn) clientHandshake(…) error` of Go, and `serverHandshake`: a connection begins
    GoHandshake = 70,
    /// As [`Self::GoReadReturn`], where the function keeps its arguments in their slots above the return address
    GoReadReturnKept = 71,
    /// As [`Self::GoWrite`], of a type whose first word is the connection (`UConn` of uTLS)
    GoOuterWrite = 72,
    /// As [`Self::GoHandshake`], of such a type
    GoOuterHandshake = 73,
    /// As [`Self::GoRead`], of such a type
    GoOuterRead = 74,
    /// As [`Self::GoClose`], of such a type
    GoOuterClose = 75,
}

impl Operation {
    /// Whether a return probe is needed too: only then is it known what was transferred.
    pub const fn has_return(self) -> bool {
        (self as u8) < Self::Free as u8 || (Self::GnuTlsSend as u8 <= self as u8 && (self as u8) < Self::GnuTlsServerName as u8)
    }
}

/// Low bits of a cookie: the [`Operation`]. The rest: the attachment.
pub const OPERATION_BITS: u32 = 8;

/// The cookie of one probe.
pub const fn cookie(attachment: u64, operation: Operation) -> u64 {
    (attachment << OPERATION_BITS) | operation as u64
}

/// Indexes into the maps `PROGRAMS` and `PROGRAMS_MULTI`: the program that copies calls which take several records.
pub const LONG_TRANSFER: u32 = 0;
/// The program that finds the connection of a rustls key.
pub const RUSTLS_JOIN: u32 = 1;
/// The program that copies a slice of a rustls record, and goes on in itself with the next.
pub const RUSTLS_SLICE: u32 = 2;
/// How many there are.
pub const PROGRAMS: u32 = 3;
/// Index into the maps of programs of sockets, beside [`LONG_TRANSFER`]: the program that copies the next piece of a vectored call.
pub const NEXT_SEGMENT: u32 = 1;
/// How many there are of sockets.
pub const SOCKET_PROGRAMS: u32 = 2;
