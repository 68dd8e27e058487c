//! Programs that report their calls themselves.

use super::*;

/// One span with one attribute, `gen_ai.a`; or another.
fn export(key: [u8; 8]) -> Vec<u8> {
    let body = [&[0x0a, 16, 0x12, 14, 0x12, 12, 0x4a, 10, 0x0a, 8][..], &key].concat();
    let head = format!(
        "POST /v1/traces HTTP/1.1\r\nHost: collector\r\nContent-Type: application/x-protobuf\r\nContent-Length: {}\r\n\r\n",
        body.len()
    );
    [head.as_bytes(), &body].concat()
}

const TAKEN: &[u8] = b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n";

impl Kernel {
    fn call(&mut self) -> LlmCall {
        self.transfer(Direction::Write, REQUEST);
        self.transfer(Direction::Read, ANSWER);
        self.bench.calls().pop().unwrap()
    }
}

#[test]
fn an_export_is_copied_until_it_was_looked_at_and_marks_later_calls() {
    let export = export(*b"gen_ai.a");
    let head = export.windows(4).position(|four| four == b"\r\n\r\n").unwrap() + 4;
    for cut in head..export.len() {
        let mut kernel = Kernel::new();
        assert_eq!(kernel.transfer(Direction::Write, &export), [Verdict::NotLlm], "it has had no call");
        assert!(!kernel.call().correlation.is_duplicate);
        let (first, second) = export.split_at(cut);
        assert_eq!(kernel.transfer(Direction::Write, first), [], "cut at {cut}");
        assert_eq!(kernel.transfer(Direction::Write, second), [Verdict::NotLlm], "cut at {cut}");
        kernel.transfer(Direction::Read, TAKEN);
        assert!(kernel.call().correlation.is_duplicate);
        assert_eq!(kernel.transfer(Direction::Write, first), [Verdict::NotLlm], "it is known");
    }
}

#[test]
fn another_programs_export_and_a_traceparent_mark_nothing() {
    let mut kernel = Kernel::new();
    kernel.call();
    assert_eq!(kernel.transfer(Direction::Write, &export(*b"http.abc")), [Verdict::NotLlm]);
    let request = String::from_utf8(REQUEST.to_vec()).unwrap();
    let parent = "traceparent: 00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01\r\nHost";
    kernel.transfer(Direction::Write, request.replacen("Host", parent, 1).as_bytes());
    kernel.transfer(Direction::Read, ANSWER);
    let call = kernel.bench.calls().pop().unwrap();
    assert!(call.correlation.parent.is_some() && !call.correlation.is_duplicate);
}

#[test]
fn a_new_program_of_the_process_begins_anew() {
    let mut kernel = Kernel::new();
    kernel.call();
    kernel.transfer(Direction::Write, &export(*b"gen_ai.a"));
    assert!(kernel.call().correlation.is_duplicate);
    kernel.body(EventBody::Exec);
    kernel.bench.owner(named("other"));
    (kernel.session, kernel.offsets, kernel.stopped) = (SessionId { session: TlsSession(9), generation: 1 }, [0; 2], false);
    kernel.bench.out.clear();
    assert!(!kernel.call().correlation.is_duplicate);
}

#[test]
fn a_configured_program_is_marked_from_its_first_call_and_the_setting_goes_with_it() {
    for (mode, name) in [(Instrumented::MetricsOnly, "python3"), (Instrumented::Suppress, "python3"), (Instrumented::Suppress, "node")] {
        let mut kernel = Kernel::new();
        let settings = kernel.bench.pipeline.settings_mut();
        settings.instrumented = InstrumentedPolicy { mode, programs: Arc::from([name.to_owned()]) };
        kernel.bench.event(EventBody::Exec);
        kernel.bench.owner(named("python3"));
        kernel.transfer(Direction::Write, REQUEST);
        kernel.transfer(Direction::Read, ANSWER);
        let finished = kernel.bench.out.pop();
        let Some(Output::Leaving(Leaving::Call(finished))) = finished else { panic!("one call") };
        let is_named = name == "python3";
        assert_eq!(finished.call.call().correlation.is_duplicate, is_named);
        assert_eq!(finished.reported, if is_named { mode } else { Instrumented::Child });
        assert!(finished.call.cost().is_some(), "it costs what it costs");
    }
}
