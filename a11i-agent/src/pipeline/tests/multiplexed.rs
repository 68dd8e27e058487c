//! What the kernel half is told of HTTP/2, whose requests go side by side.

use super::*;

/// The kernel half's part for HTTP/2: numbers the transfers in which requests begin, and glances at what is no LLM traffic.
struct Streams {
    kernel: Kernel,
    next: u32,
}

fn frame(kind: u8, flags: u8, stream: u32, payload: &[u8]) -> Vec<u8> {
    let length = u32::try_from(payload.len()).unwrap().to_be_bytes();
    [&length[1..], &[kind, flags], &stream.to_be_bytes(), payload].concat()
}

/// Literal fields that no table keeps.
fn fields(list: &[(&str, &str)]) -> Vec<u8> {
    let text = |text: &str| [&[u8::try_from(text.len()).unwrap()], text.as_bytes()].concat();
    list.iter().flat_map(|(name, value)| [vec![0], text(name), text(value)].concat()).collect()
}

impl Streams {
    fn new() -> Self {
        let mut it = Self { kernel: Kernel::new(), next: 1 };
        let settings = frame(4, 0, 0, &[]);
        assert_eq!(it.transfer(Direction::Write, &[b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n".as_slice(), &settings].concat()), []);
        assert_eq!(it.transfer(Direction::Read, &settings), []);
        it
    }

    fn transfer(&mut self, direction: Direction, bytes: &[u8]) -> Vec<Verdict> {
        let glance = usize::try_from(a11i_common::limits::HTTP2_GLANCE_BYTES).unwrap();
        let kernel = &mut self.kernel;
        let offset = kernel.offsets[direction as usize];
        kernel.offsets[direction as usize] += bytes.len() as u64;
        let kept = if kernel.stopped { bytes.len().min(glance) } else { bytes.len() };
        let skipped = u32::try_from(bytes.len() - kept).unwrap();
        let causes = if skipped > 0 { cause::NOT_LLM } else { 0 };
        let (session, request) = (kernel.session, kernel.request);
        kernel.body(EventBody::Data {
            session,
            attachment: AttachmentId(0),
            direction,
            offset,
            skipped,
            causes,
            request,
            payload: &bytes[..kept],
        });
        kernel.verdicts()
    }

    /// A request in one transfer; its stream.
    fn ask(&mut self, path: &str, body: &str) -> (u32, Vec<Verdict>) {
        let stream = self.next;
        self.next += 2;
        let head = fields(&[(":method", "POST"), (":scheme", "https"), (":authority", "gateway.example"), (":path", path)]);
        self.kernel.request += 1;
        self.kernel.stopped = false;
        let verdicts = self.transfer(Direction::Write, &[frame(1, 4, stream, &head), frame(0, 1, stream, body.as_bytes())].concat());
        (stream, verdicts)
    }

    fn answer(&mut self, stream: u32, body: &str) -> Vec<Verdict> {
        let head = fields(&[(":status", "200"), ("content-type", "application/json")]);
        self.transfer(Direction::Read, &[frame(1, 4, stream, &head), frame(0, 1, stream, body.as_bytes())].concat())
    }

    fn call(&mut self) -> (u32, Vec<Verdict>) {
        self.ask("/v1/chat/completions", r#"{"model":"gpt-4o","messages":[{"role":"user","content":"a"}]}"#)
    }

    fn answer_call(&mut self, stream: u32) -> Vec<Verdict> {
        let body = ANSWER.windows(4).position(|four| four == b"\r\n\r\n").map(|end| &ANSWER[end + 4..]).unwrap();
        self.answer(stream, std::str::from_utf8(body).unwrap())
    }

    /// Requests that are none, and what each led to.
    fn others(&mut self, many: usize) -> Vec<Vec<Verdict>> {
        let large = "x".repeat(9_000);
        (0..many)
            .map(|_| {
                let (stream, verdicts) = self.ask("/rpc.Service/Get", "abc");
                assert_eq!(self.answer(stream, &large), []);
                verdicts
            })
            .collect()
    }
}

#[test]
fn a_call_behind_any_number_of_other_requests_is_seen_whole_and_so_is_the_next() {
    for before in [0, 3, 7, 8, 9, 200] {
        let mut streams = Streams::new();
        let told = streams.others(before);
        for (n, verdicts) in told.iter().enumerate() {
            assert_eq!(*verdicts, if n < 7 { vec![] } else { vec![Verdict::Glance] }, "{n}");
        }
        for _ in 0..2 {
            let (stream, verdicts) = streams.call();
            assert_eq!(verdicts, [Verdict::Llm]);
            assert_eq!(streams.answer_call(stream), []);
        }
        let calls = streams.kernel.bench.calls();
        assert!(
            calls.len() == 2 && calls.iter().all(|call| call.completeness.is_whole() && call.usage.input_tokens == Some(5)),
            "{before}"
        );
    }
}

#[test]
fn behind_a_call_a_connection_is_glanced_at_again_after_as_many_others() {
    let mut streams = Streams::new();
    let (stream, _) = streams.call();
    streams.answer_call(stream);
    let told = streams.others(9);
    assert_eq!(told.iter().map(Vec::len).collect::<Vec<_>>(), [0, 0, 0, 0, 0, 0, 0, 1, 1]);
    assert_eq!(told[8], [Verdict::Glance]);
}

#[test]
fn beside_a_call_nothing_stops_the_copying() {
    let mut streams = Streams::new();
    streams.others(8);
    let (stream, verdicts) = streams.call();
    assert_eq!(verdicts, [Verdict::Llm]);
    // Each begins with a number of its own, of which the kernel half must not believe what was said of an earlier one.
    assert!(streams.others(20).iter().all(|verdicts| *verdicts == [Verdict::Llm]));
    assert_eq!(streams.answer_call(stream), []);
    assert_eq!(streams.kernel.bench.calls().len(), 1);
    assert_eq!(streams.others(1), [[Verdict::Glance]]);
}

#[test]
fn of_a_connection_to_an_llm_host_everything_is_copied() {
    let mut streams = Streams::new();
    assert_eq!(streams.kernel.name("api.openai.com"), [Verdict::LlmHost]);
    assert!(streams.others(20).iter().all(Vec::is_empty));
    let (_, verdicts) = streams.call();
    assert_eq!(verdicts, [Verdict::LlmHost]);
}
