//! `cargo xtask bench kernel`: what the probes cost the programs they observe.
//!
//! A program that makes TLS calls in memory (`tests/bench/tls_load.c`) runs without probes, with an empty pair of probes
//! (`tests/bench/empty_probe.c`) and with the agent. Needs root and Linux 6.6. The kernel's measuring of programs is switched on
//! through a descriptor that ends with its holder, so nothing on this machine stays changed.

#![expect(clippy::cast_precision_loss, reason = "counts and nanoseconds of a bench are far below 2^52")]

use std::{collections::BTreeMap, env, fs::File, path::PathBuf, thread, time::Duration};

use anyhow::{Context as _, Result, bail};

use super::{
    child::{Agent, Instrument, compile},
    table::{Table, lowest, median, verdict},
};
use crate::{
    build::{self, Profile},
    process,
    workspace::Workspace,
};

/// Times every measurement is repeated. Odd, so that there is a median; many, since a program that is preempted counts its pause as its own.
const TURNS: usize = 21;
/// Times the agent is started for a comparison of whole calls.
const ROUNDS: usize = 5;
/// Loops of one kind in a round.
const LOOPS: usize = 5;
/// Exchanges of one loop, small: fewer bytes than the ring holds, so that its size is not what is measured.
const SMALL_LOOP: u64 = 2_000;
const LARGE_LOOP: u64 = 200;
/// Exchanges of a burst: their records stay below the 256 KiB from which the kernel half wakes the reader, so that copying is seen
/// apart from waking.
const SMALL_BURST: u64 = 300;
const LARGE_BURST: u64 = 7;
/// The tight loop of the budget.
const WRITES: u64 = 125_000;
const SMALL: u64 = 100;
const LARGE: u64 = 16_384;
/// What the agent may still be doing after it is ready.
const SETTLE: Duration = Duration::from_secs(2);
/// Between loops: the reader empties the ring, so that no loop finds it full.
const DRAIN: Duration = Duration::from_millis(150);

const ENTRY: &str = "tls_enter_multi";
const RETURN: &str = "tls_leave_multi";
const EMPTY_ENTRY: &str = "empty_entry";
const EMPTY_RETURN: &str = "empty_return";

pub(super) fn run(workspace: &Workspace) -> Result<()> {
    if !process::is_root() {
        bail!("`bench kernel` attaches probes: start it as root");
    }
    let agent = if let Some(path) = env::var_os("A11I_BIN") {
        PathBuf::from(path)
    } else {
        build::kernel_half(workspace, env::consts::ARCH)?;
        build::agent(workspace, Profile::Fast)?
    };
    let load = compile(&workspace.root, &workspace.target, "tls_load", &["-lssl", "-lcrypto"])?;
    let probe = compile(&workspace.root, &workspace.target, "empty_probe", &[])?;
    // The lock of the end-to-end tests: their agent would observe this load too.
    let turn = File::options().create(true).append(true).open(env::temp_dir().join("a11i-e2e.lock"))?;
    turn.lock().context("the machine-wide lock cannot be taken")?;

    let mut bench = Bench { load: Instrument::start(&load)?, probe: Instrument::start(&probe)?, agent, attach: String::new() };
    let library = bench.load.line()?;
    bench.attach = library.replacen("library", "attach", 1);
    let greeting = bench.probe.line()?;
    if greeting != "ok" {
        bail!("the empty probe answers `{greeting}`");
    }
    println!("{library}\n");
    bench.run_times()?;
    bench.whole_calls()?;
    bench.tight_loop()
}

struct Bench {
    load: Instrument,
    probe: Instrument,
    agent: PathBuf,
    /// The command that attaches the empty pair.
    attach: String,
}

/// Runs and nanoseconds of programs by name.
type RunTimes = BTreeMap<String, Totals>;

#[derive(Clone, Copy, Debug, Default)]
struct Totals {
    runs: u64,
    nanos: u64,
    missed: u64,
}

/// One command to the load.
#[derive(Clone, Copy, Debug)]
struct Case {
    name: &'static str,
    kind: &'static str,
    size: u64,
    count: u64,
}

impl Case {
    fn pair(self) -> String {
        format!("pair {} {} {}", self.kind, self.size, self.count)
    }
}

const HTTP_SMALL: Case = Case { name: "HTTP, 100 B", kind: "http", size: SMALL, count: SMALL_LOOP };
const HTTP_LARGE: Case = Case { name: "HTTP, 16 KiB", kind: "http", size: LARGE, count: LARGE_LOOP };
const HTTP_SMALL_BURST: Case = Case { name: "HTTP, 100 B, burst", kind: "http", size: SMALL, count: SMALL_BURST };
const HTTP_LARGE_BURST: Case = Case { name: "HTTP, 16 KiB, burst", kind: "http", size: LARGE, count: LARGE_BURST };
const OTHER_SMALL: Case = Case { name: "not HTTP, 100 B", kind: "other", size: SMALL, count: SMALL_LOOP };
const OTHER_LARGE: Case = Case { name: "not HTTP, 16 KiB", kind: "other", size: LARGE, count: LARGE_LOOP };

impl Bench {
    /// Run time of every program per hit, and what the agent weighs while it has nothing to do.
    fn run_times(&mut self) -> Result<()> {
        let agent = Agent::start(&self.agent)?;
        thread::sleep(SETTLE);
        let (resident, ring) = agent.resident_kib()?;
        let ours = agent.programs()?;
        self.probe.ask_all(&self.attach.clone())?;
        self.probe.ask_all("stats on")?;

        let mut table = Table::new(&["run time per hit", "hits", "ns", "lowest", "empty", "net ns", "budget", ""]);
        let mut add = |what: &str, hits: u64, times: &[f64], empty: f64, budget: f64| {
            let middle = median(times.to_vec());
            let net = middle - empty;
            let cells = [middle, lowest(times), empty, net, budget].map(|number| format!("{number:.0}"));
            table.row([what.to_owned(), hits.to_string()].into_iter().chain(cells).chain([verdict(net, budget)]));
        };
        self.load.ask(&HTTP_SMALL.pair())?; // caches and tables
        let mut missed = 0;
        for (case, entry_budget, return_budget, sum_budget) in [
            (HTTP_SMALL_BURST, Some(300.0), Some(900.0), None),
            (HTTP_SMALL, Some(300.0), Some(900.0), None),
            (HTTP_LARGE_BURST, Some(300.0), Some(4_000.0), None),
            (HTTP_LARGE, Some(300.0), Some(4_000.0), None),
            (OTHER_SMALL, None, None, Some(250.0)),
            (OTHER_LARGE, None, None, Some(250.0)),
        ] {
            let (mut per_hit, mut hits) = (BTreeMap::<&str, Vec<f64>>::new(), 0);
            for _ in 0..TURNS {
                let before = self.programs(&ours)?;
                self.load.ask(&case.pair())?;
                let after = self.programs(&ours)?;
                thread::sleep(DRAIN);
                for name in [ENTRY, RETURN, EMPTY_ENTRY, EMPTY_RETURN] {
                    let (old, new) = (before.get(name).copied().unwrap_or_default(), after.get(name).copied().unwrap_or_default());
                    let runs = new.runs.saturating_sub(old.runs);
                    if runs == 0 {
                        bail!("{name} was never hit: the probes are not where the load is");
                    }
                    per_hit.entry(name).or_default().push(new.nanos.saturating_sub(old.nanos) as f64 / runs as f64);
                    if name == RETURN {
                        hits += runs;
                        missed = new.missed;
                    }
                }
            }
            let of = |name: &str| per_hit.get(name).cloned().unwrap_or_default();
            let (empty_entry, empty_return) = (median(of(EMPTY_ENTRY)), median(of(EMPTY_RETURN)));
            if let Some(budget) = entry_budget {
                add(&format!("entry ({})", case.name), hits, &of(ENTRY), empty_entry, budget);
            }
            if let Some(budget) = return_budget {
                add(&format!("return ({})", case.name), hits, &of(RETURN), empty_return, budget);
            }
            if let Some(budget) = sum_budget {
                let both: Vec<f64> = of(ENTRY).iter().zip(of(RETURN)).map(|(entry, leave)| entry + leave).collect();
                add(&format!("entry + return ({})", case.name), hits, &both, empty_entry + empty_return, budget);
            }
        }
        table.print();
        println!("hits missed by recursion: {missed}");
        println!(
            "resident memory of the idle agent: {resident} KiB, of these {ring} KiB ring; without ring {} KiB (budget 40 MB)\n",
            resident - ring
        );
        self.probe.ask_all("stats off")?;
        self.probe.ask_all("detach")?;
        let lost = Agent::counters(&agent.stop()?).get("ring_full_records").copied().unwrap_or_default();
        println!("records that found no room (they are not copied, which is cheaper than a copy): {lost}\n");
        Ok(())
    }

    /// What a call takes without probes, with an empty pair and with the agent, in turns.
    fn whole_calls(&mut self) -> Result<()> {
        const STATES: [&str; 3] = ["none", "empty", "a11i"];
        let cases = [(HTTP_SMALL, Some(1.10)), (HTTP_LARGE, Some(1.25)), (OTHER_SMALL, None), (OTHER_LARGE, None)];
        let mut times: BTreeMap<(&str, &str), Vec<f64>> = BTreeMap::new();
        let mut lost = 0;
        for _ in 0..ROUNDS {
            for state in STATES {
                let agent = if state == "a11i" { Some(Agent::start(&self.agent)?) } else { None };
                if state == "empty" {
                    self.probe.ask_all(&self.attach.clone())?;
                }
                if agent.is_some() {
                    thread::sleep(SETTLE);
                }
                for (case, _) in cases {
                    for _ in 0..LOOPS {
                        times.entry((case.name, state)).or_default().push(self.per_call(&case.pair())?);
                        thread::sleep(DRAIN);
                    }
                }
                if state == "empty" {
                    self.probe.ask_all("detach")?;
                }
                if let Some(agent) = agent {
                    lost += Agent::counters(&agent.stop()?).get("ring_full_records").copied().unwrap_or_default();
                }
            }
        }
        let mut table = Table::new(&["time per call", "no probe", "empty pair", "a11i", "against empty pair", "budget", ""]);
        for (case, budget) in cases {
            let [none, empty, with] = STATES.map(|state| median(times.get(&(case.name, state)).cloned().unwrap_or_default()));
            let ratio = with / empty;
            let nanos = [none, empty, with].map(|time| format!("{time:.0} ns"));
            let (limit, word) = budget.map_or_else(Default::default, |budget| (format!("{budget:.2}x"), verdict(ratio, budget)));
            table.row([case.name.to_owned()].into_iter().chain(nanos).chain([format!("{ratio:.2}x"), limit, word]));
        }
        table.print();
        println!("records that found no room (they are not copied, which is cheaper than a copy): {lost}\n");
        Ok(())
    }

    /// Writes as fast as one thread can, every fifth a whole TLS record: nothing may be lost.
    fn tight_loop(&mut self) -> Result<()> {
        let agent = Agent::start(&self.agent)?;
        thread::sleep(SETTLE);
        let (_, bytes, nanos) = done(&self.load.ask(&format!("mixed {WRITES}"))?)?;
        let log = agent.stop()?;
        let counters = Agent::counters(&log);
        let counter = |name: &str| counters.get(name).copied().with_context(|| format!("the agent's log does not tell `{name}`"));
        let seconds = nanos as f64 / 1e9;
        println!("{WRITES} writes, {bytes} bytes in {seconds:.2} s ({:.0} MB/s)", bytes as f64 / 1e6 / seconds);
        let mut table = Table::new(&["kernel counter", "value"]);
        for name in ["calls", "copied_bytes", "ring_full_records", "ring_full_bytes", "user_fault_bytes", "in_flight_full", "sessions_full"]
        {
            table.row([name.to_owned(), counter(name)?.to_string()]);
        }
        table.print();
        let lost = counter("ring_full_bytes")?;
        println!("lost: {lost} of {bytes} bytes ({:.2} %); the budget is none", lost as f64 / bytes as f64 * 100.0);
        Ok(())
    }

    fn per_call(&mut self, command: &str) -> Result<f64> {
        let (calls, _, nanos) = done(&self.load.ask(command)?)?;
        Ok(nanos as f64 / calls as f64)
    }

    /// Run times of the agent's programs and of the empty ones, and of nobody else's.
    fn programs(&mut self, ours: &[u32]) -> Result<RunTimes> {
        let mut times = RunTimes::new();
        for line in self.probe.ask_all("programs")? {
            let words: Vec<&str> = line.split(' ').collect();
            let ["program", id, name, numbers @ ..] = words.as_slice() else { bail!("the empty probe answers `{line}`") };
            let numbers: Vec<u64> = numbers.iter().filter_map(|number| number.parse().ok()).collect();
            let ([runs, nanos, missed], Ok(id)) = (numbers.as_slice(), id.parse::<u32>()) else {
                bail!("the empty probe answers `{line}`")
            };
            if ours.contains(&id) || name.starts_with("empty_") {
                times.insert((*name).to_owned(), Totals { runs: *runs, nanos: *nanos, missed: *missed });
            }
        }
        Ok(times)
    }
}

/// Calls, bytes and nanoseconds of a `done` line.
fn done(line: &str) -> Result<(u64, u64, u64)> {
    let numbers: Vec<u64> = line.split(' ').skip(1).filter_map(|number| number.parse().ok()).collect();
    match numbers.as_slice() {
        [calls, bytes, nanos] if line.starts_with("done ") && *calls > 0 => Ok((*calls, *bytes, *nanos)),
        _ => bail!("the load answers `{line}`"),
    }
}

#[cfg(test)]
mod tests {
    use super::done;

    #[test]
    fn an_answer_without_its_three_numbers_is_refused() {
        assert_eq!(done("done 4 5 6").unwrap(), (4, 5, 6));
        for answer in ["", "done 4 5", "done 0 5 6", "library 4 5 6", "done 4 x 6"] {
            assert!(done(answer).is_err(), "{answer}");
        }
    }
}
