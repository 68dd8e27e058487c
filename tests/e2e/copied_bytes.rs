//! Traffic that is no model call: at most the documented bytes of it are copied (SECURITY.md).

use std::{fs::File, path::PathBuf};

use a11i_tests::{
    agent::{Agent, AgentOptions, signal},
    observed::ObservedCall,
    otlp_sink::OtlpSink,
    provider_stub::{Expected, ProviderStub},
    requirement,
    serial::one_at_a_time,
    workload::curl::{Curl, Done, chat},
};
use rustix::process::Signal;
use serde_json::json;

const LARGE: u64 = 200 * 1024 * 1024;
/// A host of the stand-in's certificate that nobody knows as a provider's.
const HOST: &str = "localhost";
/// Of a request that is no POST or PUT, with its answer, until the agent has decided.
const UNDECIDED_OTHER: u64 = 4 * 1024;
/// Of a POST or PUT, with its answer, until the agent has decided: one call limit.
const UNDECIDED_POST: u64 = 8 * 1024 * 1024;
/// The record in which a budget ends is copied whole.
const LAST_RECORD: u64 = 64 * 1024;
/// Requests and answers of the calls beside it, and of whatever else uses OpenSSL on this machine meanwhile.
const BESIDE: u64 = 32 * 1024;

struct Measured {
    agent: Agent,
    sink: OtlpSink,
    stub: ProviderStub,
}

impl Measured {
    async fn set() -> Option<Self> {
        let (sink, stub) = (OtlpSink::start(), ProviderStub::start());
        let agent = Agent::start_with(AgentOptions::default().export_to(&sink, "http/protobuf")).await?;
        Some(Self { agent, sink, stub })
    }

    fn curl(&self) -> Option<Curl> {
        requirement::met(Curl::to(&self.stub)).map(|curl| curl.arg("--max-time").arg("300"))
    }

    fn url(&self, path: &str) -> String {
        format!("https://{HOST}:{}{path}", self.stub.port())
    }

    fn download(&self, curl: Curl) -> Curl {
        curl.arg("--output").arg("/dev/null").url(&self.url(&format!("/bytes/{LARGE}")))
    }

    fn upload(&self, curl: Curl, file: &Zeros) -> Curl {
        curl.arg("--request").arg("POST").arg("--upload-file").arg(file.0.display().to_string()).url(&self.url("/upload"))
    }

    /// Ends the agent; the bytes that its kernel half has copied, of all programs.
    async fn copied(self) -> (u64, Vec<ObservedCall>, Vec<Expected>) {
        let calls = self.agent.stop().await.calls;
        let received = self.sink.received();
        assert_eq!(received.kernel_counter("ring_full_bytes"), 0, "nothing was kept small by losing it");
        (received.kernel_counter("copied_bytes"), calls, self.stub.expected())
    }
}

#[track_caller]
fn assert_ended_well(done: &Done) {
    assert!(done.output.status.success(), "{done:?}");
}

#[tokio::test]
async fn of_a_large_download_a_few_kilobytes_are_copied() {
    let _turn = one_at_a_time();
    let Some(measured) = Measured::set().await else { return };
    let Some(curl) = measured.curl() else { return };
    let done = measured.download(curl).run().await;
    assert_ended_well(&done);
    let (copied, calls, _) = measured.copied().await;
    println!("{copied} of {LARGE} bytes of a download were copied");
    assert!(copied <= UNDECIDED_OTHER + LAST_RECORD, "{copied} bytes were copied");
    assert!(!calls.iter().any(|call| call.pid() == Some(done.pid)), "{calls:#?}");
}

#[tokio::test]
async fn of_a_large_upload_one_call_limit_is_copied_at_most() {
    let _turn = one_at_a_time();
    let Some(measured) = Measured::set().await else { return };
    let Some(curl) = measured.curl() else { return };
    let file = Zeros::made();
    let done = measured.upload(curl, &file).run().await;
    assert_ended_well(&done);
    assert_eq!(done.text(), LARGE.to_string(), "all of it arrived");
    let (copied, calls, _) = measured.copied().await;
    println!("{copied} of {LARGE} bytes of an upload were copied");
    assert!(copied <= UNDECIDED_POST + LAST_RECORD, "{copied} bytes were copied");
    assert!(!calls.iter().any(|call| call.pid() == Some(done.pid)), "{calls:#?}");
}

#[tokio::test]
async fn while_nobody_judges_a_request_its_budget_is_copied_at_most() {
    let _turn = one_at_a_time();
    let file = Zeros::made();
    for upload in [false, true] {
        let Some(measured) = Measured::set().await else { return };
        let Some(curl) = measured.curl() else { return };
        // An agent that does not get to it: the kernel half alone must hold the budget.
        signal(measured.agent.pid(), Signal::STOP);
        let curl = if upload { measured.upload(curl, &file) } else { measured.download(curl) };
        let done = curl.run().await;
        signal(measured.agent.pid(), Signal::CONT);
        assert_ended_well(&done);
        let (copied, calls, _) = measured.copied().await;
        println!("{copied} of {LARGE} bytes of {} that nobody judged were copied", transfer(upload));
        let allowed = if upload { UNDECIDED_POST } else { UNDECIDED_OTHER };
        assert!(copied <= allowed + LAST_RECORD, "{copied} bytes were copied");
        assert!(copied >= allowed, "{copied} bytes were copied: not the budget held it, something else did");
        assert!(!calls.iter().any(|call| call.pid() == Some(done.pid)), "{calls:#?}");
    }
}

fn transfer(upload: bool) -> &'static str {
    if upload { "an upload" } else { "a download" }
}

#[tokio::test]
async fn a_model_call_before_and_after_a_large_transfer_on_its_connection_is_exact() {
    let _turn = one_at_a_time();
    let file = Zeros::made();
    let chat_with = |curl: Curl, url: &str, words: &str| curl.post(url, &chat("gpt-4o-mini", words));
    for upload in [false, true] {
        let Some(measured) = Measured::set().await else { return };
        let Some(curl) = measured.curl() else { return };
        let url = measured.url("/v1/chat/completions");
        let curl = chat_with(curl, &url, "before").then();
        let curl = if upload { measured.upload(curl, &file) } else { measured.download(curl) };
        let done = chat_with(curl.then(), &url, "after it").run().await;
        assert_ended_well(&done);
        let exchanges = measured.stub.exchanges();
        assert_eq!(exchanges.iter().map(|exchange| exchange.connection).collect::<Vec<_>>(), [0, 0, 0], "curl kept its connection");
        measured.agent.calls_of(done.pid, 2).await;
        let (copied, calls, expected) = measured.copied().await;
        let mut calls: Vec<&ObservedCall> = calls.iter().filter(|call| call.pid() == Some(done.pid)).collect();
        calls.sort_by_key(|call| call.start_time_unix_nano);
        let ([first, last], [before, after]) = (&calls[..], &expected[..]) else { panic!("{calls:#?}") };
        assert_exact(before, first);
        assert_exact(after, last);
        println!("{copied} of {LARGE} bytes of {} between two calls were copied", transfer(upload));
        let allowed = if upload { UNDECIDED_POST } else { UNDECIDED_OTHER };
        assert!(copied <= allowed + LAST_RECORD + BESIDE, "{copied} bytes were copied");
    }
}

/// At a host that nobody vouches for, the provider is that of the format.
#[track_caller]
fn assert_exact(expected: &Expected, call: &ObservedCall) {
    expected.assert_reported_as(call);
    assert_eq!(call.attribute("a11i.capture.complete"), Some(&json!(true)), "{call:#?}");
    assert_eq!(call.attribute("a11i.capture.lost_bytes"), None, "{call:#?}");
    assert_eq!(call.text("server.address"), Some(HOST), "{call:#?}");
}

/// A large file that takes no room on the disk.
struct Zeros(PathBuf);

impl Zeros {
    fn made() -> Self {
        let path = std::env::temp_dir().join(format!("a11i-zeros-{}", std::process::id()));
        File::create(&path).and_then(|file| file.set_len(LARGE)).expect("the temporary folder takes a file");
        Self(path)
    }
}

impl Drop for Zeros {
    fn drop(&mut self) {
        std::fs::remove_file(&self.0).ok(); // a leftover in the temporary folder is harmless
    }
}
