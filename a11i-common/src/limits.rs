//! Sizes that both sides agree on, each with the reason for its number.

/// Payload capacities of data records in bytes; the smallest that fits is reserved. The record is *payload
/// plus header*, so that a whole TLS record of 16,384 bytes fits the 16 KiB tier. Reserving the largest
/// for everything makes a ring lose data at a few dozen events in flight.
pub const TIERS: [usize; 5] = [256, 1024, 4096, 16_384, LARGEST_TIER];

/// The chunk that long calls are cut into: fewer records than 16 KiB ones, and 511 of them fit the default ring at once.
pub const LARGEST_TIER: usize = 65_536;

/// Most chunks of one library call: 128 x 64 KiB = 8 MiB, and small enough for the verifier's loop bound on every kernel.
pub const CHUNKS_PER_CALL: usize = 128;

/// Default limit of bytes copied of one library call. Requests beyond it are cut and say so.
pub const DEFAULT_CALL_LIMIT: u64 = (CHUNKS_PER_CALL * LARGEST_TIER) as u64;

/// A connection that does not look like HTTP in its first bytes of either direction is not copied further.
pub const PROTOCOL_PROBE_BYTES: u64 = 64;

/// Longest server name: 255 bytes is the limit of a DNS name (RFC 1035 section 2.3.4), and one for the terminating zero.
pub const SERVER_NAME_BYTES: usize = 256;

/// Default size of the ring buffer in bytes; stated apart from the memory budgets.
pub const DEFAULT_RING_BYTES: u32 = 32 * 1024 * 1024;

/// Sessions tracked at once. A full table is counted (`table_full`), never evicted silently.
pub const SESSIONS: u32 = 65_536;

/// Threads inside (or recently inside) a probed call.
pub const THREADS: u32 = 32_768;

/// Nested or interleaved calls remembered per thread: TLS inside TLS is two, callbacks rarely add a third.
pub const FRAMES_PER_THREAD: usize = 4;

/// Calls of Go functions between entry and return: as many as sessions, since each may have a reader that waits.
pub const GO_CALLS: u32 = SESSIONS;

/// Go connections between their handshake and their first write: milliseconds, so that this is thousands of handshakes in a second.
pub const GO_HANDSHAKES: u32 = 4_096;

/// Traffic keys of rustls connections, two of each: they outnumber connections only while keys change.
pub const RUSTLS_KEYS: u32 = SESSIONS;

/// Threads inside (or recently inside) rustls: its programs have a thread per core, as a rule.
pub const RUSTLS_THREADS: u32 = 8_192;

/// Longest plaintext of a TLS record (RFC 8446 section 5.1).
pub const TLS_RECORD_BYTES: u64 = 16_384;

/// Slices of one record's plaintext that are copied, each by a run of a program that the one before goes on in: the kernel allows 33 in a
/// row, and one of them may have looked for the connection.
pub const RUSTLS_SLICES: u32 = 31;

/// Attachments of functions that were found without names: on probation, or with a layout of their own.
pub const PROBATION: u32 = 8_192;

/// Arguments with an unexpected layout that wait for the agent, over all attachments: programs whose layout is unknown are few.
pub const RUSTLS_SAMPLES: u32 = 64;

/// Processes in the watched set.
pub const PROCESSES: u32 = 32_768;

/// Verdicts of the agent: at most one per session.
pub const DECISIONS: u32 = SESSIONS;

/// Pairs of file and process whose hits are counted.
pub const HITS: u32 = 16_384;

/// Pairs of attachments of one file that were found out and not yet ended.
pub const DUPLICATES: u32 = 1_024;

/// Ends of paths and server names that the kernel half knows: the tables have some dozens, configuration adds some more.
pub const LLM_PATHS: u32 = 1_024;
pub const LLM_NAMES: u32 = 4_096;

/// What is kept of an undecided request that carries no body by its method (anything but `POST` and `PUT`), its answer included.
/// `POST` and `PUT` may use one call limit.
pub const UNDECIDED_OTHER_BYTES: u32 = 4_096;

/// What is copied of what the server of an HTTP/2 connection sends while nobody has said what the newest request is: some dozen heads, or a few
/// small answers.
pub const UNDECIDED_ANSWER_BYTES: u64 = 64 * 1024;

/// What is copied of each transfer of an HTTP/2 connection whose requests so far are no LLM traffic: the heads of answers, as a rule, and of
/// data what their frames begin with. Without them nobody could read the fields of a later call, which refer to earlier ones.
pub const HTTP2_GLANCE_BYTES: u64 = 1_024;

/// Frames of one transfer among which a request's head is looked for: what clients write at once is a few frames.
pub const HTTP2_FRAMES: u32 = 8;

/// Bytes of undecided exchanges that are copied in a second on the whole node; what comes beyond is a gap.
pub const UNDECIDED_BYTES_PER_SECOND: u64 = 64 * 1024 * 1024;

/// Bytes of a request's first line in which the end of its path is looked for: they lie on a stack of 512. A longer path is left to the agent.
pub const REQUEST_LINE_BYTES: usize = 128;

/// `sun_path` of Linux (108 bytes), rounded up so that the record ends at a word.
pub const UNIX_PATH_BYTES: usize = 112;

/// What is copied of a ClientHello: with post-quantum key shares it may be longer, but server name and ALPN come before those in what
/// clients send, and what does not fit is a name unknown.
pub const CLIENT_HELLO_BYTES: usize = 1_024;

/// Sockets that carry HTTP followed at once, so that their end is told: one session each.
pub const SOCKETS: u32 = SESSIONS;

/// Sockets that carry a TLS session, so that nobody else's records are looked for on them: one each.
pub const TLS_SOCKETS: u32 = SESSIONS;

/// Writes whose socket is not known yet, by thread and length: a thread has a few, for as long as it takes to send them.
pub const UNSENT: u32 = 8_192;

/// Goroutines in the first write of a connection.
pub const GO_WRITERS: u32 = 8_192;

/// Shortest plaintext by whose length a record is recognised. Messages that end a handshake (52 bytes) and frames of HTTP/2 without content (22)
/// are shorter: they look alike in all connections.
pub const TELLING_RECORD_BYTES: u64 = 64;

/// Records at the beginning of a socket call among which the first is looked for that is long enough: before it may come what ends a handshake,
/// of a change of the cipher and an encrypted message, and a short frame.
pub const RECORDS_LOOKED_AT: u32 = 4;

/// Runs of the program that copies the pieces of a vectored socket call: each is a tail call, of which the kernel follows 33, and long pieces
/// take two more. What comes after is a gap.
pub const SOCKET_RUNS: u64 = 28;

/// Small pieces that one run puts into one record, and their bytes: gRPC sends a message in pieces of 1 KiB and less, a hundred and more of them.
pub const SOCKET_GATHERED: u32 = 16;
pub const SOCKET_GATHERED_BYTES: u64 = 8 * 1024;
