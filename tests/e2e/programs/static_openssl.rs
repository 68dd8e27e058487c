//! C++ programs that have OpenSSL linked in and keep its names.

use a11i_tests::{
    requirement,
    workload::static_openssl::{Linked, StaticOpenSsl},
};
use serde_json::json;

use super::{new_with_own, running};

#[tokio::test]
async fn new_programs_however_they_are_linked() {
    for linked in [Linked::OpenSslOnly, Linked::All, Linked::AllPie, Linked::LocalNames, Linked::StrippedAndExported] {
        let Some(program) = requirement::met(StaticOpenSsl::compiled(linked).await) else { return };
        new_with_own(program.name(), |stub| Ok(program.start(stub)), &[json!({"stream": false}), json!({"stream": true})]).await;
    }
}

#[tokio::test]
async fn a_running_program_with_an_open_connection() {
    let Some(program) = requirement::met(StaticOpenSsl::compiled(Linked::OpenSslOnly).await) else { return };
    running(|stub| Ok(program.start(stub)), &[json!({"stream": false}), json!({"stream": true})]).await;
}
