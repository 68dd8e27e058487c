//! Commands that say something about the host, and mistakes that are answered with a remedy.

use std::{
    os::unix::fs::PermissionsExt as _,
    path::{Path, PathBuf},
    process::{Output, Stdio},
};

use a11i_tests::{
    agent::{Agent, binary},
    requirement::{self, Unmet},
    serial::one_at_a_time,
};
use tokio::process::Command;

use crate::scene::{run, words};

async fn a11i(program: &Path, arguments: &[&str]) -> Output {
    let mut command = Command::new(program);
    command.args(arguments).env("A11I_HEALTH_PORT", "0").env("A11I_METRICS_PORT", "0");
    run(&mut command).await
}

#[tokio::test]
async fn not_root_is_one_sentence_and_exit_status_1() {
    // Beside another agent it would be told of that one instead.
    let _turn = one_at_a_time();
    let Some(()) = requirement::met(requirement::root()) else { return };
    let Some(program) = requirement::met(binary()) else { return };
    let Some(setpriv) = requirement::met(requirement::program("setpriv", "install the package `util-linux`")) else { return };
    // Where everybody can reach it: the target folder may lie in a home.
    let Some(copy) = requirement::met(reachable_copy(&program)) else { return };
    let mut command = Command::new(setpriv);
    command
        .args(["--reuid=65534", "--regid=65534", "--clear-groups", "--inh-caps=-all", "--bounding-set=-all", "--"])
        .arg(&copy)
        .args(["run", "--output", "json"])
        .env("A11I_HEALTH_PORT", "0")
        .env("A11I_METRICS_PORT", "0")
        .current_dir("/");
    let output = run(&mut command).await;
    std::fs::remove_dir_all(copy.parent().expect("a folder")).expect("the copy can be removed");
    let told = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(1), "{}", words(&output));
    assert_eq!(told.lines().filter(|line| !line.is_empty()).count(), 1, "one sentence: {told}");
    let lower = told.to_lowercase();
    assert!(lower.contains("root") || lower.contains("cap_"), "it names what is missing: {told}");
    assert!(lower.contains("sudo") || lower.contains("setcap") || lower.contains("cap_bpf"), "it names the remedy: {told}");
    assert!(output.stdout.is_empty(), "{}", words(&output));
}

pub(crate) fn reachable_copy(program: &Path) -> Result<PathBuf, Unmet> {
    let folder = std::env::temp_dir().join(format!("a11i-not-root-{}", std::process::id()));
    let copy = folder.join("a11i");
    std::fs::create_dir_all(&folder)
        .and_then(|()| std::fs::copy(program, &copy))
        .and_then(|_| std::fs::set_permissions(&folder, std::fs::Permissions::from_mode(0o755)))
        .and_then(|()| std::fs::set_permissions(&copy, std::fs::Permissions::from_mode(0o755)))
        .map_err(|error| Unmet::new(format!("the agent cannot be copied to {}: {error}", folder.display()), "set TMPDIR"))?;
    Ok(copy)
}

#[tokio::test]
async fn doctor_says_what_this_kernel_is_and_that_the_main_job_works() {
    let _turn = one_at_a_time();
    let Some(()) = requirement::met(requirement::root()) else { return };
    let Some(program) = requirement::met(binary()) else { return };
    let output = a11i(&program, &["doctor"]).await;
    assert!(output.status.success(), "{}", words(&output));
    let told = String::from_utf8_lossy(&output.stdout);
    let release = std::fs::read_to_string("/proc/sys/kernel/osrelease").expect("Linux tells its release");
    assert!(told.contains(release.trim()), "the running kernel is named: {told}");
    for word in ["btf", "uprobe", "ring buffer", "traffic without tls"] {
        assert!(told.to_lowercase().contains(word), "{word}: {told}");
    }
}

#[tokio::test]
async fn inspect_names_the_library_and_functions_of_a_program_and_of_a_process() {
    let _turn = one_at_a_time();
    let Some(()) = requirement::met(requirement::root()) else { return };
    let Some(program) = requirement::met(binary()) else { return };
    let Some(curl) = requirement::met(requirement::program("curl", "install the package `curl`")) else { return };
    let output = a11i(&program, &["inspect", &curl.display().to_string()]).await;
    assert!(output.status.success(), "{}", words(&output));
    let told = String::from_utf8_lossy(&output.stdout);
    assert!(told.contains("libssl") && told.contains("SSL_write"), "{told}");

    // `cat` waits for its input and has nothing to do with TLS: that is an answer, too.
    let mut bystander =
        Command::new("cat").stdin(Stdio::piped()).stdout(Stdio::null()).kill_on_drop(true).spawn().expect("cat can be started");
    let pid = bystander.id().expect("it waits").to_string();
    let output = a11i(&program, &["inspect", &pid]).await;
    assert!(!words(&output).contains("SSL_write"), "{}", words(&output));
    assert!(words(&output).to_lowercase().contains("no tls"), "why not: {}", words(&output));
    bystander.kill().await.expect("cat waits");
}

#[tokio::test]
async fn mistakes_in_the_configuration_are_told_all_at_once_with_line_and_remedy() {
    let Some(program) = requirement::met(binary()) else { return };
    let file = std::env::temp_dir().join(format!("a11i-mistakes-{}.yaml", std::process::id()));
    std::fs::write(&file, "content: everything\nno_such_key: 1\n").expect("the temporary folder is writable");
    let path = file.display().to_string();
    let checked = a11i(&program, &["check-config", &path]).await;
    assert_eq!(checked.status.code(), Some(1), "{}", words(&checked));
    for word in [":1:", "content", "everything", ":2:", "no_such_key", "none, full"] {
        assert!(words(&checked).contains(word), "{word}: {}", words(&checked));
    }
    let mut command = Command::new(&program);
    command.args(["run", "--config", &path]).env("A11I_HEALTH_PORT", "not a port").env("A11I_NO_SUCH_SETTING", "1");
    let ran = run(&mut command).await;
    std::fs::remove_file(&file).expect("it was written above");
    assert_eq!(ran.status.code(), Some(1), "{}", words(&ran));
    for word in ["everything", "no_such_key", "A11I_HEALTH_PORT", "A11I_NO_SUCH_SETTING"] {
        assert!(words(&ran).contains(word), "{word}: {}", words(&ran));
    }
}

#[tokio::test]
async fn health_and_ready_answer_while_it_runs() {
    let _turn = one_at_a_time();
    let Some(agent) = Agent::start().await else { return };
    assert_eq!(agent.health("/health").await, Some(200));
    assert_eq!(agent.health("/ready").await, Some(200));
    assert_eq!(agent.health("/no-such-page").await, Some(404));
    agent.stop().await;
}
