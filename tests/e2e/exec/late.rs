//! What the command loads long after its start.

use std::{collections::BTreeSet, fs, path::PathBuf, process::Stdio, time::Duration};

use a11i_tests::{
    agent::{PATIENCE, binary},
    provider_stub::ProviderStub,
    requirement,
    serial::one_at_a_time,
    workload::{c_client::post, curl::chat, late_client::Workshop},
};
use rustix::process::{Pid, Resource, Rlimit, getrlimit, prlimit};
use tokio::{
    io::{AsyncBufReadExt as _, AsyncReadExt as _, AsyncWriteExt as _, BufReader, Lines},
    process::{Child, ChildStderr, ChildStdin, Command},
};

use super::calls_among;
use crate::scene::assert_whole;

const HOST: &str = "api.openai.com";
/// Longer than a young process is followed, and than two looks at an old one are apart.
const PAST_EVERY_LOOK: Duration = Duration::from_secs(7);
/// Enough to open a library, and to hold it for the look at its code; the last of its links finds none.
const FEW: u64 = 4;

#[tokio::test]
async fn a_library_that_an_old_process_loads_is_noticed() {
    let _turn = one_at_a_time();
    let Some(mut scene) = Scene::start("late-exec").await else { return };
    tokio::time::sleep(PAST_EVERY_LOOK).await;
    scene.load().await;
    scene.wait_for_log("attached path=").await;
    scene.finish_with_a_call().await;
}

#[tokio::test]
async fn a_library_for_which_there_were_no_descriptors_is_attached_when_there_are() {
    let _turn = one_at_a_time();
    let Some(mut scene) = Scene::start("late-exec-few").await else { return };
    tokio::time::sleep(PAST_EVERY_LOOK).await;
    // The agent's as well.
    let usual = getrlimit(Resource::Nofile);
    scene.limit(Rlimit { current: Some(scene.descriptors_and(FEW)), ..usual });
    scene.load().await;
    scene.wait_for_log("Too many open files").await;
    scene.limit(usual);
    scene.wait_for_log("attached path=").await;
    scene.finish_with_a_call().await;
}

/// The agent and its command, which has not loaded its TLS library yet.
struct Scene {
    agent: Child,
    input: ChildStdin,
    log: Lines<BufReader<ChildStderr>>,
    library: PathBuf,
    request: PathBuf,
    stub: ProviderStub,
    _workshop: Workshop,
}

impl Scene {
    async fn start(name: &str) -> Option<Self> {
        requirement::met(requirement::root())?;
        let agent = requirement::met(binary())?;
        let workshop = requirement::met(Workshop::open(name).await)?;
        let stub = ProviderStub::start();
        let (library, request) = (workshop.copy_of_libssl("libssl.so.3"), workshop.path("request"));
        fs::write(&request, post(HOST, "/v1/chat/completions", &[], &chat("gpt-4o-mini", "hello"))).expect("the folder is writable");
        let mut command = Command::new(agent);
        command.args(["exec", "--log-level", "info", "--output", "json", "--"]).arg(workshop.path("late_tls"));
        command.arg(&library).arg(stub.port().to_string()).arg(HOST).arg(stub.ca_file()).kill_on_drop(true);
        command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
        let mut agent = command.spawn().expect("the agent can be started");
        let input = agent.stdin.take().expect("piped");
        let log = BufReader::new(agent.stderr.take().expect("piped")).lines();
        Some(Self { agent, input, log, library, request, stub, _workshop: workshop })
    }

    async fn load(&mut self) {
        self.input.write_all(b"load\n").await.expect("the program reads");
    }

    /// A line with these words that names the library.
    async fn wait_for_log(&mut self, words: &str) {
        let library = self.library.display().to_string();
        let said = async {
            while let Some(line) = self.log.next_line().await.expect("the log is text") {
                if line.contains(words) && line.contains(&library) {
                    return;
                }
            }
            panic!("the agent ended and had not said `{words}` of {library}");
        };
        tokio::time::timeout(PATIENCE, said).await.unwrap_or_else(|_| panic!("`{words}` is said of the library"));
    }

    /// The limit that leaves so many descriptors to the agent.
    fn descriptors_and(&self, few: u64) -> u64 {
        let folder = format!("/proc/{}/fd", self.pid().as_raw_nonzero());
        let number = |entry: std::io::Result<fs::DirEntry>| entry.ok()?.file_name().to_str()?.parse().ok();
        let numbers: BTreeSet<u64> = fs::read_dir(folder).expect("the agent runs").filter_map(number).collect();
        // Each number in use below the limit is one that is not left.
        numbers.iter().fold(few, |limit, number| if *number < limit { limit + 1 } else { limit })
    }

    fn limit(&self, limit: Rlimit) {
        prlimit(Some(self.pid()), Resource::Nofile, limit).expect("root may do that");
    }

    fn pid(&self) -> Pid {
        let pid = self.agent.id().and_then(|pid| i32::try_from(pid).ok());
        pid.and_then(Pid::from_raw).expect("the agent runs")
    }

    async fn finish_with_a_call(mut self) {
        self.input.write_all(format!("call {}\n", self.request.display()).as_bytes()).await.expect("the program reads");
        drop(self.input);
        let mut said = String::new();
        let read = self.agent.stdout.as_mut().expect("piped").read_to_string(&mut said);
        tokio::time::timeout(PATIENCE, read).await.expect("it ends when its program does").expect("it is text");
        let status = tokio::time::timeout(PATIENCE, self.agent.wait()).await.expect("it ends").expect("it can be waited for");
        assert!(status.success(), "{status}: {said}");
        let calls = calls_among(&said);
        let expected = self.stub.expected();
        let ([expected], [call]) = (&expected[..], &calls[..]) else { panic!("{expected:#?}\n{said}") };
        expected.assert_reported_as(call);
        assert_whole(call);
    }
}
