//! Bun: BoringSSL in the program, without symbols and without unwind tables.

use a11i_tests::{requirement, workload::bun::Bun};

use super::new;
use crate::programs::{both, running_by};

const BORINGSSL: &str = "boringssl";

#[tokio::test]
async fn a_new_program_on_fetch() {
    let Some(bun) = requirement::met(Bun::from_its_package().await) else { return };
    new(BORINGSSL, "/bun", |stub| bun.start(stub), &both("fetch")).await;
}

#[tokio::test]
async fn a_new_program_on_the_module_https() {
    let Some(bun) = requirement::met(Bun::from_its_package().await) else { return };
    new(BORINGSSL, "/bun", |stub| bun.start(stub), &both("https")).await;
}

#[tokio::test]
async fn a_running_program_on_fetch() {
    let Some(bun) = requirement::met(Bun::from_its_package().await) else { return };
    running_by(BORINGSSL, |stub| bun.start(stub), &both("fetch")).await;
}

#[tokio::test]
async fn a_running_program_on_the_module_https() {
    let Some(bun) = requirement::met(Bun::from_its_package().await) else { return };
    running_by(BORINGSSL, |stub| bun.start(stub), &both("https")).await;
}
