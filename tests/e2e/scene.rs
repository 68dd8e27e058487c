//! What nearly every test needs: its turn, a provider, an agent, and the comparison of the two.

use std::process::{Output, Stdio};

use a11i_tests::{
    agent::{Agent, AgentOptions, Finished, PATIENCE},
    kernel,
    observed::ObservedCall,
    provider_stub::{Expected, Options, ProviderStub},
    requirement,
    serial::{OneAtATime, one_at_a_time},
    workload::{
        curl::Curl,
        python::{Python, Script},
    },
};
use serde_json::{Value, json};
use tokio::process::Command;

/// One test's world. Fields are dropped in order: the agent first.
pub(crate) struct Scene {
    pub(crate) agent: Agent,
    pub(crate) stub: ProviderStub,
    _turn: OneAtATime,
}

impl Scene {
    /// None after saying what is missing.
    pub(crate) async fn set() -> Option<Self> {
        Self::set_with(Options::default(), AgentOptions::default()).await
    }

    pub(crate) async fn set_with(stub: Options, agent: AgentOptions) -> Option<Self> {
        let turn = one_at_a_time();
        let stub = ProviderStub::start_with(stub);
        Some(Self { agent: Agent::start_with(agent).await?, stub, _turn: turn })
    }

    pub(crate) fn curl(&self) -> Option<Curl> {
        requirement::met(Curl::to(&self.stub))
    }

    /// Runs the jobs one after another in a new Python process, and checks that every call is reported exactly, once, and
    /// that nothing else is reported of that process.
    pub(crate) async fn python_jobs_are_reported(self, script: Script, jobs: &[Value]) {
        let Some(python) = requirement::met(Python::with_packages().await) else { return };
        let mut program = python.start(script, &self.stub);
        let pid = program.pid;
        for job in jobs {
            let answer = program.run_one(job).await;
            assert_eq!(
                answer.get("id"),
                Some(&json!(self.stub.expected().last().and_then(|expected| expected.response_id.clone()))),
                "{answer}"
            );
        }
        program.finish().await;
        self.calls_are_reported(pid).await;
    }

    /// Every call that the stand-in answered is reported of process `pid`, exactly and once; returns them in the stand-in's
    /// order, with what the agent wrote until its end.
    pub(crate) async fn calls_are_reported(self, pid: u32) -> (Vec<ObservedCall>, Finished) {
        self.calls_are_reported_by(OPENSSL, pid).await
    }

    /// The same for a program of another library.
    pub(crate) async fn calls_are_reported_by(self, library: &str, pid: u32) -> (Vec<ObservedCall>, Finished) {
        let expected = self.stub.expected();
        self.agent.calls_of(pid, expected.len()).await;
        let finished = self.agent.stop().await;
        let calls = matched_by(library, &expected, &finished, pid);
        (calls, finished)
    }
}

/// Pairs expectations with the reports of one process, by response id where there is one and by order else, and compares.
///
/// # Panics
/// With all that differs, and when there are more or fewer reports than calls.
#[track_caller]
pub(crate) fn matched(expected: &[Expected], finished: &Finished, pid: u32) -> Vec<ObservedCall> {
    matched_by(OPENSSL, expected, finished, pid)
}

/// The same for a program of another library.
#[track_caller]
pub(crate) fn matched_by(library: &str, expected: &[Expected], finished: &Finished, pid: u32) -> Vec<ObservedCall> {
    let mut reports: Vec<&ObservedCall> = finished.calls.iter().filter(|call| call.pid() == Some(pid)).collect();
    reports.sort_by_key(|call| call.start_time_unix_nano);
    assert_eq!(reports.len(), expected.len(), "reports of process {pid}: {reports:#?}\nagent's log:\n{}", finished.log);
    let mut ordered = Vec::new();
    for expected in expected {
        let at = reports
            .iter()
            .position(|call| call.response_id() == expected.response_id.as_deref())
            .unwrap_or_else(|| panic!("{:?} is not among {reports:#?}\nagent's log:\n{}", expected.response_id, finished.log));
        let call = reports.remove(at);
        expected.assert_reported_as(call);
        assert_whole_by(library, call);
        ordered.push(call.clone());
    }
    ordered
}

/// Nothing of the call was lost, and the agent says so; the peer is named.
#[track_caller]
pub(crate) fn assert_whole(call: &ObservedCall) {
    assert_whole_by(OPENSSL, call);
}

/// The same for a program of another library.
#[track_caller]
pub(crate) fn assert_whole_by(library: &str, call: &ObservedCall) {
    assert_eq!(call.attribute("a11i.capture.complete"), Some(&json!(true)), "{call:#?}");
    assert_eq!(call.attribute("a11i.capture.lost_bytes"), None, "{call:#?}");
    let by = |name| kernel::has_attach_cookies().then_some(name);
    assert_eq!(call.text("a11i.capture.library"), by(library), "{call:#?}");
    assert_eq!(call.text("a11i.capture.method"), by(method(library)), "{call:#?}");
    let host = match call.text("gen_ai.provider.name") {
        Some("anthropic") => "api.anthropic.com",
        Some("aws.bedrock") => "bedrock-runtime.us-east-1.amazonaws.com",
        Some("gcp.gemini") => "generativelanguage.googleapis.com",
        _ => "api.openai.com",
    };
    assert_eq!(call.text("server.address"), Some(host), "{call:#?}");
}

/// How the functions of such programs are found.
fn method(library: &str) -> &'static str {
    match library {
        "boringssl" => "anchor",
        RUSTLS => "structure",
        _ => "symbol",
    }
}

/// The cost is this many dollars, to a nano-dollar.
#[track_caller]
pub(crate) fn assert_cost(call: &ObservedCall, dollars: f64) {
    let found = call.attribute("a11i.cost.usd").and_then(Value::as_f64);
    assert!(found.is_some_and(|found| (found - dollars).abs() < 1e-9), "a11i.cost.usd: expected {dollars}, found {found:?} in {call:#?}");
}

/// Runs a command to its end; one that does not end is a failure and not a hanging test.
pub(crate) async fn run(command: &mut Command) -> Output {
    let named = format!("{command:?}");
    let ended = tokio::time::timeout(PATIENCE, command.stdin(Stdio::null()).kill_on_drop(true).output()).await;
    let Ok(output) = ended else { panic!("{named} still runs after {PATIENCE:?}") };
    output.unwrap_or_else(|error| panic!("{named} cannot be started: {error}"))
}

/// All that a program said, for messages.
pub(crate) fn words(output: &Output) -> String {
    format!("{}\n{}", String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr))
}

/// What `a11i.capture.library` calls it.
pub(crate) const OPENSSL: &str = "openssl";
pub(crate) const RUSTLS: &str = "rustls";

pub(crate) const OPENAI_CHAT: &str = "https://api.openai.com/v1/chat/completions";
pub(crate) const OPENAI_RESPONSES: &str = "https://api.openai.com/v1/responses";
pub(crate) const ANTHROPIC_MESSAGES: &str = "https://api.anthropic.com/v1/messages";
