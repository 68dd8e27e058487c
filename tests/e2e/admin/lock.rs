//! One `run` per host.

use std::{path::PathBuf, process::Command};

use a11i_tests::{
    agent::{Agent, AgentOptions},
    provider_stub::ProviderStub,
    requirement,
    serial::one_at_a_time,
    workload::curl::{Curl, chat},
};

use crate::scene::{OPENAI_CHAT, assert_whole};

#[tokio::test]
async fn a_second_agent_says_who_observes_and_ends() {
    let _turn = one_at_a_time();
    let Some(first) = Agent::start().await else { return };
    let Some(second) = Agent::begin(AgentOptions::default()) else { return };
    let (status, finished) = second.ended().await;
    assert_eq!(status.code(), Some(1), "{}", finished.log);
    assert!(finished.log.contains(&format!("process {}", first.pid())) && finished.log.contains("--wait"), "{}", finished.log);
    assert_eq!(first.health("/ready").await, Some(200));
    first.stop().await;
    // Whoever comes next is not in anybody's way.
    let Some(third) = Agent::start().await else { return };
    third.stop().await;
}

#[tokio::test]
async fn a_standby_takes_over_when_the_first_is_killed() {
    let _turn = one_at_a_time();
    let stub = ProviderStub::start();
    let Some(curl) = requirement::met(Curl::to(&stub)) else { return };
    let Some(first) = Agent::start().await else { return };
    let Some(mut second) = Agent::begin(AgentOptions::default().argument("--wait")) else { return };
    second.wait_for_phase("standby").await;
    assert_eq!((second.health("/health").await, second.health("/ready").await), (Some(200), Some(503)));
    second.wait_for_log(&["standby", &format!("process {}", first.pid())]).await;
    first.kill().await;
    second.wait_until_ready().await;
    let done = curl.post(OPENAI_CHAT, &chat("gpt-4o-mini", "to the second")).run().await;
    let calls = second.calls_of(done.pid, 1).await;
    stub.expected()[0].assert_reported_as(&calls[0]);
    assert_whole(&calls[0]);
    second.stop().await;
}

#[tokio::test]
async fn a_standby_ends_when_it_is_told_to() {
    let _turn = one_at_a_time();
    let Some(first) = Agent::start().await else { return };
    let Some(second) = Agent::begin(AgentOptions::default().argument("--wait")) else { return };
    second.wait_for_phase("standby").await;
    second.stop().await;
    first.stop().await;
}

/// An own mount namespace with a `/run` that cannot be written; the host's is still reached through process 1.
#[tokio::test]
async fn a_run_that_cannot_be_written_is_passed_by_or_said() {
    let _turn = one_at_a_time();
    let Some(unshare) = requirement::met(requirement::program("unshare", "install the package `util-linux`")) else { return };
    let unshare = unshare.display().to_string();
    let read_only = "mount -t tmpfs -o ro none /run && exec \"$@\"";
    let around = [unshare.as_str(), "--mount", "sh", "-c", read_only, "sh"];
    let Some(agent) = Agent::start_with(AgentOptions::default().around(&around)).await else { return };
    if std::fs::metadata("/proc/1/root/run").is_ok() {
        let Some(second) = Agent::begin(AgentOptions::default()) else { return };
        let (status, finished) = second.ended().await;
        assert_eq!(status.code(), Some(1), "{}", finished.log);
    } else {
        // Nobody here may look through process 1: said, and no reason not to observe.
        agent.wait_for_log(&["no lock", "/proc/1/root/run/a11i: Permission denied", "/run/a11i: Read-only file system"]).await;
    }
    agent.stop().await;
}

/// As two containers with the host's pids that may not look through process 1: each has a `/run` of its own.
#[tokio::test]
async fn agents_with_folders_of_their_own_recognise_each_other() {
    let _turn = one_at_a_time();
    let Some(first) = Agent::start().await else { return };
    let folder = std::env::temp_dir().join(format!("a11i-own-run-{}", std::process::id()));
    let options = AgentOptions::default().env("A11I_RUN_FOLDER", folder.to_str().expect("UTF-8"));
    let Some(second) = Agent::begin(options) else { return };
    let (status, finished) = second.ended().await;
    assert_eq!(status.code(), Some(1), "{}", finished.log);
    assert!(finished.log.contains(&format!("process {}", first.pid())) && finished.log.contains("--wait"), "{}", finished.log);
    first.stop().await;
    std::fs::remove_dir(folder).expect("it is empty");
}

#[tokio::test]
async fn a_lock_that_somebody_removes_is_taken_again() {
    let _turn = one_at_a_time();
    let Some(first) = Agent::start().await else { return };
    std::fs::remove_dir_all("/run/a11i").expect("the agent made it");
    first.wait_for_log(&["removed the lock file", "taken again"]).await;
    let Some(second) = Agent::begin(AgentOptions::default()) else { return };
    let (status, finished) = second.ended().await;
    assert_eq!(status.code(), Some(1), "{}", finished.log);
    assert!(finished.log.contains(&format!("process {}", first.pid())), "{}", finished.log);
    first.stop().await;
}

#[tokio::test]
async fn without_any_place_for_a_lock_the_agent_says_so_and_observes() {
    let _turn = one_at_a_time();
    let Some(()) = requirement::met(requirement::root()) else { return };
    let stub = ProviderStub::start();
    // Not to be written by anybody, and on a disk that is full.
    let full = full_disk();
    for (folder, reason) in [("/proc/a11i".to_owned(), "No such file"), (full.to_str().expect("UTF-8").to_owned(), "No space left")] {
        let Some(agent) = Agent::start_with(AgentOptions::default().env("A11I_RUN_FOLDER", &folder)).await else { return };
        agent.wait_for_log(&["no lock", reason]).await;
        let Some(curl) = requirement::met(Curl::to(&stub)) else { return };
        let done = curl.post(OPENAI_CHAT, &chat("gpt-4o-mini", "seen all the same")).run().await;
        let calls = agent.calls_of(done.pid, 1).await;
        stub.expected().last().expect("it was answered").assert_reported_as(&calls[0]);
        agent.stop().await;
    }
    let umount = Command::new("umount").arg(full.parent().expect("a mount")).status().expect("umount can be run");
    assert!(umount.success());
    std::fs::remove_dir(full.parent().expect("a mount")).expect("it is empty again");
}

/// A folder on a file system without room for one more file.
fn full_disk() -> PathBuf {
    let mount = std::env::temp_dir().join(format!("a11i-full-{}", std::process::id()));
    std::fs::create_dir_all(&mount).expect("a temporary folder");
    let mounted = Command::new("mount").args(["-t", "tmpfs", "-o", "size=4k,nr_inodes=2,mode=755", "none"]).arg(&mount).status();
    assert!(mounted.expect("mount can be run").success());
    let folder = mount.join("run");
    std::fs::create_dir(&folder).expect("the last inode");
    std::fs::set_permissions(&folder, std::os::unix::fs::PermissionsExt::from_mode(0o700)).expect("its mode can be set");
    folder
}
