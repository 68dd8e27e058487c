//! The programs that a bench drives: two small C programs that take commands by line, and the agent.

use std::{
    collections::BTreeMap,
    fs,
    io::{BufRead as _, BufReader, Read as _, Write as _},
    net::{Ipv4Addr, TcpListener, TcpStream},
    path::{Path, PathBuf},
    process::{Child, ChildStdin, ChildStdout, Command, Stdio},
    thread,
    time::{Duration, Instant},
};

use anyhow::{Context as _, Result, bail};

use crate::process;

/// How long the agent may take to attach to everything, or to end. Generous: it ends a bench that hangs, it measures nothing.
const PATIENCE: Duration = Duration::from_mins(1);
const LOOK_AGAIN: Duration = Duration::from_millis(20);

/// Compiles `tests/bench/NAME.c` into the target folder.
pub(super) fn compile(root: &Path, target: &Path, name: &str, libraries: &[&str]) -> Result<PathBuf> {
    let folder = target.join("bench");
    fs::create_dir_all(&folder).with_context(|| format!("could not create {}", folder.display()))?;
    let program = folder.join(name);
    let source = root.join("tests/bench").join(name).with_extension("c");
    let mut compiler = Command::new("cc");
    process::run(compiler.args(["-O2", "-Wall", "-Wextra", "-o"]).arg(&program).arg(source).args(libraries))
        .with_context(|| format!("{name} does not compile: it needs a C compiler and libssl-dev"))?;
    Ok(program)
}

/// A program that answers commands. It ends when it is dropped.
pub(super) struct Instrument {
    child: Child,
    commands: Option<ChildStdin>,
    answers: BufReader<ChildStdout>,
}

impl Instrument {
    pub(super) fn start(program: &Path) -> Result<Self> {
        let mut child = Command::new(program)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .with_context(|| format!("could not start {}", program.display()))?;
        let commands = child.stdin.take();
        let answers = BufReader::new(child.stdout.take().context("its output is not piped")?);
        Ok(Self { child, commands, answers })
    }

    pub(super) fn line(&mut self) -> Result<String> {
        let mut line = String::new();
        if self.answers.read_line(&mut line)? == 0 {
            bail!("an instrument of the bench has ended; its own words stand above");
        }
        Ok(line.trim_end().to_owned())
    }

    pub(super) fn ask(&mut self, command: &str) -> Result<String> {
        let commands = self.commands.as_mut().context("it was told to end")?;
        writeln!(commands, "{command}").and_then(|()| commands.flush()).with_context(|| format!("`{command}` could not be sent"))?;
        self.line()
    }

    /// Answers up to the `ok` that ends them.
    pub(super) fn ask_all(&mut self, command: &str) -> Result<Vec<String>> {
        let mut line = self.ask(command)?;
        let mut all = Vec::new();
        while line != "ok" {
            all.push(line);
            line = self.line()?;
        }
        Ok(all)
    }
}

impl Drop for Instrument {
    fn drop(&mut self) {
        // The end of its input is the end of its work.
        drop(self.commands.take());
        if let Err(error) = self.child.wait() {
            eprintln!("xtask: an instrument of the bench cannot be waited for: {error}");
        }
    }
}

/// A running `a11i run --output none`, with every probe attached.
pub(super) struct Agent {
    child: Child,
    log: Option<thread::JoinHandle<String>>,
}

impl Agent {
    pub(super) fn start(binary: &Path) -> Result<Self> {
        let [health, metrics] = free_ports()?;
        let mut command = Command::new(binary);
        // Its trace level is a line per kernel counter and second.
        command.args(["run", "--output", "none", "--log-level", "trace"]);
        command.env("A11I_HEALTH_PORT", health.to_string()).env("A11I_METRICS_PORT", metrics.to_string());
        let exported = std::env::vars_os().filter(|(name, _)| name.to_string_lossy().starts_with("OTEL_"));
        exported.for_each(|(name, _)| {
            command.env_remove(name);
        });
        process::without_cargo_run_variables(&mut command);
        let mut child = command
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::piped())
            .spawn()
            .with_context(|| format!("could not start {}", binary.display()))?;
        let errors = child.stderr.take();
        let log = thread::spawn(move || {
            let mut text = Vec::new();
            // What was read before a failure is still its log.
            drop(errors.map(|mut stream| stream.read_to_end(&mut text)));
            String::from_utf8_lossy(&text).into_owned()
        });
        let mut agent = Self { child, log: Some(log) };
        let begun = Instant::now();
        while !answers_ready(health) {
            if agent.child.try_wait()?.is_some() || begun.elapsed() > PATIENCE {
                bail!("the agent did not become ready; its log:\n{}", agent.stop()?);
            }
            thread::sleep(LOOK_AGAIN);
        }
        Ok(agent)
    }

    pub(super) fn pid(&self) -> u32 {
        self.child.id()
    }

    /// The ids of the programs that it has loaded.
    pub(super) fn programs(&self) -> Result<Vec<u32>> {
        let mut ids = Vec::new();
        for entry in fs::read_dir(format!("/proc/{}/fdinfo", self.pid()))? {
            // A descriptor may be closed at any moment.
            let Ok(text) = fs::read_to_string(entry?.path()) else { continue };
            // Links have a program too: only a program's own descriptor says whether it is JITed.
            if text.contains("prog_jited:") {
                ids.extend(text.lines().find_map(|line| line.strip_prefix("prog_id:")?.trim().parse::<u32>().ok()));
            }
        }
        Ok(ids)
    }

    /// Resident memory in KiB: all of it, and that of the ring buffer's mapping (its pages are mapped twice).
    pub(super) fn resident_kib(&self) -> Result<(u64, u64)> {
        let maps = fs::read_to_string(format!("/proc/{}/smaps", self.pid())).context("the agent's memory cannot be read")?;
        let (mut all, mut ring, mut in_ring) = (0u64, 0u64, false);
        for line in maps.lines() {
            let mut words = line.split_whitespace();
            match words.next() {
                Some("Rss:") => {
                    let size = words.next().and_then(|size| size.parse::<u64>().ok()).unwrap_or_default();
                    all += size;
                    ring += if in_ring { size } else { 0 };
                }
                Some(first) if !first.ends_with(':') => in_ring = line.contains("bpf-map"),
                _ => {}
            }
        }
        Ok((all, ring))
    }

    /// SIGTERM, then its log. Its probes end with it.
    pub(super) fn stop(mut self) -> Result<String> {
        self.terminate()?;
        let log = self.log.take().and_then(|log| log.join().ok());
        log.context("the agent's log was not read")
    }

    /// The kernel's counters as a stopped agent's log tells them last.
    pub(super) fn counters(log: &str) -> BTreeMap<String, u64> {
        let field = |line: &str, name: &str| {
            let from = line.split_once(&format!("{name}="))?.1;
            Some(from.split_whitespace().next()?.trim_matches('"').to_owned())
        };
        let lines = log.lines().filter(|line| line.contains("kernel counter"));
        lines.filter_map(|line| Some((field(line, "name")?, field(line, "value")?.parse().ok()?))).collect()
    }

    fn terminate(&mut self) -> Result<()> {
        if self.child.try_wait()?.is_some() {
            return Ok(());
        }
        process::output(Command::new("kill").args(["-TERM", &self.pid().to_string()]));
        let begun = Instant::now();
        while self.child.try_wait()?.is_none() {
            if begun.elapsed() > PATIENCE {
                self.child.kill()?;
                self.child.wait()?;
                bail!("the agent did not end after SIGTERM");
            }
            thread::sleep(LOOK_AGAIN);
        }
        Ok(())
    }
}

impl Drop for Agent {
    fn drop(&mut self) {
        if let Err(error) = self.terminate() {
            eprintln!("xtask: {error:#}");
        }
    }
}

/// Two loopback ports that were free a moment ago.
fn free_ports() -> Result<[u16; 2]> {
    let [first, second] = [TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?, TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?];
    Ok([first.local_addr()?.port(), second.local_addr()?.port()])
}

fn answers_ready(port: u16) -> bool {
    let ask = || -> std::io::Result<String> {
        let mut socket = TcpStream::connect((Ipv4Addr::LOCALHOST, port))?;
        socket.write_all(b"GET /ready HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n")?;
        let mut answer = String::new();
        socket.read_to_string(&mut answer)?;
        Ok(answer)
    };
    ask().is_ok_and(|answer| answer.starts_with("HTTP/1.1 200"))
}

#[cfg(test)]
mod tests {
    use super::Agent;

    #[test]
    fn the_last_word_on_a_counter_counts() {
        let log = "x TRACE kernel counter name=\"calls\" value=3\nx INFO stopped calls=1\nx TRACE kernel counter name=\"calls\" value=5\n";
        assert_eq!(Agent::counters(log).get("calls"), Some(&5));
        assert_eq!(Agent::counters("nothing").len(), 0);
    }
}
