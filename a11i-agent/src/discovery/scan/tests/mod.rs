//! The instruments of these tests: programs with and without TLS that run as children, and looks at them.

mod changed;
mod code;
mod hostile;
mod processes;

use std::{
    io::Read as _,
    path::PathBuf,
    process::{Child, Command, Stdio},
};

use super::*;
use crate::discovery::{
    scanner::Candidate,
    testing::{TempDir, compile, openssl_look_alike},
};

/// A program that tells when it runs, has no TLS, and stays.
const WAITS: &str = "#include <unistd.h>\nint main(void){write(1,\"x\",1);pause();}";

/// The program of TLS linked in, under a name that says nothing.
const TLS_INSIDE: &str = "#include <unistd.h>\n#define F(n) __attribute__((used)) int n(void*a,void*b,int c){volatile int x=c; return x+__LINE__;}\n\
    F(SSL_read)\nF(SSL_write)\nF(SSL_read_ex)\nF(SSL_write_ex)\nF(SSL_write_ex2)\nF(SSL_read_early_data)\nF(SSL_write_early_data)\n\
    F(SSL_clear)\nF(SSL_free)\nF(SSL_shutdown)\nF(SSL_ctrl)\nF(OPENSSL_init_ssl)\nF(SSL_get1_peer_certificate)\n\
    int main(void){write(1,\"x\",1);pause();}";

/// A child that tells when it runs, and is ended with the test.
struct Running(Child);
impl Running {
    fn start(program: &Path) -> Self {
        let mut child = Command::new(program).stdout(Stdio::piped()).spawn().unwrap();
        child.stdout.as_mut().unwrap().read_exact(&mut [0]).unwrap();
        Self(child)
    }

    fn id(&self) -> ProcessId {
        ProcFs::default().identify(Pid(self.0.id())).unwrap()
    }
}
impl Drop for Running {
    fn drop(&mut self) {
        self.0.kill().ok();
        self.0.wait().ok();
    }
}

fn tls_client(dir: &TempDir) -> PathBuf {
    openssl_look_alike(dir);
    let library = format!("-L{}", dir.path().display());
    let rpath = format!("-Wl,-rpath,{}", dir.path().display());
    let source = "#include <unistd.h>\nint SSL_read(void*,void*,int);int main(void){SSL_read(0,0,0);write(1,\"x\",1);pause();}";
    compile(dir, "client", source, &[&library, &rpath, "-l:libssl.so.3"])
}

fn of_process(reports: &[ScanReport], wanted: ProcessId) -> Vec<&Candidate> {
    let candidate = |report| {
        let &ScanReport::Found { process, ref candidate } = report else { return None };
        (process == wanted).then_some(candidate)
    };
    reports.iter().filter_map(candidate).collect()
}

fn handle(scan: &mut Scan, request: ScanRequest) -> Vec<ScanReport> {
    let mut reports = Vec::new();
    scan.handle(request, &mut |report| reports.push(report));
    reports
}

/// Requests as the scanner's thread begins them: code waits.
fn begin(scan: &mut Scan, request: ScanRequest) -> Vec<ScanReport> {
    let mut reports = Vec::new();
    scan.begin(request, &mut |report| reports.push(report));
    reports
}

fn all_deep(scan: &mut Scan) -> Vec<ScanReport> {
    let mut reports = Vec::new();
    while scan.step_deep(&mut |report| reports.push(report)) {}
    reports
}
