//! PHP: the system's libssl, loaded with the extensions.

use a11i_tests::{
    provider_stub::ProviderStub,
    requirement::Unmet,
    workload::{php::Php, program::Program},
};

use super::{both, new, running};

fn start(stub: &ProviderStub) -> Result<Program, Unmet> {
    Php::installed()?.start(stub)
}

#[tokio::test]
async fn a_new_program_on_the_extension_curl() {
    new(start, &both("curl")).await;
}

#[tokio::test]
async fn a_new_program_on_the_stream_wrapper() {
    new(start, &both("stream")).await;
}

#[tokio::test]
async fn a_running_program_on_the_extension_curl() {
    running(start, &both("curl")).await;
}

#[tokio::test]
async fn a_running_program_on_the_stream_wrapper() {
    running(start, &both("stream")).await;
}
