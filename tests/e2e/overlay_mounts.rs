//! One library seen through twenty overlay mounts: twenty device numbers, one kernel inode. Each call is reported once, and one attachment
//! is left. The mounts are in a mount namespace of their own, which ends with its last process.

use std::{path::PathBuf, process::Stdio};

use a11i_tests::{
    agent::{PATIENCE, binary},
    requirement::{self, Unmet},
    workload::{c_client::post, curl::chat},
};
use tokio::{
    io::{AsyncBufReadExt as _, AsyncWriteExt as _, BufReader, Lines},
    process::{Child, ChildStdin, ChildStdout, Command},
    time::timeout,
};

use crate::scene::{Scene, matched};

const MOUNTS: usize = 20;

/// Makes the mounts, keeps one process that maps the library through each, and calls through the mount it is told.
const SCRIPT: &str = r#"
set -e
mount -t tmpfs none "$DIR"
mkdir "$DIR"/lower "$DIR"/empty
cp -L "$LIBRARY" "$DIR"/lower/libssl.so.3
for i in $(seq "$MOUNTS"); do
    mkdir "$DIR/m$i"
    mount -t overlay overlay -o "lowerdir=$DIR/lower:$DIR/empty" "$DIR/m$i" || { echo unsupported; exit 0; }
    LD_PRELOAD="$DIR/m$i/libssl.so.3" sleep 600 < /dev/null > /dev/null 2>&1 &
done
echo mounted
while read -r i; do
    LD_LIBRARY_PATH="$DIR/m$i" "$CLIENT" "$PORT" api.openai.com "$CA" < "$REQUEST" > /dev/null 2> "$DIR/words" &
    pid=$!
    wait "$pid" && echo "$pid" || { cat "$DIR/words"; echo failed; }
done
kill $(jobs -p)
"#;

struct Namespace {
    child: Child,
    input: ChildStdin,
    output: Lines<BufReader<ChildStdout>>,
}

impl Namespace {
    async fn line(&mut self) -> String {
        timeout(PATIENCE, self.output.next_line()).await.expect("it answers").expect("readable").expect("it has not ended")
    }

    /// One call through a mount; its process.
    async fn call(&mut self, mount: usize) -> u32 {
        self.input.write_all(format!("{mount}\n").as_bytes()).await.expect("it reads");
        let line = self.line().await;
        line.parse().unwrap_or_else(|_| panic!("the client through mount {mount}: {line}"))
    }
}

fn library() -> Result<PathBuf, Unmet> {
    let places = ["/usr/lib/x86_64-linux-gnu/libssl.so.3", "/usr/lib/aarch64-linux-gnu/libssl.so.3", "/usr/lib64/libssl.so.3"];
    let found = places.iter().map(PathBuf::from).find(|path| path.exists());
    found.ok_or_else(|| Unmet::new("no libssl.so.3 in its usual places", "install the package `libssl3`"))
}

#[tokio::test]
async fn twenty_overlay_mounts_of_one_library_end_with_one_attachment_and_give_each_call_once() {
    let Some(library) = requirement::met(library()) else { return };
    let Some(client) = requirement::met(a11i_tests::workload::c_program::compiled("raw_tls", &["-lssl", "-lcrypto"]).await) else { return };
    let Some(unshare) = requirement::met(requirement::program("unshare", "install the package `util-linux`")) else { return };
    if requirement::met(binary()).is_none() {
        return;
    }
    let Some(scene) = Scene::set().await else { return };
    let folder = std::env::temp_dir().join(format!("a11i-overlays-{}", std::process::id()));
    std::fs::create_dir(&folder).expect("a fresh folder");
    let request = folder.with_extension("request");
    std::fs::write(&request, post("api.openai.com", "/v1/chat/completions", &[], &chat("gpt-4o-mini", "hello"))).expect("writable");

    let mut command = Command::new(unshare);
    command.args(["--mount", "--propagation", "private", "bash", "-c", SCRIPT]);
    command.env("DIR", &folder).env("LIBRARY", library).env("MOUNTS", MOUNTS.to_string()).env("CLIENT", client);
    command.env("PORT", scene.stub.port().to_string()).env("CA", scene.stub.ca_file()).env("REQUEST", &request);
    command.stdin(Stdio::piped()).stdout(Stdio::piped()).kill_on_drop(true);
    let mut child = command.spawn().expect("unshare can be started");
    let input = child.stdin.take().expect("piped");
    let output = BufReader::new(child.stdout.take().expect("piped")).lines();
    let mut namespace = Namespace { child, input, output };
    let said = namespace.line().await;
    if said != "mounted" {
        requirement::met::<()>(Err(Unmet::new(format!("no overlay mounts here: {said}"), "a kernel with overlayfs")));
        std::fs::remove_dir(&folder).ok();
        std::fs::remove_file(&request).ok();
        return;
    }

    // Every mount has its attachment: nobody can know yet that they are one.
    let lines = |scene: &Scene, word: &str| {
        let log = scene.agent.log();
        log.lines().filter(|line| line.contains(word) && line.contains("a11i-overlays-")).count()
    };
    let begun = std::time::Instant::now();
    while lines(&scene, " attached ") < MOUNTS {
        assert!(begun.elapsed() < PATIENCE, "{} mounts are attached:\n{}", lines(&scene, " attached "), scene.agent.log());
        tokio::time::sleep(std::time::Duration::from_millis(50)).await;
    }
    let mut pids = vec![namespace.call(1).await];
    while lines(&scene, "second name") < MOUNTS - 1 {
        assert!(begun.elapsed() < PATIENCE, "{} names are given up:\n{}", lines(&scene, "second name"), scene.agent.log());
        tokio::time::sleep(std::time::Duration::from_millis(50)).await;
    }
    for mount in 1..=MOUNTS {
        pids.push(namespace.call(mount).await);
    }
    let expected = scene.stub.expected();
    assert_eq!(expected.len(), pids.len());
    for pid in &pids {
        scene.agent.calls_of(*pid, 1).await;
    }
    let (attached, given_up) = (lines(&scene, " attached "), lines(&scene, "second name"));
    assert_eq!((attached, given_up), (MOUNTS, MOUNTS - 1), "a name that is known to be another attaches nothing:\n{}", scene.agent.log());
    let finished = scene.agent.stop().await;
    for (pid, expected) in pids.iter().zip(&expected) {
        matched(std::slice::from_ref(expected), &finished, *pid);
    }
    drop(namespace.input);
    timeout(PATIENCE, namespace.child.wait()).await.expect("the namespace ends").expect("it can be waited for");
    std::fs::remove_dir(&folder).expect("nothing is left in it");
    std::fs::remove_file(&request).expect("it is there");
}
