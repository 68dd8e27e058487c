//! What the command is given and gives back: nothing of it is a11i's.

use std::{
    io::Write as _,
    path::{Path, PathBuf},
    process::{Output, Stdio},
};

use a11i_tests::{
    agent::{PATIENCE, binary, calls_in, signal},
    provider_stub::ProviderStub,
    requirement,
    serial::one_at_a_time,
    workload::curl::chat,
};
use rustix::process::Signal;
use tokio::{
    io::{AsyncBufReadExt as _, BufReader},
    process::Command,
};

use crate::scene::{OPENAI_CHAT, assert_whole, run, words};

/// The agent, for a test that needs root.
fn agent() -> Option<PathBuf> {
    requirement::met(requirement::root())?;
    requirement::met(binary())
}

/// What the command gives when a shell that is prepared so becomes it: directly, and through `a11i exec`.
async fn both_ways(agent: &Path, prepare: &str, command: &[&str]) -> [Output; 2] {
    let mut outputs = Vec::new();
    for prefix in [&[][..], &[agent.to_str().expect("a path in UTF-8"), "exec", "--log-level", "off", "--"]] {
        let mut shell = Command::new("/bin/bash");
        shell.args(["-c", &format!("{prepare}\nexec \"$@\""), "shell"]).args(prefix).args(command);
        outputs.push(run(&mut shell).await);
    }
    outputs.try_into().expect("two ways")
}

#[tokio::test]
async fn the_environment_is_untouched() {
    let _turn = one_at_a_time();
    let Some(agent) = agent() else { return };
    let mut outputs = Vec::new();
    for prefix in [&[][..], &[agent.to_str().expect("a path in UTF-8"), "exec", "--"]] {
        let mut line = prefix.to_vec();
        line.extend(["/usr/bin/env", "-0"]);
        let mut command = Command::new(line[0]);
        command.args(&line[1..]).env_clear();
        command.envs([
            ("a.dotted.name", "1"),
            ("BASH_FUNC_greet%%", "() {  echo hello\n}"),
            ("EMPTY", ""),
            ("A11I_LOG_LEVEL", "off"),
            ("PATH", "/bin"),
        ]);
        outputs.push(run(&mut command).await);
    }
    assert!(outputs[0].stdout.starts_with(b"A11I_LOG_LEVEL=off\0"), "{}", words(&outputs[0]));
    assert_eq!(String::from_utf8_lossy(&outputs[1].stdout), String::from_utf8_lossy(&outputs[0].stdout), "{}", words(&outputs[1]));
}

#[tokio::test]
async fn descriptors_and_arguments_are_untouched() {
    let _turn = one_at_a_time();
    let Some(agent) = agent() else { return };
    // The numbers that are open, what descriptor 3 says, and every argument, also one that looks like a flag of ours or is empty.
    let script = "ls /proc/self/fd; cat <&3; cat; printf '<%s>' \"$0\" \"$@\"";
    let command = ["/bin/bash", "-c", script, "name", "--output", "", "--", "two words", "--gate=x"];
    let [direct, through] = both_ways(&agent, "exec 3<<<'from three' 9</dev/null 0<<<'from the input'", &command).await;
    let said = String::from_utf8_lossy(&direct.stdout).into_owned();
    assert!(said.contains("from three\nfrom the input\n<name><--output><><--><two words><--gate=x>"), "{said}");
    assert_eq!(String::from_utf8_lossy(&through.stdout), said, "{}", words(&through));
}

#[tokio::test]
async fn the_status_is_the_commands_or_the_signals() {
    let _turn = one_at_a_time();
    let Some(agent) = agent() else { return };
    for (script, status) in [("exit 0", 0), ("exit 255", 255), ("kill -KILL $$", 128 + 9), ("kill -SEGV $$", 128 + 11)] {
        let output = run(Command::new(&agent).args(["exec", "--", "/bin/sh", "-c", script])).await;
        assert_eq!(output.status.code(), Some(status), "{script}: {}", words(&output));
    }
}

#[tokio::test]
async fn a_command_that_cannot_run_has_a_shells_status() {
    let _turn = one_at_a_time();
    let Some(agent) = agent() else { return };
    let broken = std::env::temp_dir().join(format!("a11i-broken-{}", std::process::id()));
    let mut file = std::fs::File::create(&broken).expect("a temporary file");
    file.write_all(b"#!/no/such/interpreter\n").expect("it can be written");
    drop(file);
    std::fs::set_permissions(&broken, std::os::unix::fs::PermissionsExt::from_mode(0o755)).expect("its mode can be set");
    let broken_path = broken.to_str().expect("a path in UTF-8");
    for (command, status) in
        [("no-such-command-anywhere", 127), ("/no/such/file", 127), ("/etc/passwd", 126), ("/etc", 126), (broken_path, 127)]
    {
        let output = run(Command::new(&agent).args(["exec", "--", command])).await;
        assert_eq!(output.status.code(), Some(status), "{command}: {}", words(&output));
        assert!(words(&output).contains(command), "{}", words(&output));
        assert!(!words(&output).contains("panicked"), "{}", words(&output));
    }
    std::fs::remove_file(broken).expect("it can be removed");
}

#[tokio::test]
async fn what_cannot_be_observed_is_not_run() {
    let _turn = one_at_a_time();
    let Some(agent) = agent() else { return };
    let agent = agent.to_str().expect("a path in UTF-8");
    let without_capabilities = ["setpriv", "--bounding-set", "-all", "--inh-caps", "-all"];
    let in_a_pid_namespace = ["unshare", "--pid", "--fork", "--mount-proc"];
    for (around, reason) in [(&without_capabilities[..], "CAP_BPF"), (&in_a_pid_namespace, "hostPID")] {
        let Some(program) = requirement::met(requirement::program(around[0], "install the package `util-linux`")) else { return };
        let mut command = Command::new(program);
        command.args(&around[1..]).args([agent, "exec", "--", "/bin/echo", "it ran"]);
        let output = run(&mut command).await;
        assert_eq!(output.status.code(), Some(125), "{}", words(&output));
        assert!(output.stdout.is_empty(), "{}", words(&output));
        assert!(words(&output).contains(reason), "{}", words(&output));
    }
}

#[tokio::test]
async fn signals_to_the_agent_alone_reach_the_command() {
    let _turn = one_at_a_time();
    let Some(agent) = agent() else { return };
    let Some(setsid) = requirement::met(requirement::program("setsid", "install the package `util-linux`")) else { return };
    for (name, sent) in [("TERM", Signal::TERM), ("HUP", Signal::HUP), ("USR1", Signal::USR1), ("INT", Signal::INT), ("QUIT", Signal::QUIT)]
    {
        let script = format!("trap 'echo caught {name}; exit 3' {name}; echo ready; while :; do sleep 0.05; done");
        // Without a terminal, so that nobody else sends the command what the terminal's keys send.
        let mut command = Command::new(&setsid);
        command.arg(&agent).args(["exec", "--output", "none", "--", "/bin/sh", "-c", &script]);
        let mut child = command.stdin(Stdio::null()).stdout(Stdio::piped()).kill_on_drop(true).spawn().expect("it can be started");
        let mut lines = BufReader::new(child.stdout.take().expect("piped")).lines();
        let ready = tokio::time::timeout(PATIENCE, lines.next_line()).await.expect("the command runs").expect("it can be read");
        assert_eq!(ready.as_deref(), Some("ready"));
        signal(child.id().expect("it runs"), sent);
        let caught = tokio::time::timeout(PATIENCE, lines.next_line()).await.expect("the signal arrives").expect("it can be read");
        assert_eq!(caught, Some(format!("caught {name}")));
        let status = tokio::time::timeout(PATIENCE, child.wait()).await.expect("it ends").expect("it can be waited for");
        assert_eq!(status.code(), Some(3), "{name}");
    }
}

#[tokio::test]
async fn a_descendant_that_nobody_waits_for_is_seen() {
    let _turn = one_at_a_time();
    let Some(agent) = agent() else { return };
    let Some(curl) = requirement::met(requirement::program("curl", "install the package `curl`")) else { return };
    let stub = ProviderStub::start();
    // The caller of curl is forked twice and its parent is gone; the command ends when the answer has come through.
    let script = format!(
        "(({} --silent --http1.1 --cacert {} --connect-to api.openai.com:443:127.0.0.1:{} --json '{}' {OPENAI_CHAT}) | cat & ) | cat > /dev/null",
        curl.display(),
        stub.ca_file().display(),
        stub.port(),
        chat("gpt-4o-mini", "from an orphan"),
    );
    let output = run(Command::new(&agent).args(["exec", "--output", "json", "--", "/bin/bash", "-c", &script])).await;
    assert!(output.status.success(), "{}", words(&output));
    let calls = calls_in(&String::from_utf8_lossy(&output.stdout));
    let expected = stub.expected();
    let ([expected], [call]) = (&expected[..], &calls[..]) else { panic!("{expected:#?}\n{}", words(&output)) };
    expected.assert_reported_as(call);
    assert_whole(call);
}
