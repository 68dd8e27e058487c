//! Ruby: the system's libssl, loaded when the script asks for `net/http`'s TLS.

use a11i_tests::{
    provider_stub::ProviderStub,
    requirement::Unmet,
    workload::{program::Program, ruby::Ruby},
};

use super::{both, new, running};

fn start(stub: &ProviderStub) -> Result<Program, Unmet> {
    Ruby::installed()?.start(stub)
}

#[tokio::test]
async fn a_new_program() {
    new(start, &both("net/http")).await;
}

#[tokio::test]
async fn a_running_program() {
    running(start, &both("net/http")).await;
}
