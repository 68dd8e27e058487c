//! Programs that report their calls themselves: a span with a `gen_ai.*` attribute in an OTLP trace export of their own.
//!
//! Takes the same events as [`super::Exchanges`]. Looks at exports of processes that have had a call, at a few of each, by the keys of
//! spans' attributes alone (<https://opentelemetry.io/docs/specs/otlp/>): values, where content is, are passed over. Gives the kernel half
//! its word when a request has been looked at, so that the rest is not copied. An export that is relayed for others, which a process serves,
//! says nothing of that process.

mod grpc;
mod json;
mod protobuf;

use std::collections::{HashMap, VecDeque};

use a11i_common::identity::ProcessId;

use self::{grpc::GrpcMessage, json::JsonScan, protobuf::ProtobufScan};
use super::exchange::ConnectionContext;
use crate::{
    call::Role,
    http::{ExchangeId, HttpEvent, HttpEventKind, RequestHead},
};

/// Processes known to have had a call. Beyond it the one that had its first call earliest is forgotten, counted.
const PROCESSES: usize = 4096;
/// Exports looked at after each call: batches are sent every five seconds, mostly, and a call's span is in the first or second after its end.
const LOOKS_AFTER_CALL: u8 = 4;
/// Exports looked at of one process: whoever has shown no such span until then has no instrumentation.
const LOOKS: u8 = 64;
/// Looked at of one export, decoded: what receivers accept of a gRPC message by default.
const EXPORT_BYTES: u64 = 4 * 1024 * 1024;
/// Exports of one connection at once: exporters send one after the other, a few at most.
const EXPORTS: usize = 8;

/// `TraceService/Export` of OTLP over gRPC.
const GRPC_PATH: &str = "/opentelemetry.proto.collector.trace.v1.TraceService/Export";
/// The default path of OTLP over HTTP, below whatever the endpoint begins with.
const HTTP_PATH: &str = "/v1/traces";

/// Keys of the conventions' attributes begin so.
const GEN_AI: &[u8] = b"gen_ai.";

/// Which calls a program reports.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
struct Reported {
    /// Those it makes.
    made: bool,
    /// Those it serves: spans of kind `SERVER`.
    served: bool,
}

/// What is known of a span under way.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
struct Span {
    is_server: bool,
    is_gen_ai: bool,
}

impl Reported {
    const fn of(role: Role) -> Self {
        Self { made: matches!(role, Role::Client), served: matches!(role, Role::Server) }
    }

    const fn covers(self, other: Self) -> bool {
        (self.made || !other.made) && (self.served || !other.served)
    }

    const fn join(self, other: Self) -> Self {
        Self { made: self.made || other.made, served: self.served || other.served }
    }

    const fn add(&mut self, span: Span) {
        self.made |= span.is_gen_ai && !span.is_server;
        self.served |= span.is_gen_ai && span.is_server;
    }
}

/// The bytes are no export.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
struct NoExport;

#[derive(Clone, Copy, Debug, Default)]
struct Process {
    /// The calls it has had.
    had: Reported,
    reported: Reported,
    /// Exports that may still be looked at, until the next call and for good.
    looks_until_call: u8,
    looks: u8,
}

/// Processes that have had calls, and which of them report those themselves.
#[derive(Debug, Default)]
pub struct OwnTelemetry {
    processes: HashMap<ProcessId, Process>,
    /// In the order of their first calls.
    order: VecDeque<ProcessId>,
    forgotten: u64,
}

impl OwnTelemetry {
    /// A call of this process, which makes or serves it, has begun, or is over.
    pub fn handle_call(&mut self, process: ProcessId, role: Role) {
        if !self.processes.contains_key(&process) {
            while self.order.len() >= PROCESSES {
                let Some(oldest) = self.order.pop_front() else { break };
                self.processes.remove(&oldest);
                self.forgotten = self.forgotten.saturating_add(1);
            }
            self.order.push_back(process);
        }
        let known = self.processes.entry(process).or_insert(Process { looks: LOOKS, ..Process::default() });
        known.had = known.had.join(Reported::of(role));
        known.looks_until_call = LOOKS_AFTER_CALL;
    }

    /// Whether a span of such a call was seen in an export of this process.
    pub fn reports(&self, process: ProcessId, role: Role) -> bool {
        self.processes.get(&process).is_some_and(|known| match role {
            Role::Client => known.reported.made,
            Role::Server => known.reported.served,
        })
    }

    /// It has ended, or has become another program.
    pub fn end_process(&mut self, process: ProcessId) {
        if self.processes.remove(&process).is_some() {
            self.order.retain(|known| *known != process);
        }
    }

    /// Processes that had to be forgotten, since too many had calls.
    pub const fn forgotten(&self) -> u64 {
        self.forgotten
    }

    /// One more export of this process may be looked at: for what.
    fn take_look(&mut self, process: ProcessId) -> Option<Reported> {
        let known = self.processes.get_mut(&process).filter(|known| !known.reported.covers(known.had))?;
        let (until_call, looks) = (known.looks_until_call.checked_sub(1)?, known.looks.checked_sub(1)?);
        (known.looks_until_call, known.looks) = (until_call, looks);
        Some(known.had)
    }

    fn found(&mut self, process: ProcessId, reported: Reported) {
        if let Some(known) = self.processes.get_mut(&process) {
            known.reported = known.reported.join(reported);
        }
    }
}

/// What an event told of its exchange.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum ExportTold {
    Nothing,
    /// An export that is looked at.
    Looking,
    /// Nothing more of it is wanted.
    Done,
}

/// The exports of one connection that are looked at.
#[derive(Debug, Default)]
pub struct TelemetryExports {
    open: Vec<Export>,
}

#[derive(Debug)]
struct Export {
    id: ExchangeId,
    /// Once it has told of these, the rest of it is not needed.
    wanted: Reported,
    message: Option<GrpcMessage>,
    scan: Scan,
    /// Bytes that are still looked at.
    left: u64,
}

#[derive(Debug)]
enum Scan {
    Protobuf(ProtobufScan),
    Json(JsonScan),
}

impl TelemetryExports {
    /// Takes the next event of the connection.
    pub fn handle(&mut self, event: &HttpEvent<'_>, context: &ConnectionContext, own: &mut OwnTelemetry) -> ExportTold {
        let id = event.exchange;
        if let HttpEventKind::Request(head) = &event.kind {
            let Some(mut export) = Export::new(id, head).filter(|_| self.open.len() < EXPORTS) else { return ExportTold::Nothing };
            let Some(wanted) = own.take_look(context.owner.process) else { return ExportTold::Nothing };
            export.wanted = wanted;
            self.open.push(export);
            return ExportTold::Looking;
        }
        let Some(at) = self.open.iter().position(|export| export.id == id) else { return ExportTold::Nothing };
        let Some(export) = self.open.get_mut(at) else { return ExportTold::Nothing };
        let over = match &event.kind {
            // What follows a hole cannot be told apart.
            HttpEventKind::RequestBody([]) | HttpEventKind::RequestEnd(_) | HttpEventKind::ResponseEnd(_) => true,
            HttpEventKind::RequestBody(bytes) => export.push(bytes).is_err() || export.scan.reported().covers(export.wanted),
            HttpEventKind::Request(_)
            | HttpEventKind::Response(_)
            | HttpEventKind::ResponseBody(_)
            | HttpEventKind::ResponseTrailers(_)
            | HttpEventKind::Message(_)
            | HttpEventKind::MessagesMissing { .. } => false,
        };
        if !over {
            return ExportTold::Nothing;
        }
        own.found(context.owner.process, self.open.swap_remove(at).scan.reported());
        ExportTold::Done
    }

    /// Whether more of this exchange is wanted.
    pub fn wants(&self, id: ExchangeId) -> bool {
        self.open.iter().any(|export| export.id == id)
    }

    /// It is a model call.
    pub fn forget(&mut self, id: ExchangeId) {
        self.open.retain(|export| export.id != id);
    }
}

impl Export {
    fn new(id: ExchangeId, head: &RequestHead) -> Option<Self> {
        if head.method != "POST" || head.role != Role::Client {
            return None;
        }
        let kind = head.headers.text("content-type")?.split(';').next().unwrap_or_default().trim().to_ascii_lowercase();
        let (message, scan) = match kind.as_str() {
            "application/grpc" | "application/grpc+proto" if head.path == GRPC_PATH => {
                let coding = head.headers.text("grpc-encoding").unwrap_or_default();
                (Some(GrpcMessage::new(coding, EXPORT_BYTES)), Scan::Protobuf(ProtobufScan::default()))
            }
            "application/x-protobuf" if head.path.ends_with(HTTP_PATH) => (None, Scan::Protobuf(ProtobufScan::default())),
            "application/json" if head.path.ends_with(HTTP_PATH) => (None, Scan::Json(JsonScan::default())),
            _ => return None,
        };
        Some(Self { id, wanted: Reported::default(), message, scan, left: EXPORT_BYTES })
    }

    fn push(&mut self, bytes: &[u8]) -> Result<(), NoExport> {
        let Self { message, scan, left, wanted, .. } = self;
        let mut read = Ok(());
        let mut take = |bytes: &[u8]| {
            let length = u64::try_from(bytes.len()).unwrap_or(u64::MAX);
            read = read.and_then(|()| {
                *left = left.checked_sub(length).ok_or(NoExport)?;
                scan.push(bytes, *wanted)
            });
        };
        match message {
            Some(message) => message.push(bytes, &mut take)?,
            None => take(bytes),
        }
        read
    }
}

impl Scan {
    fn push(&mut self, bytes: &[u8], wanted: Reported) -> Result<(), NoExport> {
        match self {
            Self::Protobuf(scan) => scan.push(bytes, wanted),
            Self::Json(scan) => {
                scan.push(bytes, wanted);
                Ok(())
            }
        }
    }

    const fn reported(&self) -> Reported {
        match self {
            Self::Protobuf(scan) => scan.reported(),
            Self::Json(scan) => scan.reported(),
        }
    }
}

#[cfg(test)]
#[expect(clippy::arithmetic_side_effects, reason = "tests count small numbers")]
mod tests;
