//! Who may ask.

use std::{fs, os::unix::fs::PermissionsExt as _};

use a11i_tests::{
    agent::{Agent, binary},
    requirement,
    serial::one_at_a_time,
};
use tokio::process::Command;

use crate::{
    commands::reachable_copy,
    scene::{run, words},
};

#[tokio::test]
async fn nobody_but_root_is_answered() {
    let _turn = one_at_a_time();
    let Some(setpriv) = requirement::met(requirement::program("setpriv", "install the package `util-linux`")) else { return };
    let Some(agent) = Agent::start().await else { return };
    // Where everybody can reach it: the target folder may lie in a home.
    let Some(copy) = requirement::met(reachable_copy(&binary().expect("the agent runs"))) else { return };
    let as_nobody = || {
        let mut command = Command::new(&setpriv);
        command.args(["--reuid=65534", "--regid=65534", "--clear-groups"]).arg(&copy).args(["control", "detach"]).current_dir("/");
        command
    };
    let mode = |path: &str| fs::metadata(path).expect("it is there").permissions().mode() & 0o777;
    assert_eq!((mode("/run/a11i"), mode("/run/a11i/admin.sock"), mode("/run/a11i/lock")), (0o700, 0o600, 0o600));
    let output = run(&mut as_nobody()).await;
    assert!(!output.status.success() && words(&output).contains("Permission denied"), "{}", words(&output));

    // Even where the modes let somebody in.
    fs::set_permissions("/run/a11i/admin.sock", fs::Permissions::from_mode(0o666)).expect("its mode can be set");
    fs::set_permissions("/run/a11i", fs::Permissions::from_mode(0o755)).expect("its mode can be set");
    let output = run(&mut as_nobody()).await;
    // The folder outlives the agent.
    fs::set_permissions("/run/a11i", fs::Permissions::from_mode(0o700)).expect("its mode can be set");
    fs::remove_dir_all(copy.parent().expect("a folder")).expect("the copy can be removed");
    assert!(!output.status.success() && words(&output).contains("only root"), "{}", words(&output));
    assert_eq!(agent.health("/ready").await, Some(200), "nothing was switched off");
    agent.stop().await;
    let left = fs::read_dir("/run/a11i").expect("the folder stays").count();
    assert_eq!(left, 0, "nothing is left behind in it");
}
