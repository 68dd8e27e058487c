//! Node: OpenSSL in the program itself, or in the system's library where a distribution builds it so.

use a11i_tests::{
    provider_stub::ProviderStub,
    requirement::Unmet,
    workload::{node::Node, program::Program},
};

use super::{both, new, running};

fn start(stub: &ProviderStub) -> Result<Program, Unmet> {
    Node::installed()?.start(stub)
}

#[tokio::test]
async fn a_new_program_on_the_module_https() {
    new(start, &both("https")).await;
}

#[tokio::test]
async fn a_new_program_on_fetch() {
    new(start, &both("fetch")).await;
}

#[tokio::test]
async fn a_running_program_on_the_module_https() {
    running(start, &both("https")).await;
}

#[tokio::test]
async fn a_running_program_on_fetch() {
    running(start, &both("fetch")).await;
}
