//! Exports as SDKs write them, and as nobody should.

use std::{io::Write as _, sync::Arc};

use a11i_common::identity::{BootTime, Pid};

use super::*;
use crate::{
    call::{CaptureFacts, Completeness},
    fixture::request,
    http::{BodyEnd, FramingEnd},
    owner::Owner,
};

const FINISHED: BodyEnd = BodyEnd { completeness: Completeness::Whole, framing: FramingEnd::Finished };
const PROTOBUF: [(&str, &str); 1] = [("content-type", "application/x-protobuf")];
const JSON: [(&str, &str); 1] = [("content-type", "application/json; charset=utf-8")];
const MADE: Reported = Reported { made: true, served: false };
const SERVED: Reported = Reported { made: false, served: true };
const NONE: Reported = Reported { made: false, served: false };

fn varint(mut number: u64, out: &mut Vec<u8>) {
    while number > 0x7f {
        out.push(number.to_le_bytes()[0] | 0x80);
        number >>= 7;
    }
    out.push(number.to_le_bytes()[0]);
}

fn bytes(field: u64, content: &[u8]) -> Vec<u8> {
    let mut out = Vec::new();
    varint(field << 3 | 2, &mut out);
    varint(content.len() as u64, &mut out);
    out.extend_from_slice(content);
    out
}

fn number(field: u64, number: u64) -> Vec<u8> {
    let mut out = Vec::new();
    varint(field << 3, &mut out);
    varint(number, &mut out);
    out
}

/// `KeyValue` with a text.
fn attribute(key: &str, value: &str) -> Vec<u8> {
    [bytes(1, key.as_bytes()), bytes(2, &bytes(1, value.as_bytes()))].concat()
}

/// `Span` with trace id, name, kind, start, attributes; `kind_last` as no SDK writes it.
fn span(kind: u64, attributes: &[Vec<u8>], kind_last: bool) -> Vec<u8> {
    let mut out = [bytes(1, &[7; 16]), bytes(5, b"gen_ai.chat")].concat();
    if !kind_last {
        out.extend(number(6, kind));
    }
    out.extend([&[7 << 3 | 1][..], &1_u64.to_le_bytes()].concat());
    out.extend(attributes.iter().flat_map(|attribute| bytes(9, attribute)));
    // An event, whose attributes are none of the span's.
    out.extend(bytes(11, &[bytes(2, b"gen_ai.content.prompt"), bytes(3, &attribute("gen_ai.prompt", "x"))].concat()));
    if kind_last {
        out.extend(number(6, kind));
    }
    out
}

/// `ExportTraceServiceRequest` of one resource.
fn export(spans: &[Vec<u8>]) -> Vec<u8> {
    let resource = bytes(1, &bytes(1, &attribute("gen_ai.resource", "gen_ai.")));
    let scope = bytes(1, &bytes(1, b"gen_ai.scope"));
    let spans: Vec<u8> = spans.iter().flat_map(|span| bytes(2, span)).collect();
    bytes(1, &[resource, bytes(2, &[scope, spans].concat()), bytes(3, b"https://opentelemetry.io/schemas/1.30.0")].concat())
}

fn http_span() -> Vec<u8> {
    let content = String::from_utf8(attribute("gen_ai.system", "openai")).unwrap();
    span(
        3,
        &[attribute("http.request.method", "POST"), attribute("note", &content), attribute("gen_a", ""), attribute("", "gen_ai.x")],
        false,
    )
}

fn chat_span(kind: u64, kind_last: bool) -> Vec<u8> {
    span(kind, &[attribute("server.address", "api.openai.com"), attribute("gen_ai.operation.name", "chat")], kind_last)
}

/// Path, head fields, body.
type Case<'a> = (&'a str, &'a [(&'a str, &'a str)], Vec<u8>);

struct Program {
    own: OwnTelemetry,
    exports: TelemetryExports,
    context: ConnectionContext,
    exchanges: u64,
}

impl Program {
    fn new() -> Self {
        let context =
            ConnectionContext { owner: Arc::new(Owner::default()), capture: CaptureFacts::default(), server_name: None, socket: None };
        Self { own: OwnTelemetry::default(), exports: TelemetryExports::default(), context, exchanges: 0 }
    }

    fn with_call() -> Self {
        let mut program = Self::new();
        program.own.handle_call(program.context.owner.process, Role::Client);
        program
    }

    fn tell(&mut self, kind: HttpEventKind<'_>) -> ExportTold {
        let event = HttpEvent { exchange: ExchangeId(self.exchanges), time: BootTime(1), kind };
        self.exports.handle(&event, &self.context, &mut self.own)
    }

    fn head(&mut self, role: Role, path: &str, fields: &[(&str, &str)]) -> ExportTold {
        self.exchanges += 1;
        let head = RequestHead { role, port: Some(4318), ..request("POST", "collector.local", path, fields) };
        self.tell(HttpEventKind::Request(Box::new(head)))
    }

    /// One export; what was told after its head until the last word.
    fn export(&mut self, path: &str, fields: &[(&str, &str)], pieces: &[&[u8]]) -> Vec<ExportTold> {
        let mut told = vec![self.head(Role::Client, path, fields)];
        for piece in pieces.iter().filter(|piece| !piece.is_empty()) {
            told.push(self.tell(HttpEventKind::RequestBody(piece)));
        }
        told.push(self.tell(HttpEventKind::RequestEnd(FINISHED)));
        told.retain(|told| *told != ExportTold::Nothing);
        told
    }

    fn reported(&self) -> Reported {
        let process = self.context.owner.process;
        Reported { made: self.own.reports(process, Role::Client), served: self.own.reports(process, Role::Server) }
    }
}

const LOOKED: [ExportTold; 2] = [ExportTold::Looking, ExportTold::Done];

fn json(spans: &str) -> String {
    format!(
        r#"{{"resourceSpans":[{{"resource":{{"attributes":[{{"key":"gen_ai.r","value":{{"stringValue":"\"gen_ai.\""}}}}]}},"scopeSpans":[{{"scope":{{"name":"gen_ai."}},"spans":[{spans}]}}]}}]}}"#
    )
}

fn gzip(bytes: &[u8]) -> Vec<u8> {
    let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::default());
    encoder.write_all(bytes).unwrap();
    encoder.finish().unwrap()
}

fn grpc(flag: u8, message: &[u8]) -> Vec<u8> {
    [&[flag][..], &u32::try_from(message.len()).unwrap().to_be_bytes(), message].concat()
}

#[test]
fn a_programs_gen_ai_span_is_seen_in_every_encoding_however_the_bytes_are_cut() {
    let protobuf = export(&[http_span(), chat_span(3, false), http_span()]);
    let json = json(r#"{"name":"x","kind":3,"attributes":[{"key":"a","value":{"intValue":"1"}},{"key":"gen_ai.system","value":{}}]}"#);
    let gzipped = [("content-type", "application/grpc"), ("grpc-encoding", "gzip")];
    let cases: [Case<'_>; 4] = [
        ("/v1/traces", &PROTOBUF, protobuf.clone()),
        ("/tenant/otlp/v1/traces", &JSON, json.into_bytes()),
        (GRPC_PATH, &[("content-type", "application/grpc+proto")], grpc(0, &protobuf)),
        (GRPC_PATH, &gzipped, grpc(1, &gzip(&protobuf))),
    ];
    for (path, fields, body) in cases {
        for cut in 0..body.len() {
            let (head, tail) = body.split_at(cut);
            let mut program = Program::with_call();
            assert_eq!(program.export(path, fields, &[head, tail]), LOOKED, "{path} cut at {cut}");
            assert_eq!(program.reported(), MADE, "{path} cut at {cut}");
        }
        let single: Vec<&[u8]> = body.chunks(1).collect();
        let mut program = Program::with_call();
        program.export(path, fields, &single);
        assert_eq!(program.reported(), MADE, "{path}");
        assert_eq!(program.export(path, fields, &single), [], "it is known");
    }
}

#[test]
fn what_only_looks_like_such_a_key_is_none() {
    let mut program = Program::with_call();
    let spans = r#"{"kind":3,"name":"gen_ai.","events":[{"attributes":[{"key":"gen_ai.prompt"}]}],"links":[{"attributes":[{"key":"gen_ai.l"}]}],"attributes":[{"key":"note","value":{"kvlistValue":{"values":[{"key":"gen_ai.v"}]}}},{"value":{"stringValue":"{\"key\":\"gen_ai.x\"}"},"key":"k\"gen_ai."},{"key":"x_gen_ai.y"}]}"#;
    program.export("/v1/traces", &PROTOBUF, &[&export(&[http_span(), http_span()])]);
    program.export("/v1/traces", &JSON, &[json(spans).as_bytes()]);
    program.export(
        "/v1/traces",
        &JSON,
        &[br#"{"x":{"resourceSpans":[{"scopeSpans":[{"spans":[{"attributes":[{"key":"gen_ai.a"}]}]}]}]}}"#],
    );
    assert_eq!((program.reported(), program.exports.open.len()), (NONE, 0));
}

#[test]
fn a_server_span_speaks_of_calls_that_are_served() {
    for (kind_last, json_kind) in [(false, "2"), (true, r#""SPAN_KIND_SERVER""#)] {
        let mut program = Program::with_call();
        program.export("/v1/traces", &PROTOBUF, &[&export(&[chat_span(2, kind_last)])]);
        assert_eq!(program.reported(), SERVED);
        program.export("/v1/traces", &PROTOBUF, &[&export(&[http_span(), chat_span(2, kind_last), chat_span(0, kind_last)])]);
        assert_eq!(program.reported(), Reported { made: true, served: true });
        let mut program = Program::with_call();
        for text in [r#"{"attributes":[{"key":"gen_ai.a"}],"kind":K}"#, r#"{"kind":K,"attributes":[{"key":"gen_ai.a"}]}"#] {
            program.export("/v1/traces", &JSON, &[json(&text.replace('K', json_kind)).as_bytes()]);
        }
        assert_eq!(program.reported(), SERVED);
    }
}

#[test]
fn what_a_program_serves_is_learnt_after_what_it_makes() {
    let json_span = |kind: u8| json(&format!(r#"{{"kind":{kind},"attributes":[{{"key":"gen_ai.a"}}]}}"#)).into_bytes();
    let exports: [(_, [Vec<u8>; 2]); 2] =
        [(&PROTOBUF, [3, 2].map(|kind| export(&[chat_span(kind, false)]))), (&JSON, [3, 2].map(json_span))];
    for (fields, [made, served]) in exports {
        let mut program = Program::with_call();
        program.export("/v1/traces", fields, &[&made]);
        assert_eq!((program.reported(), program.export("/v1/traces", fields, &[&served])), (MADE, Vec::new()), "it serves none");
        program.own.handle_call(program.context.owner.process, Role::Server);
        assert_eq!(program.export("/v1/traces", fields, &[&served]), LOOKED);
        assert_eq!(program.reported(), Reported { made: true, served: true });
        assert_eq!(program.export("/v1/traces", fields, &[&served]), [], "it is known");
    }
}

#[test]
fn exports_of_others_and_of_programs_without_calls_are_not_looked_at() {
    let body = export(&[chat_span(3, false)]);
    let mut program = Program::new();
    assert_eq!(program.export("/v1/traces", &PROTOBUF, &[&body]), []);
    let mut program = Program::with_call();
    assert_eq!(program.head(Role::Server, "/v1/traces", &PROTOBUF), ExportTold::Nothing, "a collector is asked");
    for (path, fields) in [("/v1/metrics", PROTOBUF), ("/v1/traces", [("content-type", "text/plain")]), (GRPC_PATH, PROTOBUF)] {
        assert_eq!(program.head(Role::Client, path, &fields), ExportTold::Nothing, "{path}");
    }
    assert_eq!(program.reported(), NONE);
}

#[test]
fn a_few_exports_are_looked_at_after_each_call_and_a_bounded_number_in_all() {
    let body = export(&[http_span()]);
    let mut program = Program::with_call();
    let looks = |program: &mut Program| (0..100).filter(|_| program.export("/v1/traces", &PROTOBUF, &[&body]) == LOOKED).count();
    assert_eq!(looks(&mut program), usize::from(LOOKS_AFTER_CALL));
    let all: usize = (0..100)
        .map(|_| {
            program.own.handle_call(program.context.owner.process, Role::Client);
            looks(&mut program)
        })
        .sum();
    assert_eq!(all + usize::from(LOOKS_AFTER_CALL), usize::from(LOOKS));
}

#[test]
fn nothing_is_made_of_what_is_broken_lost_or_too_long() {
    let whole = export(&[http_span(), chat_span(3, false)]);
    let long = bytes(1, &bytes(2, &bytes(2, &[bytes(5, &vec![0; 4 << 20]), bytes(9, &attribute("gen_ai.a", ""))].concat())));
    let beyond = [0x0a, 4, 0x12, 9, 0x12, 7, 0x4a, 5, 0x0a, 9];
    let cases: [&[&[u8]]; 8] = [
        &[&whole[..40], b"", &whole[40..]],
        &[&whole[..whole.len() - 60]],
        &[&long],
        &[&beyond],
        &[&[0x0a, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0x01]],
        &[&[0x80; 64]],
        &[&[0x0b, 0x0c]],
        &[&gzip(&whole)],
    ];
    for pieces in cases {
        let mut program = Program::with_call();
        program.head(Role::Client, "/v1/traces", &PROTOBUF);
        for piece in pieces {
            program.tell(HttpEventKind::RequestBody(piece));
        }
        program.tell(HttpEventKind::RequestEnd(FINISHED));
        assert_eq!((program.reported(), program.exports.open.len()), (NONE, 0), "{:?}", pieces.first().map(|piece| piece.len()));
    }
    for message in [grpc(1, &whole), grpc(2, &whole), [grpc(0, &whole[..20]), whole.clone()].concat(), grpc(1, &gzip(&vec![0; 5 << 20]))] {
        let mut program = Program::with_call();
        program.export(GRPC_PATH, &[("content-type", "application/grpc"), ("grpc-encoding", "gzip")], &[&message]);
        assert_eq!(program.reported(), NONE);
    }
    let deep = "[".repeat(1 << 20) + &"}".repeat(1 << 20);
    let mut program = Program::with_call();
    program.export("/v1/traces", &JSON, &[deep.as_bytes(), br#"{"resourceSpans":["#, &vec![b'"'; 99_999], &[0xff; 99]]);
    assert_eq!(program.reported(), NONE);
}

#[test]
fn bytes_without_meaning_are_no_trouble() {
    let (mut seed, whole) = (1_u64, export(&[http_span(), chat_span(3, true)]));
    for _ in 0..2_000 {
        let mut body = whole.clone();
        for _ in 0..4 {
            seed = seed.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
            let at = (seed >> 33) as usize % body.len();
            body[at] = seed.to_le_bytes()[3];
        }
        let mut program = Program::with_call();
        program.export("/v1/traces", &PROTOBUF, &[&body]);
        program.own.handle_call(program.context.owner.process, Role::Client);
        program.export("/v1/traces", &JSON, &[&body]);
        assert!(program.exports.open.is_empty());
    }
}

#[test]
fn an_end_and_too_many_others_make_a_process_forgotten() {
    let mut program = Program::with_call();
    program.export("/v1/traces", &PROTOBUF, &[&export(&[chat_span(3, false)])]);
    program.own.end_process(program.context.owner.process);
    assert_eq!((program.reported(), program.own.order.len()), (NONE, 0));
    for pid in 0..=u32::try_from(PROCESSES).unwrap() {
        program.own.handle_call(ProcessId { pid: Pid(pid), start_ticks: 1 }, Role::Client);
    }
    assert_eq!((program.own.forgotten(), program.own.order.len(), program.own.processes.len()), (1, PROCESSES, PROCESSES));
}
