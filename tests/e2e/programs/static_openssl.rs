//! C++ programs that have OpenSSL linked in, with its names and without.

use a11i_tests::{
    kernel, requirement,
    workload::static_openssl::{Linked, StaticOpenSsl},
};
use serde_json::json;

use super::{new_with_own, run, running};
use crate::scene::Scene;

#[tokio::test]
async fn new_programs_however_they_are_linked() {
    for linked in [Linked::OpenSslOnly, Linked::All, Linked::AllPie, Linked::LocalNames, Linked::StrippedAndExported] {
        let Some(program) = requirement::met(StaticOpenSsl::compiled(linked).await) else { return };
        new_with_own(program.name(), |stub| Ok(program.start(stub)), &[json!({"stream": false}), json!({"stream": true})]).await;
    }
}

#[tokio::test]
async fn a_running_program_with_an_open_connection() {
    let Some(program) = requirement::met(StaticOpenSsl::compiled(Linked::OpenSslOnly).await) else { return };
    running(|stub| Ok(program.start(stub)), &[json!({"stream": false}), json!({"stream": true})]).await;
}

#[tokio::test]
async fn a_new_program_without_names() {
    let Some(binary) = requirement::met(StaticOpenSsl::compiled(Linked::Stripped).await) else { return };
    let Some(scene) = Scene::set().await else { return };
    let mut program = binary.start(&scene.stub);
    let pid = program.pid;
    scene.agent.wait_for_log(&["attached path=", &format!("{}\"", binary.name())]).await;
    run(&mut program, &scene.stub, &[json!({"stream": false}), json!({"stream": true})]).await;
    program.finish().await;
    let expected = scene.stub.expected();
    let calls = scene.agent.calls_of(pid, expected.len()).await;
    scene.agent.stop().await;
    for (expected, call) in expected.iter().zip(&calls) {
        expected.assert_reported_as(call);
        assert_eq!(call.attribute("a11i.capture.complete"), Some(&json!(true)), "{call:#?}");
        let by = kernel::has_attach_cookies().then_some(("openssl", "anchor"));
        assert_eq!((call.text("a11i.capture.library"), call.text("a11i.capture.method")), by.unzip(), "{call:#?}");
    }
    assert_eq!(calls.len(), expected.len());
}
