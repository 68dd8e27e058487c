//! One connection, from its first byte seen to its end.

use std::sync::Arc;

use a11i_common::identity::{BootTime, Direction};

use super::{
    ConnectionNotice, HttpEvent, Interest,
    content_coding::DecodeLimits,
    context::Context,
    credential::Fingerprinter,
    detect::{Detector, Prefix, Verdict},
    h1::H1,
    h2::H2,
    websocket::WebSocket,
};
use crate::{
    call::Completeness,
    flow::{Segment, SegmentBody},
};

/// Shared by all connections.
#[derive(Clone, Debug)]
pub struct HttpSettings {
    /// Replaces credentials.
    pub fingerprinter: Fingerprinter,
    /// Caps of content decoding.
    pub decode: DecodeLimits,
}

impl HttpSettings {
    /// `fingerprint_key`: the agent's own secret, made at random.
    pub fn new(fingerprint_key: &[u8; 32]) -> Self {
        Self { fingerprinter: Fingerprinter::new(fingerprint_key), decode: DecodeLimits::default() }
    }
}

/// Takes events, and says of each whether more of its exchange is wanted.
pub type EventSink<'a> = &'a mut dyn FnMut(HttpEvent<'_>) -> Interest;

/// Parses one connection. Pure: the sink is called before the method returns.
#[derive(Debug)]
pub struct Connection {
    settings: Arc<HttpSettings>,
    state: State,
    notices: Vec<ConnectionNotice>,
    /// How many of `notices` were taken. The list is short: each notice is in it at most once.
    taken: usize,
    /// It was found to be HTTP in the middle of a message, or of an exchange.
    joined_late: bool,
    /// Bytes that the decoders of its messages hold, where they come side by side.
    decoders: usize,
}

#[derive(Debug)]
enum State {
    Detecting(Box<Detector>),
    Http1(Box<H1>),
    Http2(Box<H2>),
    WebSocket(Box<WebSocket>),
    /// Not HTTP, or no longer: the rest is not looked at.
    Ignored,
}

impl Connection {
    pub fn new(settings: Arc<HttpSettings>) -> Self {
        Self { settings, state: State::Detecting(Box::default()), notices: Vec::new(), taken: 0, joined_late: false, decoders: 0 }
    }

    /// As [`Self::push_to`], for who wants all of it.
    pub fn push(&mut self, segment: Segment<'_>, sink: &mut dyn FnMut(HttpEvent<'_>)) {
        self.push_to(segment, &mut |event| {
            sink(event);
            Interest::Wanted
        });
    }

    pub fn push_to(&mut self, segment: Segment<'_>, sink: EventSink<'_>) {
        match &mut self.state {
            State::Ignored => {}
            State::Http1(_) | State::Http2(_) | State::WebSocket(_) => self.push_on(segment, sink),
            State::Detecting(detector) => match detector.observe(&segment) {
                Verdict::Undecided => {}
                Verdict::Http1 { client } => {
                    let prefixes = std::mem::take(detector.as_mut()).into_prefixes();
                    self.begin_http1(client, prefixes, segment, sink);
                }
                Verdict::Http2 { client } => {
                    let prefixes = std::mem::take(detector.as_mut()).into_prefixes();
                    self.begin_http2(client, prefixes, segment, sink);
                }
                Verdict::NotHttp => self.note(ConnectionNotice::NotHttp),
            },
        }
    }

    /// The session is over: what is open ends as cut.
    pub fn close(&mut self, time: BootTime, sink: &mut dyn FnMut(HttpEvent<'_>)) {
        let mut found = Vec::new();
        let mut told = |event: HttpEvent<'_>| {
            sink(event);
            Interest::Wanted
        };
        let mut context = Context { settings: &self.settings, notices: &mut found, sink: &mut told, decoders: &mut self.decoders };
        match &mut self.state {
            State::Http1(h1) => h1.close(time, &mut context),
            State::Http2(h2) => h2.close(time, &mut context),
            State::WebSocket(socket) => socket.close(time, &mut context),
            State::Detecting(_) | State::Ignored => {}
        }
        self.note_all(found);
        self.state = State::Ignored;
    }

    /// The next notice, each told once.
    pub fn take_notice(&mut self) -> Option<ConnectionNotice> {
        let notice = self.notices.get(self.taken).copied()?;
        self.taken = self.taken.saturating_add(1);
        Some(notice)
    }

    /// Bytes of a message's head, or what may become one, wait for more.
    pub fn is_inside_head(&self) -> bool {
        match &self.state {
            State::Detecting(detector) => detector.awaits_more(),
            State::Http1(h1) => h1.is_inside_request_head(),
            State::Http2(h2) => h2.is_inside_request_head(),
            State::WebSocket(_) | State::Ignored => false,
        }
    }

    /// It was upgraded, and its messages are followed.
    pub const fn is_websocket(&self) -> bool {
        matches!(self.state, State::WebSocket(_))
    }

    /// Bytes that the decoders of its messages hold, where messages come side by side (HTTP/2).
    pub const fn decoders_hold(&self) -> usize {
        self.decoders
    }

    /// Nobody wants the rest of it.
    pub fn ignore(&mut self) {
        self.state = State::Ignored;
    }

    /// Its bytes began in the middle of something, and it has not shown itself since.
    pub fn is_unrecognised(&self) -> bool {
        matches!(&self.state, State::Detecting(detector) if detector.is_unrecognised())
    }

    /// Requests and responses go side by side: what is said of one is not true of the connection.
    pub const fn is_multiplexed(&self) -> bool {
        matches!(self.state, State::Http2(_))
    }

    /// It is HTTP, and what came first of it was the middle of a message, or a response. Losses that are known are not meant.
    pub const fn is_joined_late(&self) -> bool {
        self.joined_late
    }

    fn begin_http1(&mut self, client: Direction, prefixes: [Prefix; 2], segment: Segment<'_>, sink: EventSink<'_>) {
        let [write, read] = prefixes;
        // A direction that was only seen to answer began before: its requests are waited for as after a gap.
        let late = [write.joined_late, read.joined_late];
        let is_answer = segment.direction != client;
        self.joined_late = (is_answer || late != [false; 2]) && write.missing.is_whole() && read.missing.is_whole();
        self.state = State::Http1(Box::new(H1::new(client, late, [write.missing, read.missing])));
        self.push_held([write, read], segment, sink);
    }

    fn begin_http2(&mut self, client: Option<Direction>, prefixes: [Prefix; 2], segment: Segment<'_>, sink: EventSink<'_>) {
        let [write, read] = prefixes;
        let missing = [write.missing, read.missing];
        self.joined_late = client.is_none() && missing.iter().all(|missing| missing.is_whole());
        let Some(client) = client else {
            // What was held is the middle of something.
            self.state = State::Http2(Box::new(H2::joined_late(missing)));
            return self.push_on(segment, sink);
        };
        let server = if client == Direction::Write { &read } else { &write };
        let server_missing = server.missing.join(if server.joined_late { Completeness::JoinedLate } else { Completeness::Whole });
        self.state = State::Http2(Box::new(H2::from_the_start(client, (!server_missing.is_whole()).then_some(server_missing))));
        self.push_held([write, read], segment, sink);
    }

    /// What was held of the directions while they were undecided, and then the segment, whose own part of it is not given twice.
    fn push_held(&mut self, [write, read]: [Prefix; 2], segment: Segment<'_>, sink: EventSink<'_>) {
        for (direction, prefix) in [(Direction::Write, write), (Direction::Read, read)] {
            let held = if direction == segment.direction { prefix.before } else { prefix.bytes.len() };
            if let Some(bytes @ [_, ..]) = prefix.bytes.get(..held)
                && (direction == segment.direction || !prefix.joined_late)
            {
                self.push_on(Segment { direction, time: prefix.time, body: SegmentBody::Bytes(bytes) }, sink);
            }
        }
        self.push_on(segment, sink);
    }

    fn push_on(&mut self, segment: Segment<'_>, sink: EventSink<'_>) {
        let mut found = Vec::new();
        let mut context = Context { settings: &self.settings, notices: &mut found, sink, decoders: &mut self.decoders };
        match &mut self.state {
            State::Http1(h1) => {
                h1.push(segment, &mut context);
                let is_over = h1.is_over();
                if let Some((client, accepted)) = h1.take_accepted() {
                    let mut socket = WebSocket::new(client, &accepted, context.settings.decode);
                    if let Some(bytes @ [_, ..]) = accepted.rest.get(..) {
                        let rest = Segment { direction: client.opposite(), time: segment.time, body: SegmentBody::Bytes(bytes) };
                        socket.push(rest, &mut context);
                    }
                    self.state = State::WebSocket(Box::new(socket));
                } else if let Some(upgraded) = h1.take_upgraded() {
                    let mut h2 = H2::upgraded(upgraded.client, upgraded.exchange, upgraded.next_id);
                    if let rest @ [_, ..] = upgraded.rest.as_slice() {
                        let rest = Segment { direction: upgraded.client.opposite(), time: segment.time, body: SegmentBody::Bytes(rest) };
                        h2.push(rest, &mut context);
                    }
                    self.state = State::Http2(Box::new(h2));
                } else if is_over {
                    self.state = State::Ignored;
                }
            }
            State::Http2(h2) => h2.push(segment, &mut context),
            State::WebSocket(socket) => socket.push(segment, &mut context),
            State::Detecting(_) | State::Ignored => {}
        }
        self.note_all(found);
    }

    fn note_all(&mut self, found: Vec<ConnectionNotice>) {
        for notice in found {
            self.note(notice);
        }
    }

    fn note(&mut self, notice: ConnectionNotice) {
        if !self.notices.contains(&notice) {
            self.notices.push(notice);
        }
    }
}
