//! Bytes through the stages up to the call: flow, HTTP, provider.

use std::sync::Arc;

use a11i_agent::{
    call::{CaptureFacts, DeferredAnswers, LlmCall},
    flow::{DataPiece, Reassembly},
    http::{Connection, HttpSettings},
    owner::Owner,
    provider::{ConnectionContext, ExchangeLimits, Exchanges, Routes},
    replay::{Framed, Origin, Plan, Record, Seed, events, frame, frame_as},
};
use a11i_common::{
    decode::EventBody,
    event::cause,
    identity::{BootTime, Direction, Pid, ProcessId, TlsSession},
};

/// Bytes that the kernel half could not copy.
#[derive(Clone, Debug)]
pub(crate) struct Hole {
    pub(crate) direction: Direction,
    pub(crate) bytes: std::ops::Range<usize>,
}

/// A recorded exchange, framed and cut by its own seed.
pub(crate) fn replay(record: &Record, keep_content: bool) -> Vec<LlmCall> {
    let mut seed = Seed::of(&record.id);
    let framed = frame(record, &mut seed);
    drive(&framed, &mut seed, keep_content, None)
}

/// What the call of a record says, where it is one.
pub(crate) fn truth(record: &Record, plan: Plan) -> Option<serde_json::Value> {
    let mut seed = Seed::new(0);
    let framed = frame_as(record, plan, &mut seed);
    drive(&framed, &mut seed, false, None).first().map(super::view::view)
}

/// One connection from its first byte to its end.
pub(crate) fn drive(framed: &Framed, seed: &mut Seed, keep_content: bool, hole: Option<&Hole>) -> Vec<LlmCall> {
    let mut stage = Stage::new(keep_content);
    let process = ProcessId { pid: Pid(7), start_ticks: 1 };
    let origin = Origin { process, session: TlsSession(9), start: BootTime(1_000) };
    for event in events(framed, "name.in.handshake", origin, seed) {
        match event.body {
            EventBody::Data { direction, offset, payload, .. } => stage.data(event.time, direction, offset, payload, hole),
            EventBody::SessionEnd { write_offset, read_offset, .. } => stage.end(event.time, write_offset, read_offset),
            _ => {}
        }
    }
    assert!(stage.exchanges.is_empty(), "an exchange was left open");
    stage.calls.iter_mut().for_each(|call| DeferredAnswers::default().settle(call));
    stage.calls
}

/// These pieces as they are, and the end.
pub(crate) fn in_segments(segments: &[(Direction, &[u8])]) -> Vec<LlmCall> {
    let mut stage = Stage::new(false);
    let (mut offsets, mut time) = ([0, 0], BootTime(1_000));
    for (direction, bytes) in segments {
        let offset = &mut offsets[usize::from(*direction == Direction::Read)];
        stage.piece(time, *direction, *offset, bytes, 0);
        *offset += bytes.len() as u64;
        time = time.plus_nanos(1_000);
    }
    stage.end(time, offsets[0], offsets[1]);
    assert!(stage.exchanges.is_empty(), "an exchange was left open");
    stage.calls
}

struct Stage {
    reassembly: Reassembly,
    connection: Connection,
    exchanges: Exchanges,
    context: ConnectionContext,
    calls: Vec<LlmCall>,
}

impl Stage {
    fn new(keep_content: bool) -> Self {
        let limits = ExchangeLimits { keep_content, ..ExchangeLimits::default() };
        Self {
            reassembly: Reassembly::new(),
            connection: Connection::new(Arc::new(HttpSettings::new(&[1; 32]))),
            exchanges: Exchanges::new(Arc::new(Routes::default()), limits),
            context: ConnectionContext {
                owner: Arc::new(Owner::default()),
                capture: CaptureFacts::default(),
                server_name: None,
                socket: None,
            },
            calls: Vec::new(),
        }
    }

    /// A piece of the stream, what lies in the hole taken out.
    fn data(&mut self, time: BootTime, direction: Direction, offset: u64, payload: &[u8], hole: Option<&Hole>) {
        let start = usize::try_from(offset).unwrap();
        let hole = hole.filter(|hole| hole.direction == direction).map_or(0..0, |hole| hole.bytes.clone());
        let (from, to) = (hole.start.clamp(start, start + payload.len()), hole.end.clamp(start, start + payload.len()));
        if from == to {
            return self.piece(time, direction, offset, payload, 0);
        }
        self.piece(time, direction, offset, &payload[..from - start], to - from);
        self.piece(time, direction, to as u64, &payload[to - start..], 0);
    }

    fn piece(&mut self, time: BootTime, direction: Direction, offset: u64, payload: &[u8], skipped: usize) {
        let skipped = u32::try_from(skipped).unwrap();
        let causes = if skipped > 0 { cause::RING_FULL } else { 0 };
        let piece = DataPiece { direction, offset, skipped, causes: a11i_agent::call::LossCauses::of_kernel(causes), time, payload };
        let Self { reassembly, connection, exchanges, context, calls } = self;
        reassembly.push(piece, &mut |segment| connection.push(segment, &mut |event| calls.extend(exchanges.handle(event, context))));
    }

    fn end(&mut self, time: BootTime, write_offset: u64, read_offset: u64) {
        let Self { reassembly, connection, exchanges, context, calls } = self;
        let causes = [a11i_agent::call::LossCauses(0); 2];
        reassembly.end(write_offset, read_offset, causes, time, &mut |segment| {
            connection.push(segment, &mut |event| calls.extend(exchanges.handle(event, context)));
        });
        connection.close(time, &mut |event| calls.extend(exchanges.handle(event, context)));
    }
}
