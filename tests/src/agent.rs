//! The agent as a child process: started, waited for, read, stopped as an operator would.

use std::{
    net::{Ipv4Addr, SocketAddr, TcpListener},
    path::PathBuf,
    process::{ExitStatus, Stdio},
    sync::{Arc, Mutex, PoisonError},
    time::{Duration, Instant},
};

use rustix::process::{Pid, Signal};
use tokio::{
    io::{AsyncBufReadExt as _, AsyncRead, AsyncReadExt as _, AsyncWriteExt as _, BufReader},
    net::TcpStream,
    process::{Child, Command},
    task::JoinHandle,
};

use crate::{
    observed::ObservedCall,
    otlp_sink::OtlpSink,
    requirement::{self, Unmet},
};

/// How long anything may take before a test gives up. Generous: a loaded machine is slow, and no test asserts a time.
pub const PATIENCE: Duration = Duration::from_mins(1);
/// The same in a guest kernel under emulation, 20 to 40 times slower.
pub const GUEST_PATIENCE: Duration = Duration::from_mins(15);
/// How often a waiting query looks again.
const LOOK_AGAIN: Duration = Duration::from_millis(20);

/// The binary under test: `A11I_BIN`, else the one beside this test in the target folder.
pub fn binary() -> Result<PathBuf, Unmet> {
    if let Some(path) = std::env::var_os("A11I_BIN") {
        return Ok(path.into());
    }
    // target/debug/deps/e2e-0123 → target/debug/a11i
    let beside = std::env::current_exe().ok().and_then(|test| Some(test.parent()?.parent()?.join("a11i")));
    beside
        .filter(|path| path.is_file())
        .ok_or_else(|| Unmet::new("the agent's binary is not built", "run `cargo build -p a11i-agent`, or set A11I_BIN to its path"))
}

/// How to start the agent.
#[derive(Clone, Debug)]
pub struct AgentOptions {
    pub environment: Vec<(String, String)>,
    pub arguments: Vec<String>,
    /// A program and its arguments that become the agent: with other capabilities, in another namespace.
    pub around: Vec<String>,
    pub patience: Duration,
}

impl Default for AgentOptions {
    fn default() -> Self {
        Self { environment: Vec::new(), arguments: Vec::new(), around: Vec::new(), patience: PATIENCE }
    }
}

impl AgentOptions {
    /// Generous limits for a guest kernel.
    pub fn guest() -> Self {
        Self { patience: GUEST_PATIENCE, ..Self::default() }
    }

    #[must_use]
    pub fn env(mut self, name: &str, value: &str) -> Self {
        self.environment.push((name.to_owned(), value.to_owned()));
        self
    }

    #[must_use]
    pub fn argument(mut self, argument: &str) -> Self {
        self.arguments.push(argument.to_owned());
        self
    }

    /// Started by this command, which becomes the agent.
    #[must_use]
    pub fn around(mut self, command: &[&str]) -> Self {
        self.around = command.iter().map(|&word| word.to_owned()).collect();
        self
    }

    /// Exports to the sink, by `grpc` or `http/protobuf`, without waiting long for a batch to fill.
    #[must_use]
    pub fn export_to(self, sink: &OtlpSink, protocol: &str) -> Self {
        self.env("OTEL_EXPORTER_OTLP_ENDPOINT", &sink.endpoint())
            .env("OTEL_EXPORTER_OTLP_PROTOCOL", protocol)
            .env("OTEL_BSP_SCHEDULE_DELAY", "200")
            .env("OTEL_METRIC_EXPORT_INTERVAL", "1000")
    }
}

/// A running `a11i run --output json`.
pub struct Agent {
    child: Child,
    health: u16,
    patience: Duration,
    output: Output,
    readers: Vec<JoinHandle<()>>,
}

/// What the agent has written.
#[derive(Clone, Default)]
struct Output(Arc<Mutex<Written>>);

#[derive(Clone, Debug, Default)]
struct Written {
    calls: Vec<ObservedCall>,
    /// Lines on standard output that are no calls: a mistake of the agent.
    strange: Vec<String>,
    log: String,
}

/// The agent after its end.
#[derive(Debug)]
pub struct Finished {
    pub calls: Vec<ObservedCall>,
    pub log: String,
}

impl Agent {
    /// Starts `a11i run` and waits until `/ready` says that the probes are attached.
    pub async fn start() -> Option<Self> {
        Self::start_with(AgentOptions::default()).await
    }

    /// None after saying which requirement is missing.
    ///
    /// # Panics
    /// With the agent's log when it ends or does not become ready.
    pub async fn start_with(options: AgentOptions) -> Option<Self> {
        let mut agent = Self::begin(options)?;
        agent.wait_until_ready().await;
        Some(agent)
    }

    /// Starts it, and waits for nothing. None after saying which requirement is missing.
    pub fn begin(options: AgentOptions) -> Option<Self> {
        requirement::met(requirement::root())?;
        let binary = requirement::met(binary())?;
        let [health, metrics] = free_ports();
        let mut line: Vec<std::ffi::OsString> = options.around.iter().map(Into::into).collect();
        line.push(binary.into());
        let mut command = Command::new(line.first().expect("the agent at least"));
        command.args(line.iter().skip(1)).args(["run", "--output", "json"]).args(&options.arguments);
        command.env("A11I_HEALTH_PORT", health.to_string()).env("A11I_METRICS_PORT", metrics.to_string());
        for (name, _) in std::env::vars_os().filter(|(name, _)| name.to_string_lossy().starts_with("OTEL_")) {
            command.env_remove(name); // what is exported where is the test's business alone
        }
        command.envs(options.environment);
        command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped()).kill_on_drop(true);
        let mut child = command.spawn().expect("the agent's binary can be started");
        let output = Output::default();
        let readers = vec![output.read_calls(child.stdout.take().expect("piped")), output.read_log(child.stderr.take().expect("piped"))];
        Some(Self { child, health, patience: options.patience, output, readers })
    }

    pub fn pid(&self) -> u32 {
        self.child.id().expect("the agent runs")
    }

    /// The calls reported so far, of every process of the machine.
    pub fn calls(&self) -> Vec<ObservedCall> {
        self.output.written().calls
    }

    pub fn log(&self) -> String {
        self.output.written().log
    }

    /// Waits for the report of this response.
    pub async fn call_with_id(&self, response_id: &str) -> ObservedCall {
        self.wait(&format!("the call with response id {response_id}"), |calls| {
            calls.iter().find(|call| call.response_id() == Some(response_id)).cloned()
        })
        .await
    }

    /// Waits for `count` calls of one process.
    pub async fn calls_of(&self, pid: u32, count: usize) -> Vec<ObservedCall> {
        self.wait(&format!("{count} calls of process {pid}"), |calls| {
            let of: Vec<_> = calls.iter().filter(|call| call.pid() == Some(pid)).cloned().collect();
            (of.len() >= count).then_some(of)
        })
        .await
    }

    /// Waits until `find` gives something.
    ///
    /// # Panics
    /// With `what`, the calls and the agent's log when patience ends.
    pub async fn wait<T>(&self, what: &str, find: impl Fn(&[ObservedCall]) -> Option<T>) -> T {
        let begun = Instant::now();
        loop {
            let written = self.output.written();
            if let Some(found) = find(&written.calls) {
                return found;
            }
            let patient = begun.elapsed() <= self.patience;
            assert!(patient, "waited {:?} for {what}.\ncalls so far: {:#?}\nagent's log:\n{}", self.patience, written.calls, written.log);
            tokio::time::sleep(LOOK_AGAIN).await;
        }
    }

    /// Waits until the agent's log contains all of the words, in one line, whatever their case.
    pub async fn wait_for_log(&self, words: &[&str]) -> String {
        let begun = Instant::now();
        loop {
            let log = self.log();
            let line = log.lines().find(|line| {
                let line = line.to_lowercase();
                words.iter().all(|word| line.contains(&word.to_lowercase()))
            });
            if let Some(line) = line {
                return line.to_owned();
            }
            assert!(begun.elapsed() <= self.patience, "waited {:?} for a line with {words:?} in the agent's log:\n{log}", self.patience);
            tokio::time::sleep(LOOK_AGAIN).await;
        }
    }

    /// Status code of `GET path` on the health port; None when nobody answers.
    pub async fn health(&self, path: &str) -> Option<u16> {
        self.page(path).await.map(|(status, _)| status)
    }

    /// The same, with what the page says.
    pub async fn page(&self, path: &str) -> Option<(u16, String)> {
        get(self.health, path).await
    }

    /// Waits until `/ready` says this status.
    ///
    /// # Panics
    /// When patience ends.
    pub async fn wait_for_phase(&self, phase: &str) {
        let begun = Instant::now();
        let word = format!("\"status\":\"{phase}\"");
        while !self.page("/ready").await.is_some_and(|(_, page)| page.contains(&word)) {
            assert!(begun.elapsed() <= self.patience, "the agent was not {phase} within {:?}; its log:\n{}", self.patience, self.log());
            tokio::time::sleep(LOOK_AGAIN).await;
        }
    }

    /// Its own end, with everything it wrote.
    ///
    /// # Panics
    /// When it does not end.
    pub async fn ended(mut self) -> (ExitStatus, Finished) {
        let ended = tokio::time::timeout(self.patience, self.child.wait()).await;
        let Ok(status) = ended else { panic!("the agent still runs after {:?}; its log:\n{}", self.patience, self.log()) };
        for reader in self.readers.drain(..) {
            reader.await.expect("reading does not panic");
        }
        let written = self.output.written();
        (status.expect("the agent can be waited for"), Finished { calls: written.calls, log: written.log })
    }

    /// SIGTERM, then everything it wrote.
    ///
    /// # Panics
    /// When the exit status is not 0, or a line of its output is no call.
    pub async fn stop(mut self) -> Finished {
        let status = self.terminate().await;
        let written = self.output.written();
        assert!(status.success(), "the agent ended with {status} after SIGTERM; its log:\n{}", written.log);
        assert!(written.strange.is_empty(), "lines on standard output that are no calls: {:#?}", written.strange);
        Finished { calls: written.calls, log: written.log }
    }

    /// SIGKILL: it can put nothing in order.
    pub async fn kill(mut self) {
        signal(self.pid(), Signal::KILL);
        let status = self.child.wait().await.expect("the agent can be waited for");
        assert_eq!(status.code(), None, "the agent ended by itself with {status}; its log:\n{}", self.log());
    }

    async fn terminate(&mut self) -> ExitStatus {
        signal(self.pid(), Signal::TERM);
        let ended = tokio::time::timeout(self.patience, self.child.wait()).await;
        let Ok(status) = ended else { panic!("the agent still runs {:?} after SIGTERM; its log:\n{}", self.patience, self.log()) };
        for reader in self.readers.drain(..) {
            reader.await.expect("reading does not panic");
        }
        status.expect("the agent can be waited for")
    }

    /// # Panics
    /// With the agent's log when it ends or does not become ready.
    pub async fn wait_until_ready(&mut self) {
        let begun = Instant::now();
        while self.health("/ready").await != Some(200) {
            if let Some(status) = self.child.try_wait().expect("the agent can be waited for") {
                tokio::time::sleep(LOOK_AGAIN).await; // for the last of its log
                panic!("the agent ended with {status} before it was ready; its log:\n{}", self.log());
            }
            assert!(begun.elapsed() <= self.patience, "the agent was not ready within {:?}; its log:\n{}", self.patience, self.log());
            tokio::time::sleep(LOOK_AGAIN).await;
        }
    }
}

impl Drop for Agent {
    fn drop(&mut self) {
        // One that is still ending would be in the next one's way.
        self.child.start_kill().ok();
        let begun = Instant::now();
        while self.child.id().is_some() && matches!(self.child.try_wait(), Ok(None)) && begun.elapsed() < PATIENCE {
            std::thread::sleep(LOOK_AGAIN);
        }
        if std::thread::panicking() {
            let log = self.log();
            // Not `eprintln!`: the harness captures it from the test's thread, and this may run on another.
            std::io::Write::write_all(&mut std::io::stderr(), format!("agent's log:\n{log}\n").as_bytes()).ok();
        }
    }
}

impl Output {
    fn written(&self) -> Written {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    fn read_calls(&self, from: impl AsyncRead + Unpin + Send + 'static) -> JoinHandle<()> {
        self.read(from, |written, line| match ObservedCall::from_json_line(line) {
            Ok(call) => written.calls.push(call),
            Err(mistake) => written.strange.push(mistake),
        })
    }

    fn read_log(&self, from: impl AsyncRead + Unpin + Send + 'static) -> JoinHandle<()> {
        self.read(from, |written, line| {
            written.log.push_str(line);
            written.log.push('\n');
        })
    }

    fn read(
        &self,
        from: impl AsyncRead + Unpin + Send + 'static,
        mut take: impl FnMut(&mut Written, &str) + Send + 'static,
    ) -> JoinHandle<()> {
        let written = Arc::clone(&self.0);
        tokio::spawn(async move {
            let mut lines = BufReader::new(from).split(b'\n');
            while let Ok(Some(line)) = lines.next_segment().await {
                take(&mut written.lock().unwrap_or_else(PoisonError::into_inner), &String::from_utf8_lossy(&line));
            }
        })
    }
}

/// Parses what `--output json` wrote; every line is a call.
///
/// # Panics
/// With the first line that is none.
pub fn calls_in(output: &str) -> Vec<ObservedCall> {
    output.lines().map(|line| ObservedCall::from_json_line(line).unwrap_or_else(|mistake| panic!("{mistake}"))).collect()
}

/// Sends a signal to a process that this test has started.
///
/// # Panics
/// When there is no such process any more.
pub fn signal(pid: u32, signal: Signal) {
    let pid = i32::try_from(pid).ok().and_then(Pid::from_raw).expect("a process id");
    rustix::process::kill_process(pid, signal).expect("the process is still there");
}

/// Two loopback ports that were free a moment ago.
fn free_ports() -> [u16; 2] {
    let listen = || TcpListener::bind(SocketAddr::from((Ipv4Addr::LOCALHOST, 0))).expect("a loopback port");
    [listen(), listen()].map(|listener| listener.local_addr().expect("a bound socket has an address").port())
}

async fn get(port: u16, path: &str) -> Option<(u16, String)> {
    let mut socket = TcpStream::connect((Ipv4Addr::LOCALHOST, port)).await.ok()?;
    socket.write_all(format!("GET {path} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n").as_bytes()).await.ok()?;
    let mut answer = Vec::new();
    socket.read_to_end(&mut answer).await.ok()?;
    let answer = String::from_utf8_lossy(&answer).into_owned();
    Some((answer.split(' ').nth(1)?.parse().ok()?, answer))
}
