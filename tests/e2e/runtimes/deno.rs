//! Deno: rustls in the program, without symbols and without unwind tables.

use a11i_tests::{requirement, workload::deno::Deno};

use super::new;
use crate::{
    programs::{both, running_by},
    scene::RUSTLS,
};

#[tokio::test]
async fn a_new_program_on_fetch() {
    let Some(deno) = requirement::met(Deno::from_its_package().await) else { return };
    new(RUSTLS, "/deno", |stub| deno.start(stub), &both("fetch")).await;
}

#[tokio::test]
async fn a_running_program_on_fetch() {
    let Some(deno) = requirement::met(Deno::from_its_package().await) else { return };
    running_by(RUSTLS, |stub| deno.start(stub), &both("fetch")).await;
}
