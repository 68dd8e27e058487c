//! A user who is not root: the privileged half is started through `sudo`, for which a stand-in is put first in PATH.

use std::{
    fs,
    io::Write as _,
    os::unix::fs::{PermissionsExt as _, chown},
    path::{Path, PathBuf},
    process::{Output, Stdio},
};

use a11i_tests::{
    agent::{PATIENCE, binary, calls_in, signal},
    provider_stub::ProviderStub,
    requirement::{self, Unmet},
    serial::one_at_a_time,
    workload::curl::chat,
};
use rustix::process::Signal;
use tokio::process::Command;

use crate::scene::{OPENAI_CHAT, assert_whole, run, words};

/// A user and a group that nothing else here has.
const USER: u32 = 54_321;

/// Becomes root for this group's members only, forgets the caller's environment as sudo does, and writes down its command line.
const AS_ROOT: &str = "#!/bin/sh\nshift\nprintf '%s\\n' \"$@\" > \"$0.line\"\nexec FOLDER/env -i PATH=/usr/sbin:/usr/bin:/sbin:/bin SUDO_UID=$(id -u) \"$@\"\n";

/// Refuses, as sudo refuses a user it does not know.
const REFUSES: &str = "#!/bin/sh\necho 'you may not' >&2\nexit 1\n";

/// Waits for a password for ever, or until its caller is gone.
const WAITS: &str = "#!/bin/sh\necho waits >&2\nexec cat > /dev/null\n";

/// A folder that the user may enter, with the agent and a stand-in of sudo.
struct Unprivileged {
    folder: PathBuf,
    setpriv: PathBuf,
}

impl Unprivileged {
    fn with_sudo(name: &str, script: &str) -> Result<Self, Unmet> {
        requirement::root()?;
        let setpriv = requirement::program("setpriv", "install the package `util-linux`")?;
        let env = requirement::program("env", "install the package `coreutils`")?;
        let agent = binary()?;
        let folder = std::env::temp_dir().join(format!("a11i-unprivileged-{name}-{}", std::process::id()));
        fs::create_dir_all(&folder).expect("a temporary folder");
        // Before anything is in it: only the group's members come in.
        fs::set_permissions(&folder, fs::Permissions::from_mode(0o770)).expect("its mode can be set");
        chown(&folder, Some(0), Some(USER)).expect("it can be given away");
        let made = Self { folder, setpriv };
        fs::copy(agent, made.file("a11i")).expect("the agent can be copied");
        fs::copy(env, made.file("env")).expect("env can be copied");
        fs::set_permissions(made.file("env"), fs::Permissions::from_mode(0o4755)).expect("its mode can be set");
        fs::write(made.file("sudo"), script.replace("FOLDER", made.folder.to_str().expect("UTF-8"))).expect("it can be written");
        fs::set_permissions(made.file("sudo"), fs::Permissions::from_mode(0o755)).expect("its mode can be set");
        Ok(made)
    }

    fn file(&self, name: &str) -> PathBuf {
        self.folder.join(name)
    }

    /// `a11i exec` as the user.
    fn exec(&self, arguments: &[&str]) -> Command {
        let mut command = Command::new(&self.setpriv);
        command.args(["--reuid", &USER.to_string(), "--regid", &USER.to_string(), "--clear-groups"]);
        let path = format!("{}:{}", self.folder.display(), std::env::var("PATH").expect("a search path"));
        command.arg(self.file("a11i")).arg("exec").args(arguments).env("PATH", path);
        command
    }
}

impl Drop for Unprivileged {
    fn drop(&mut self) {
        fs::remove_dir_all(&self.folder).ok();
    }
}

#[tokio::test]
async fn a_user_is_observed_through_sudo_and_stays_the_user() {
    let _turn = one_at_a_time();
    let Some(user) = requirement::met(Unprivileged::with_sudo("seen", AS_ROOT)) else { return };
    let Some(curl) = requirement::met(requirement::program("curl", "install the package `curl`")) else { return };
    let stub = ProviderStub::start();
    let authority = user.file("ca.pem");
    fs::copy(stub.ca_file(), &authority).expect("the authority can be copied");
    fs::set_permissions(&authority, fs::Permissions::from_mode(0o644)).expect("its mode can be set");
    let script = format!(
        "{} --silent --http1.1 --cacert {} --connect-to api.openai.com:443:127.0.0.1:{} --json '{}' {OPENAI_CHAT} > /dev/null; id -u >&2; exit 9",
        curl.display(),
        authority.display(),
        stub.port(),
        chat("gpt-4o-mini", "a secret argument"),
    );
    let mut command = user.exec(&["--", "sh", "-c", &script]);
    // The form of the output is a setting that only the environment has; so it must have come through.
    command.env("A11I_OUTPUT", "json").env("OTEL_EXPORTER_OTLP_HEADERS", "authorization=a-secret-header");
    let output = run(&mut command).await;
    assert_eq!(output.status.code(), Some(9), "{}", words(&output));
    assert!(words(&output).contains(&format!("\n{USER}\n")), "{}", words(&output));
    assert!(words(&output).contains("a11i: 1 calls"), "{}", words(&output));
    let calls = calls_in(&String::from_utf8_lossy(&output.stdout));
    let expected = stub.expected();
    let ([expected], [call]) = (&expected[..], &calls[..]) else { panic!("{expected:#?}\n{}", words(&output)) };
    expected.assert_reported_as(call);
    assert_whole(call);
    let line = fs::read_to_string(user.file("sudo.line")).expect("it was written down");
    assert!(line.contains("--attend"), "{line}");
    assert!(!line.contains("secret"), "{line}");
}

#[tokio::test]
async fn a_user_whom_sudo_refuses_runs_nothing() {
    let _turn = one_at_a_time();
    let Some(user) = requirement::met(Unprivileged::with_sudo("refused", REFUSES)) else { return };
    let output = run(&mut user.exec(&["--", "touch", user.file("it-ran").to_str().expect("UTF-8")])).await;
    assert_eq!(output.status.code(), Some(125), "{}", words(&output));
    assert!(words(&output).contains("you may not"), "{}", words(&output));
    assert!(words(&output).contains("was not run"), "{}", words(&output));
    assert!(!user.file("it-ran").exists());
}

#[tokio::test]
async fn an_agent_that_is_killed_or_ended_before_it_observes_runs_nothing() {
    let _turn = one_at_a_time();
    for (name, sent) in [("killed", Signal::KILL), ("ended", Signal::TERM)] {
        let Some(user) = requirement::met(Unprivileged::with_sudo(name, WAITS)) else { return };
        let mut command = user.exec(&["--", "touch", user.file("it-ran").to_str().expect("UTF-8")]);
        let mut child =
            command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::piped()).kill_on_drop(true).spawn().expect("it starts");
        let mut said = tokio::io::BufReader::new(child.stderr.take().expect("piped"));
        let mut text = String::new();
        while !text.contains("waits") {
            let read = tokio::time::timeout(PATIENCE, tokio::io::AsyncBufReadExt::read_line(&mut said, &mut text)).await;
            assert!(read.expect("sudo is asked").expect("it can be read") > 0, "{text}");
        }
        signal(child.id().expect("it runs"), sent);
        // The end of standard error is the end of the process at the gate too.
        let rest = tokio::time::timeout(PATIENCE, tokio::io::AsyncReadExt::read_to_string(&mut said, &mut text)).await;
        rest.expect("everything ends").expect("it can be read");
        let status = child.wait().await.expect("it can be waited for");
        assert!(text.contains("was not run"), "{text}");
        assert!(sent == Signal::KILL || status.code() == Some(128 + 15), "{status}: {text}");
        assert!(!user.file("it-ran").exists(), "{text}");
    }
}

/// The privileged half's answer to this request of user `USER`.
async fn attend(agent: &Path, pid: u32, settings: &[&str]) -> Output {
    let mut fields = format!("{pid}\0/bin/true\0").into_bytes();
    for setting in settings {
        fields.extend_from_slice(setting.as_bytes());
        fields.push(0);
    }
    let (reader, mut writer) = std::io::pipe().expect("a pipe");
    writer.write_all(&u32::try_from(fields.len()).expect("few").to_le_bytes()).expect("it fits");
    writer.write_all(&fields).expect("it fits");
    drop(writer);
    let mut command = Command::new(agent);
    command.args(["exec", "--attend"]).env("SUDO_UID", USER.to_string());
    let ended = tokio::time::timeout(PATIENCE, command.stdin(Stdio::from(std::os::fd::OwnedFd::from(reader))).kill_on_drop(true).output());
    ended.await.expect("it ends").expect("the agent can be started")
}

#[tokio::test]
async fn a_user_cannot_have_others_observed_nor_pass_other_variables() {
    let _turn = one_at_a_time();
    let Some(()) = requirement::met(requirement::root()) else { return };
    let Some(agent) = requirement::met(binary()) else { return };
    let others = attend(&agent, std::process::id(), &[]).await;
    assert_eq!(others.status.code(), Some(125), "{}", words(&others));
    assert!(words(&others).contains(&format!("not one of user {USER}")), "{}", words(&others));
    assert!(!words(&others).contains("a11i-attached"), "{}", words(&others));
    let loader = attend(&agent, std::process::id(), &["LD_PRELOAD=/tmp/x.so"]).await;
    assert_eq!(loader.status.code(), Some(125), "{}", words(&loader));
    assert!(words(&loader).contains("LD_PRELOAD"), "{}", words(&loader));
}
