//! Programs whose calls are reported by OpenTelemetry's or OpenLLMetry's instrumentation of the `openai` package: told by their exports, and by
//! each setting.

use a11i_tests::{
    agent::{Agent, AgentOptions, PATIENCE},
    kernel,
    observed::ObservedCall,
    otlp_sink::{MetricPoint, OtlpSink, Received},
    provider_stub::ProviderStub,
    requirement,
    serial::{OneAtATime, one_at_a_time},
    workload::{
        program::Program,
        python::{Python, Script},
    },
};
use serde_json::{Value, json};

const MARK: &str = "a11i.duplicate_of_sdk";

/// An agent with a setting, the program, and one collector for both.
struct Observed {
    agent: Agent,
    sink: OtlpSink,
    stub: ProviderStub,
    python: Python,
    program: Program,
    _turn: OneAtATime,
}

impl Observed {
    async fn set(setting: &str, instrumentation: &str, (protocol, compression): (&str, &str)) -> Option<Self> {
        let turn = one_at_a_time();
        let python = requirement::met(Python::with_packages().await)?;
        let (stub, sink) = (ProviderStub::start(), OtlpSink::start());
        let way = if kernel::has_kprobes() { "kprobes" } else { "tracepoints" };
        let options = AgentOptions::default().env("A11I_CAPTURE_SOCKETS", way).env("A11I_INSTRUMENTED", setting);
        let agent = Agent::start_with(options.export_to(&sink, "http/protobuf")).await?;
        let set = [("OTLP_PROTOCOL", protocol), ("OTLP_COMPRESSION", compression), ("INSTRUMENTATION", instrumentation)];
        let mut environment = set.map(|(name, value)| (name, value.to_owned())).to_vec();
        environment.push(("OTLP_SINK", sink.endpoint()));
        let program = python.start_with(Script::OpenAiInstrumented, &stub, &environment);
        Some(Self { agent, sink, stub, python, program, _turn: turn })
    }

    /// One call of the program, by the id of its answer.
    async fn call(&mut self, job: Value) -> String {
        let answer = self.program.run_one(&job).await;
        id_of(&answer)
    }

    /// The program exports what it has. Gives its own span of this answer.
    async fn flush(&mut self, id: &str) -> ObservedCall {
        let answer = self.program.run_one(&json!({"api": "flush"})).await;
        assert_eq!(answer, json!({"flushed": true}));
        self.sink.wait("the program's own span", PATIENCE, |received| spans(received, id, false).pop()).await
    }

    /// The first call, which is told before its program has shown anything; then the program's own span of it.
    async fn first_call(&mut self) -> (ObservedCall, ObservedCall) {
        let id = self.call(json!({"api": "chat"})).await;
        let told = self.sink.wait("the first call", PATIENCE, |received| spans(received, &id, true).pop()).await;
        let own = self.flush(&id).await;
        (told, own)
    }

    /// A call of a program without instrumentation: when it has come, so would have what came before it.
    async fn another_programs_call(&self) -> ObservedCall {
        let mut other = self.python.start(Script::OpenAiSync, &self.stub);
        let answer = other.run_one(&json!({"api": "chat"})).await;
        other.finish().await;
        let id = id_of(&answer);
        self.sink.wait("another program's call", PATIENCE, |received| spans(received, &id, true).pop()).await
    }

    async fn withheld(&self, setting: &str) {
        let counted = |received: &Received| {
            let of = |point: &&MetricPoint| {
                point.name == "a11i.calls.withheld" && point.attributes.get("instrumented") == Some(&json!(setting)) && point.sum > 0.0
            };
            received.metrics.iter().rfind(of).map(|point| point.sum)
        };
        let count = self.sink.wait("the count of withheld calls", PATIENCE, counted).await;
        assert!((count - 2.0).abs() < f64::EPSILON, "{count}");
    }

    /// Series of the program's calls that are marked.
    fn marked_series(&self) -> Vec<String> {
        let pid = json!(self.program.pid);
        let received = self.sink.received();
        let marked =
            received.metrics.iter().filter(|point| point.attributes.contains_key(MARK) && point.resource.get("process.pid") == Some(&pid));
        let mut names: Vec<String> = marked.map(|point| point.name.clone()).collect();
        names.sort_unstable();
        names.dedup();
        names
    }
}

fn id_of(answer: &Value) -> String {
    answer.get("id").and_then(Value::as_str).unwrap_or_else(|| panic!("{answer}")).to_owned()
}

/// The agent's spans of an answer, or the program's own.
fn spans(received: &Received, id: &str, by_agent: bool) -> Vec<ObservedCall> {
    let of = |span: &&ObservedCall| span.response_id() == Some(id) && span.attributes.contains_key("a11i.capture.complete") == by_agent;
    received.spans.iter().filter(of).cloned().collect()
}

#[tokio::test]
async fn as_children_calls_are_told_and_marked_once_the_program_has_shown_its_own_spans() {
    // gRPC with gzip sends a message in pieces of less than 1 KiB, dozens of them in one socket call.
    let ways = [
        ("opentelemetry", ("http/protobuf", "none")),
        ("opentelemetry", ("grpc", "none")),
        ("opentelemetry", ("grpc", "gzip")),
        ("openllmetry", ("http/protobuf", "gzip")),
    ];
    for (instrumentation, way) in ways {
        let Some(mut observed) = Observed::set("child", instrumentation, way).await else { return };
        let (first, own) = observed.first_call().await;
        // Its request named the program's span, and nothing more was known.
        assert_eq!(first.parent_span_id.as_ref(), Some(&own.span_id), "{first:#?}");
        assert!(!first.attributes.contains_key(MARK) && first.attribute("a11i.cost.usd").is_some(), "{first:#?}");
        for job in [json!({"api": "chat"}), json!({"api": "chat", "stream": true})] {
            let id = observed.call(job).await;
            let own = observed.flush(&id).await;
            let told = observed.sink.wait("the call", PATIENCE, |received| spans(received, &id, true).pop()).await;
            assert_eq!(told.attribute(MARK), Some(&json!(true)), "{told:#?}");
            assert_eq!((told.parent_span_id.as_ref(), &told.trace_id), (Some(&own.span_id), &own.trace_id), "{told:#?}");
            assert!(told.attribute("a11i.cost.usd").is_some(), "{told:#?}");
            assert!(told.int("gen_ai.usage.input_tokens").is_some(), "{told:#?}");
            assert_eq!(told.int("gen_ai.usage.input_tokens"), own.int("gen_ai.usage.input_tokens"), "{own:#?}");
        }
        assert!(!observed.another_programs_call().await.attributes.contains_key(MARK));
        let Observed { agent, sink, program, .. } = observed;
        program.finish().await;
        agent.stop().await;
        assert_eq!(sink.received().mistakes, Vec::<String>::new());
    }
}

#[tokio::test]
async fn with_metrics_only_there_is_no_second_span() {
    let Some(mut observed) = Observed::set("metrics_only", "opentelemetry", ("http/protobuf", "none")).await else { return };
    observed.first_call().await;
    let ids = [observed.call(json!({"api": "chat"})).await, observed.call(json!({"api": "chat", "stream": true})).await];
    observed.another_programs_call().await;
    observed.withheld("metrics_only").await;
    let pid = json!(observed.program.pid);
    let counted = |received: &Received| {
        let of = |point: &&MetricPoint| {
            point.name == "gen_ai.client.operation.duration"
                && point.resource.get("process.pid") == Some(&pid)
                && point.attributes.contains_key(MARK)
        };
        received.metrics.iter().filter(of).find(|point| point.count == 2).map(|point| point.count)
    };
    observed.sink.wait("metrics of both calls", PATIENCE, counted).await;
    let marked = observed.marked_series();
    assert!(marked.contains(&"a11i.cost.usd".to_owned()) && marked.contains(&"gen_ai.client.token.usage".to_owned()), "{marked:?}");
    let Observed { agent, sink, program, .. } = observed;
    program.finish().await;
    let finished = agent.stop().await;
    for id in ids {
        assert_eq!(spans(&sink.received(), &id, true), [], "{id}");
        assert!(!finished.calls.iter().any(|call| call.response_id() == Some(id.as_str())), "{id}");
    }
}

#[tokio::test]
async fn what_is_suppressed_is_neither_span_nor_metric() {
    let Some(mut observed) = Observed::set("suppress", "openllmetry", ("http/protobuf", "none")).await else { return };
    observed.first_call().await;
    let ids = [observed.call(json!({"api": "chat"})).await, observed.call(json!({"api": "chat", "stream": true})).await];
    observed.another_programs_call().await;
    observed.withheld("suppress").await;
    let Observed { agent, sink, program, stub, python, _turn } = observed;
    let finished = agent.stop().await;
    let observed = (sink.received(), program.pid);
    for id in ids {
        assert_eq!(spans(&observed.0, &id, true), [], "{id}");
        assert!(!finished.calls.iter().any(|call| call.response_id() == Some(id.as_str())), "{id}");
    }
    assert!(!observed.0.metrics.iter().any(|point| point.attributes.contains_key(MARK)));
    let durations =
        observed.0.metrics.iter().filter(|point| {
            point.name == "gen_ai.client.operation.duration" && point.resource.get("process.pid") == Some(&json!(observed.1))
        });
    assert_eq!(durations.map(|point| point.count).max(), Some(1), "the first call alone");
    program.finish().await;
    drop((stub, python));
}
