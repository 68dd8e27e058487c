//! Programs that talk through Go's `crypto/tls`.

mod calls;
mod growth;

use a11i_tests::{
    agent::Finished,
    kernel,
    observed::ObservedCall,
    provider_stub::Expected,
    requirement,
    workload::go::{Build, GoProgram},
};
use serde_json::json;

/// The program, or None after saying what is missing.
async fn program(build: Build) -> Option<GoProgram> {
    requirement::met(GoProgram::compiled(build).await)
}

/// Each of these calls is reported of process `pid`, exactly, whole and once, and nothing else of it.
#[track_caller]
fn are_reported(expected: &[Expected], finished: &Finished, pid: u32, build: Build) {
    let mut reports: Vec<&ObservedCall> = finished.calls.iter().filter(|call| call.pid() == Some(pid)).collect();
    assert_eq!(reports.len(), expected.len(), "reports of process {pid}: {reports:#?}\nagent's log:\n{}", finished.log);
    for expected in expected {
        let at = reports.iter().position(|call| call.response_id() == expected.response_id.as_deref());
        let at = at.unwrap_or_else(|| panic!("{:?} is not among {reports:#?}\nagent's log:\n{}", expected.response_id, finished.log));
        let call = reports.remove(at);
        expected.assert_reported_as(call);
        assert_eq!(call.attribute("a11i.capture.complete"), Some(&json!(true)), "{call:#?}");
        assert_eq!(call.attribute("a11i.capture.lost_bytes"), None, "{call:#?}");
        let by = |name: &'static str| kernel::has_attach_cookies().then_some(name);
        assert_eq!(call.text("a11i.capture.library"), by("go"), "{call:#?}");
        assert_eq!(call.text("a11i.capture.method"), by(if build.has_symbols() { "symbol" } else { "gopclntab" }), "{call:#?}");
        assert_eq!(call.text("server.address"), Some("api.openai.com"), "{call:#?}");
    }
}
