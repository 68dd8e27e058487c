//! Ten thousand short-lived processes, some of which make a call; and programs that are replaced, deleted or ended while they are looked at.

use std::{
    collections::BTreeMap,
    fs,
    io::Read as _,
    path::Path,
    process::{Command, Stdio},
    time::Instant,
};

use a11i_tests::{
    agent::{Agent, AgentOptions, PATIENCE},
    otlp_sink::{OtlpSink, Received},
    provider_stub::{Expected, ProviderStub},
    remains::BpfObjects,
    requirement,
    serial::one_at_a_time,
    workload::{
        c_program,
        curl::{Curl, chat, chat_stream},
        forks::Forks,
        python::{Python, Script},
    },
};
use serde_json::json;

use crate::scene::{OPENAI_CHAT, assert_whole};

const PROCESSES: usize = 10_000;
/// Each so-manyth makes a call.
const CALLER_EVERY: usize = 100;
/// What the agent may grow by for the nine thousand processes after the first thousand, which filled its caches: less than 2 KiB
/// each. A process that is remembered for good takes more than that.
const GROWTH_KIB: u64 = 16 * 1024;

/// Of which a quarter each is ended at once, deleted, replaced, and seen to have probes.
const BRIEF_PROGRAMS: usize = 200;

/// Of one file: a link for each function on kernels without uprobe-multi.
const MOST_LINKS: usize = 20;

#[tokio::test]
async fn ten_thousand_short_lived_processes_leave_nothing_behind_and_hide_no_call() {
    let _turn = one_at_a_time();
    let stub = ProviderStub::start();
    let sink = OtlpSink::start();
    let Some(objects) = requirement::met(BpfObjects::compiled().await) else { return };
    let Some(forks) = requirement::met(Forks::compiled().await) else { return };
    let Some(python) = requirement::met(Python::with_packages().await) else { return };
    let Some(idle) = requirement::met(requirement::program("true", "install the package `coreutils`")) else { return };
    let Some(agent) = Agent::start_with(AgentOptions::default().export_to(&sink, "http/protobuf")).await else { return };

    let mut program = python.start(Script::OpenAiSync, &stub);
    let python_pid = program.pid;
    let mut many = forks.many(&stub, PROCESSES, CALLER_EVERY, &idle.display().to_string());
    program.run_one(&json!({"api": "chat"})).await;
    many.ready().await;
    let before = Held::settled(&agent, &objects, None).await;

    // Calls of an ordinary program and of new processes, in the middle of it.
    many.go_on().await;
    let mut curls = Vec::new();
    for n in 0..10 {
        program.run_one(&json!({"api": "chat", "stream": n % 2 == 0})).await;
        let Some(curl) = requirement::met(Curl::to(&stub)) else { return };
        let body = if n % 2 == 0 { chat_stream("gpt-4o-mini", "amid many") } else { chat("gpt-4o-mini", "amid many") };
        let done = curl.post(OPENAI_CHAT, &body).run().await;
        assert!(done.output.status.success(), "{done:?}");
        curls.push(done.pid);
    }
    many.ready().await;
    let after = Held::settled(&agent, &objects, Some(&before)).await;
    let told = many.finish().await;
    program.finish().await;

    assert_eq!(told.len(), PROCESSES / CALLER_EVERY);
    let expected = stub.expected();
    let of = |id: &str| -> Expected {
        expected.iter().find(|expected| expected.response_id.as_deref() == Some(id)).expect("the stand-in answered it").clone()
    };
    for told in &told {
        let call = agent.call_with_id(&told.response_id).await;
        of(&told.response_id).assert_reported_as(&call);
        assert_whole(&call);
        assert_eq!(call.pid(), Some(told.pid), "{call:#?}");
    }
    for (pid, count) in curls.iter().map(|&pid| (pid, 1)).chain([(python_pid, 11)]) {
        let calls = agent.calls_of(pid, count).await;
        assert_eq!(calls.len(), count, "{calls:#?}");
        for call in &calls {
            of(call.response_id().expect("it was answered")).assert_reported_as(call);
            assert_whole(call);
        }
    }
    assert!(after.resident_kib <= before.resident_kib + GROWTH_KIB, "the agent grew: {before:?} before, {after:?} after");
    let no_flow = |received: &Received| received.total("a11i.flows.active", |_| true).filter(|(flows, _)| *flows < 1.0);
    sink.wait("the number of flows to be 0", PATIENCE, no_flow).await;
    agent.stop().await;
    let received = sink.received();
    for counter in ["in_flight_full", "sessions_full", "process_records_lost", "processes_full", "session_records_lost"] {
        assert_eq!(received.kernel_counter(counter), 0, "{counter}");
    }
    println!("{PROCESSES} processes, {} calls; before {before:?}; after {after:?}", expected.len());
}

#[tokio::test]
async fn programs_that_are_replaced_deleted_or_ended_while_they_are_looked_at_leave_nothing_behind() {
    let _turn = one_at_a_time();
    let Some(objects) = requirement::met(BpfObjects::compiled().await) else { return };
    let Some(program) = requirement::met(c_program::compiled("brief_tls", &[]).await) else { return };
    let Some(agent) = Agent::start().await else { return };
    let folder = std::env::temp_dir().join(format!("a11i-brief-{}", std::process::id()));
    fs::create_dir_all(&folder).expect("the folder of temporary files is writable");
    let before = Held::settled_but_for(&agent, &objects, None, &folder).await;
    for n in 0..BRIEF_PROGRAMS {
        // Another inode each time, since every program that is found has probes of its own.
        let path = folder.join(format!("brief-{n}."));
        fs::copy(&program, &path).expect("a program can be copied");
        let mut child = Command::new(&path).stdout(Stdio::piped()).spawn().expect("the program can be started");
        child.stdout.as_mut().expect("piped").read_exact(&mut [0]).expect("it runs");
        match n % 4 {
            0 => {} // gone before, while or after its file is looked at
            1 => fs::remove_file(&path).expect("it is there"),
            2 => {
                let other = folder.join("other");
                fs::write(&other, vec![0; 64 * n]).expect("the folder is writable");
                fs::rename(&other, &path).expect("it is there");
            }
            _ => drop(agent.wait_for_log(&["attached path=", &path.display().to_string()]).await),
        }
        child.kill().expect("it was started");
        child.wait().expect("it was started");
        fs::remove_file(&path).ok();
    }
    let after = Held::settled_but_for(&agent, &objects, Some(&before), &folder).await;
    fs::remove_dir_all(&folder).expect("it was made");
    agent.stop().await;
    println!("{BRIEF_PROGRAMS} programs; before {before:?}; after {after:?}");
}

/// What the agent holds.
#[derive(Clone, Debug)]
struct Held {
    descriptors: usize,
    links: usize,
    maps: usize,
    /// Files attached so far: other programs of this machine may bring new ones while the test runs.
    attachments: usize,
    /// Entries of its hash tables in the kernel, by name.
    entries: BTreeMap<String, u64>,
    resident_kib: u64,
}

impl Held {
    /// `folder`: whose files are not counted among those that others bring.
    async fn now(agent: &Agent, objects: &BpfObjects, folder: &Path) -> Self {
        let folder = folder.display().to_string();
        let process = Path::new("/proc").join(agent.pid().to_string());
        let fds = fs::read_dir(process.join("fdinfo")).expect("the agent runs");
        let infos: Vec<String> = fds.filter_map(|fd| fs::read_to_string(fd.ok()?.path()).ok()).collect();
        let ids = |key: &str| -> Vec<u32> {
            let values = infos.iter().flat_map(|info| info.lines()).filter_map(|line| line.strip_prefix(key));
            values.filter_map(|value| value.trim().parse().ok()).collect()
        };
        let maps = ids("map_id:");
        let listed = objects.list().await;
        let own = listed.iter().filter(|object| object.kind == "map" && maps.contains(&object.id));
        let status = fs::read_to_string(process.join("status")).expect("the agent runs");
        let resident = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).expect("resident memory is told");
        Self {
            descriptors: infos.len(),
            links: ids("link_id:").len(),
            maps: maps.len(),
            attachments: agent.log().lines().filter(|line| line.contains(" attached path=") && !line.contains(&folder)).count(),
            entries: own.filter_map(|map| Some((map.name.clone(), map.entries?))).collect(),
            resident_kib: resident.trim().trim_end_matches(" kB").parse().expect("a number of KiB"),
        }
    }

    /// Waits until the processes that are over are forgotten: nothing is held for them but what `level` held, where one is given.
    async fn settled(agent: &Agent, objects: &BpfObjects, level: Option<&Self>) -> Self {
        Self::settled_but_for(agent, objects, level, Path::new("/nowhere")).await
    }

    async fn settled_but_for(agent: &Agent, objects: &BpfObjects, level: Option<&Self>, folder: &Path) -> Self {
        let begun = Instant::now();
        loop {
            let now = Self::now(agent, objects, folder).await;
            let sessions_are_gone = ["SESSIONS", "IN_FLIGHT"].iter().all(|table| now.entries.get(*table).is_some_and(|&count| count <= 1));
            let is_level = level.is_none_or(|level| {
                let of_others = now.attachments.saturating_sub(level.attachments) * MOST_LINKS;
                now.maps == level.maps
                    && now.links <= level.links + of_others
                    && now.descriptors <= level.descriptors + of_others
                    && now
                        .entries
                        .iter()
                        .all(|(table, count)| *count <= level.entries.get(table).copied().unwrap_or(0).max(1) + of_others as u64)
            });
            if sessions_are_gone && is_level {
                return now;
            }
            assert!(begun.elapsed() < PATIENCE, "something is still held for processes that are over: {now:#?}, before {level:#?}");
            tokio::time::sleep(std::time::Duration::from_millis(100)).await;
        }
    }
}
