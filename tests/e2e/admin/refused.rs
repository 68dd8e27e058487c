//! Code that the kernel will not probe.

use a11i_tests::{
    agent::Agent,
    requirement,
    serial::one_at_a_time,
    workload::{c_program::compiled, program::Program},
};
use serde_json::{Value, json};
use tokio::process::Command;

use super::{a11i, asked, files_in};
use crate::scene::words;

#[tokio::test]
async fn a_library_that_cannot_be_probed_leaves_the_other_one_of_its_file_and_is_told() {
    let Some(path) = requirement::met(compiled("refused_instruction", &["-rdynamic"]).await) else { return };
    let _turn = one_at_a_time();
    // It maps its file before there are probes: the kernel looks at an instruction when somebody does.
    let mut program = Program::start(&mut Command::new(&path));
    let answer = program.run_one(&json!({})).await;
    let Some(agent) = Agent::start().await else { return };
    agent.wait_for_log(&["not attached, unlike the rest of this file", "refused_instruction", "gnutls"]).await;
    agent.wait_for_log(&["attached path=", "refused_instruction"]).await;
    assert_eq!(program.run_one(&json!({})).await, answer);
    let pid = program.pid;
    let calls = agent.calls_of(pid, 1).await;
    assert_eq!(calls[0].text("a11i.capture.library"), Some("openssl"), "{:#?}", calls[0]);
    assert_eq!(calls[0].attribute("gen_ai.usage.output_tokens"), Some(&json!(2)), "{:#?}", calls[0]);
    assert_eq!(calls[0].attribute("a11i.capture.complete"), Some(&json!(true)), "{:#?}", calls[0]);

    let asked = asked().await;
    let is_it = |file: &&Value| file.get("path").and_then(Value::as_str).is_some_and(|path| path.ends_with("refused_instruction"));
    let Some(file) = files_in(&asked).iter().find(is_it) else { panic!("{asked:#}") };
    assert_eq!(file.get("attached"), Some(&json!(true)), "{file:#}");
    let said = |number: usize, what: &str| file.pointer(&format!("/plans/{number}/{what}")).and_then(Value::as_str).map(str::to_owned);
    assert_eq!((said(0, "library").as_deref(), said(0, "reason")), (Some("openssl"), None), "{file:#}");
    assert_eq!(said(1, "library").as_deref(), Some("gnutls"), "{file:#}");
    assert!(said(1, "reason").is_some_and(|reason| reason.contains("refused")), "{file:#}");
    assert!(said(1, "remedy").is_some_and(|remedy| remedy.contains("cannot be probed")), "{file:#}");
    let listed = words(&a11i(&["processes"]).await);
    assert!(listed.contains("not attached: the kernel refused"), "{listed}");

    program.finish().await;
    agent.stop().await;
}
