//! Node: OpenSSL in the program itself, or in the system's library where a distribution builds it so.

use a11i_tests::{
    provider_stub::ProviderStub,
    requirement::{self, Unmet},
    workload::{node::Node, program::Program},
};

use super::{both, new, new_with_own, running};

fn start(stub: &ProviderStub) -> Result<Program, Unmet> {
    Node::installed()?.start(stub)
}

async fn a_new_program(via: &str) {
    let Some(node) = requirement::met(Node::installed()) else { return };
    if node.has_own_openssl() {
        new_with_own("/node", start, &both(via)).await;
    } else {
        new(start, &both(via)).await;
    }
}

#[tokio::test]
async fn a_new_program_on_the_module_https() {
    a_new_program("https").await;
}

#[tokio::test]
async fn a_new_program_on_fetch() {
    a_new_program("fetch").await;
}

#[tokio::test]
async fn a_running_program_on_the_module_https() {
    running(start, &both("https")).await;
}

#[tokio::test]
async fn a_running_program_on_fetch() {
    running(start, &both("fetch")).await;
}
