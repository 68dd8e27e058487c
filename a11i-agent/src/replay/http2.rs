//! Records as one HTTP/2 connection (RFC 9113), as lively as libraries make them: everything that a peer may do besides is done, by seed.

use std::collections::VecDeque;

use a11i_common::identity::Direction;

use super::{Coding, Framed, hpack::Encoder, http1::one_line, pieces, record::Record, seed::Seed};

const PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";

/// What nobody may exceed who was not allowed to (section 6.5.2).
const LARGEST_FRAME: usize = 16_384;

// Frame types (section 6) and flags.
const DATA: u8 = 0;
const HEADERS: u8 = 1;
const PRIORITY: u8 = 2;
const RST_STREAM: u8 = 3;
const SETTINGS: u8 = 4;
const PUSH_PROMISE: u8 = 5;
const PING: u8 = 6;
const WINDOW_UPDATE: u8 = 8;
const CONTINUATION: u8 = 9;
const ACK: u8 = 0x1;
const END_STREAM: u8 = 0x1;
const END_HEADERS: u8 = 0x4;
const PADDED: u8 = 0x8;
const WITH_PRIORITY: u8 = 0x20;

/// Sizes of the header table that a peer asks for: none, small, the usual, and a browser's.
const TABLE_SIZES: [usize; 4] = [0, 200, 4096, 65_536];

/// Fields that HTTP/2 does not know (section 8.2.2), or that are set here.
const LEFT_OUT: [&str; 10] = [
    "connection",
    "keep-alive",
    "proxy-connection",
    "transfer-encoding",
    "upgrade",
    "host",
    "content-length",
    "content-encoding",
    "te",
    "http2-settings",
];

/// What a stream still has to send in one direction.
enum Step {
    Head { fields: Vec<(String, String)>, ends_stream: bool },
    Data { bytes: Vec<u8>, ends_stream: bool },
    Reset,
}

/// An exchange on its way.
struct Stream {
    id: u32,
    request: VecDeque<Step>,
    response: VecDeque<Step>,
    has_begun: bool,
}

/// Both directions of the connection.
struct Wire {
    framed: Framed,
    client: Encoder,
    server: Encoder,
    /// The next stream that the server promises (even ids).
    promised: u32,
}

/// How the exchanges of a connection go.
#[derive(Clone, Copy)]
pub(super) struct Course {
    /// Exchanges at a time.
    pub(super) side_by_side: usize,
    pub(super) coding: Option<Coding>,
    /// The answers break off, by a reset or with the connection.
    pub(super) is_cut: bool,
}

/// These exchanges on one connection.
pub(super) fn connection(records: &[&Record], course: Course, seed: &mut Seed) -> Framed {
    let Course { side_by_side, coding, is_cut } = course;
    let mut wire = Wire { framed: Framed::default(), client: Encoder::new(), server: Encoder::new(), promised: 2 };
    wire.begin(seed);
    let mut streams: Vec<Stream> = Vec::with_capacity(records.len());
    let mut id = 1_u32;
    for record in records {
        streams.push(Stream::new(id, record, coding, is_cut, seed));
        id = id.saturating_add(if seed.below(4) == 0 { 4 } else { 2 });
    }
    // New streams in the order of their ids (section 5.1.1), everything else as it comes.
    while !streams.is_empty() {
        let newest = streams.iter().position(|stream| !stream.has_begun);
        let ready = newest.map_or(streams.len(), |newest| newest.saturating_add(1)).min(side_by_side.max(1));
        let at = seed.size(ready.saturating_sub(1));
        wire.noise(id, seed);
        if let Some(stream) = streams.get_mut(at) {
            wire.step(stream, seed);
            if stream.request.is_empty() && stream.response.is_empty() {
                streams.remove(at);
            }
        }
    }
    wire.framed
}

impl Stream {
    fn new(id: u32, record: &Record, coding: Option<Coding>, is_cut: bool, seed: &mut Seed) -> Self {
        let request = &record.request;
        let named = request.message.headers.iter().find(|(name, _)| name.eq_ignore_ascii_case("host"));
        let authority = named.map_or(&request.host, |(_, value)| value);
        let mut head = vec![
            field(":method", &request.method),
            field(":scheme", "https"),
            field(":authority", authority),
            field(":path", &request.path),
        ];
        if seed.below(2) == 0 {
            head.reverse();
        }
        // Bodies of requests are seldom coded.
        let request_coding = coding.filter(|_| seed.below(4) == 0);
        let response = &record.response;
        let status = vec![field(":status", &response.status.to_string())];
        Self {
            id,
            request: steps(head, &request.message.headers, &request.message.body, request_coding, false, seed),
            response: steps(status, &response.message.headers, &response.message.body, coding, is_cut, seed),
            has_begun: false,
        }
    }
}

/// A message's frames to be.
fn steps(
    mut head: Vec<(String, String)>,
    headers: &[(String, String)],
    body: &[u8],
    coding: Option<Coding>,
    is_cut: bool,
    seed: &mut Seed,
) -> VecDeque<Step> {
    let coded = coding.and_then(|coding| coding.apply(body).map(|coded| (coding.name, coded)));
    for (name, value) in headers {
        let name = one_line(name).to_ascii_lowercase();
        if !name.is_empty() && !name.starts_with(':') && !LEFT_OUT.contains(&name.as_str()) {
            head.push((name, one_line(value)));
        }
    }
    if let Some((name, _)) = &coded {
        head.push(field("content-encoding", name));
    }
    let body = coded.as_ref().map_or(body, |(_, coded)| coded);
    if seed.below(2) == 0 && !is_cut {
        head.push(field("content-length", &body.len().to_string()));
    }
    let mut out = VecDeque::new();
    let ends_with_head = body.is_empty() && !is_cut && seed.below(2) == 0;
    out.push_back(Step::Head { fields: head, ends_stream: ends_with_head });
    if ends_with_head {
        return out;
    }
    for piece in pieces(body, seed) {
        out.push_back(Step::Data { bytes: piece.to_vec(), ends_stream: false });
    }
    if is_cut {
        if seed.below(2) == 0 {
            out.push_back(Step::Reset);
        }
        return out;
    }
    match (seed.below(4), out.back_mut()) {
        (0, _) => out.push_back(Step::Head { fields: vec![field("x-trailer", "done"), field("grpc-status", "0")], ends_stream: true }),
        (1 | 2, Some(Step::Data { ends_stream, .. })) => *ends_stream = true,
        _ => out.push_back(Step::Data { bytes: Vec::new(), ends_stream: true }),
    }
    out
}

fn field(name: &str, value: &str) -> (String, String) {
    (name.to_owned(), one_line(value))
}

const CLIENT: Direction = Direction::Write;
const SERVER: Direction = Direction::Read;

impl Wire {
    /// Preface and settings; servers may be first.
    fn begin(&mut self, seed: &mut Seed) {
        let server_first = seed.below(2) == 0;
        if server_first {
            self.settings(SERVER, seed);
        }
        self.framed.push(CLIENT, PREFACE);
        self.settings(CLIENT, seed);
        if !server_first {
            self.settings(SERVER, seed);
        }
        self.frame(CLIENT, WINDOW_UPDATE, 0, 0, &983_041_u32.to_be_bytes());
    }

    /// Settings of one side, and the other's answer. How large a header table may be binds the *other* side's encoder.
    fn settings(&mut self, from: Direction, seed: &mut Seed) {
        let mut payload = Vec::new();
        let mut put = |id: u16, value: u32| {
            payload.extend(id.to_be_bytes());
            payload.extend(value.to_be_bytes());
        };
        put(3, 100);
        put(4, 65_535);
        let size = TABLE_SIZES.get(seed.size(TABLE_SIZES.len().saturating_sub(1))).copied().filter(|_| seed.below(2) == 0);
        if let Some(size) = size {
            put(1, u32::try_from(size).unwrap_or(u32::MAX));
        }
        self.frame(from, SETTINGS, 0, 0, &payload);
        if let Some(size) = size {
            self.encoder(from.opposite()).resize(size);
        }
    }

    const fn encoder(&mut self, from: Direction) -> &mut Encoder {
        match from {
            CLIENT => &mut self.client,
            SERVER => &mut self.server,
        }
    }

    /// What comes between the frames of streams now and then.
    fn noise(&mut self, unused_id: u32, seed: &mut Seed) {
        let from = if seed.below(2) == 0 { CLIENT } else { SERVER };
        match seed.below(24) {
            0 => self.frame(from, WINDOW_UPDATE, 0, 0, &1_048_576_u32.to_be_bytes()),
            1 => {
                let ping = seed.next().to_be_bytes();
                self.frame(from, PING, 0, 0, &ping);
                self.frame(from.opposite(), PING, ACK, 0, &ping);
            }
            2 => {
                self.settings(from, seed);
                self.frame(from.opposite(), SETTINGS, ACK, 0, &[]);
            }
            3 => self.frame(CLIENT, PRIORITY, 0, unused_id.saturating_add(100), &[0, 0, 0, 0, 15]),
            // A type that nobody knows has to be ignored (section 5.5).
            4 => self.frame(from, 0x77, 0x2a, 0, b"an extension"),
            _ => {}
        }
    }

    fn step(&mut self, stream: &mut Stream, seed: &mut Seed) {
        // An answer waits for the whole question, but not always to be told that it was the whole.
        let is_asked = stream.request.iter().all(|step| match step {
            Step::Data { bytes, .. } => bytes.is_empty(),
            Step::Head { .. } => stream.has_begun,
            Step::Reset => false,
        });
        let answers = is_asked && stream.has_begun && !stream.response.is_empty() && (stream.request.is_empty() || seed.below(4) == 0);
        let (from, next) = if answers { (SERVER, stream.response.pop_front()) } else { (CLIENT, stream.request.pop_front()) };
        stream.has_begun = true;
        match next {
            Some(Step::Head { fields, ends_stream }) => {
                if answers && !ends_stream && fields.first().is_some_and(|(name, _)| name == ":status") {
                    self.before_answer(stream.id, seed);
                }
                self.head(from, stream.id, &fields, ends_stream, seed);
            }
            Some(Step::Data { bytes, ends_stream }) => self.data(from, stream.id, &bytes, ends_stream, seed),
            Some(Step::Reset) => {
                stream.request.clear();
                stream.response.clear();
                self.frame(from, RST_STREAM, 0, stream.id, &8_u32.to_be_bytes());
            }
            None => {}
        }
    }

    /// An interim response, a promise of a stream that nobody asked for, and that stream.
    fn before_answer(&mut self, id: u32, seed: &mut Seed) {
        if seed.below(8) == 0 {
            self.head(SERVER, id, &[field(":status", "103"), field("link", "</style.css>")], false, seed);
        }
        if seed.below(8) == 0 {
            let fields = [field(":method", "GET"), field(":scheme", "https"), field(":authority", "a.example"), field(":path", "/pushed")];
            let mut payload = self.promised.to_be_bytes().to_vec();
            payload.extend(self.server.block(&fields, seed));
            self.frame(SERVER, PUSH_PROMISE, END_HEADERS, id, &payload);
            self.head(SERVER, self.promised, &[field(":status", "200")], false, seed);
            self.data(SERVER, self.promised, br#"{"usage":{"prompt_tokens":666,"completion_tokens":666}}"#, true, seed);
            self.promised = self.promised.saturating_add(2);
        }
    }

    /// HEADERS, and CONTINUATION where it is cut.
    fn head(&mut self, from: Direction, id: u32, fields: &[(String, String)], ends_stream: bool, seed: &mut Seed) {
        let block = self.encoder(from).block(fields, seed);
        let most = if seed.below(4) == 0 { 1_usize.saturating_add(seed.size(40)) } else { LARGEST_FRAME.saturating_sub(300) };
        let mut parts = block.chunks(most).peekable();
        let mut payload = Vec::new();
        let mut flags = if ends_stream { END_STREAM } else { 0 };
        let padding = (seed.below(4) == 0).then(|| seed.size(255));
        if let Some(padding) = padding {
            flags |= PADDED;
            payload.push(u8::try_from(padding).unwrap_or_default());
        }
        if seed.below(4) == 0 {
            flags |= WITH_PRIORITY;
            payload.extend([0, 0, 0, 0, 200]);
        }
        payload.extend(parts.next().unwrap_or_default());
        payload.resize(payload.len().saturating_add(padding.unwrap_or(0)), 0);
        flags |= if parts.peek().is_none() { END_HEADERS } else { 0 };
        self.frame(from, HEADERS, flags, id, &payload);
        while let Some(part) = parts.next() {
            self.frame(from, CONTINUATION, if parts.peek().is_none() { END_HEADERS } else { 0 }, id, part);
        }
    }

    fn data(&mut self, from: Direction, id: u32, bytes: &[u8], ends_stream: bool, seed: &mut Seed) {
        let ending = if ends_stream { END_STREAM } else { 0 };
        let padding = seed.size(255);
        if seed.below(4) == 0 && bytes.len().saturating_add(padding) < LARGEST_FRAME {
            let mut payload = vec![u8::try_from(padding).unwrap_or_default()];
            payload.extend(bytes);
            payload.resize(payload.len().saturating_add(padding), 0);
            return self.frame(from, DATA, ending | PADDED, id, &payload);
        }
        self.frame(from, DATA, ending, id, bytes);
    }

    fn frame(&mut self, from: Direction, kind: u8, flags: u8, stream: u32, payload: &[u8]) {
        let [_, length @ ..] = u32::try_from(payload.len()).unwrap_or_default().to_be_bytes();
        self.framed.push(from, &length);
        self.framed.push(from, &[kind, flags]);
        self.framed.push(from, &stream.to_be_bytes());
        self.framed.push(from, payload);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn turns_add_up_to_what_each_side_says() {
        let line = r#"{"id":"x","request":{"method":"POST","host":"h","path":"/p","headers":[["A","b"]],"body":"question"},
            "response":{"status":200,"headers":[["c","d"]],"body":"answer"}}"#;
        let record = Record::parse(line).unwrap();
        for number in 0..40 {
            let framed =
                connection(&[&record, &record, &record], Course { side_by_side: 3, coding: None, is_cut: false }, &mut Seed::new(number));
            for (direction, bytes) in [(CLIENT, &framed.request), (SERVER, &framed.response)] {
                let told: usize = framed.turns.iter().filter(|turn| turn.direction == direction).map(|turn| turn.length).sum();
                assert_eq!(told, bytes.len());
            }
            assert!(framed.request.starts_with(PREFACE) && framed.turns.len() > 2);
        }
    }
}
