//! A C++ program that has OpenSSL linked in: see `clients/cpp/static_openssl.cpp`.

use std::path::PathBuf;

use tokio::process::Command;

use super::{c_program, clients, program::Program};
use crate::{provider_stub::ProviderStub, requirement::Unmet};

/// How it was linked. All but the last keep the functions' names.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Linked {
    /// OpenSSL alone is static: a position-independent program with the loader's help.
    OpenSslOnly,
    /// No shared library at all, at a fixed address.
    All,
    /// No shared library at all, position-independent.
    AllPie,
    /// As the first, its functions local to the file, as in CPython for uv.
    LocalNames,
    /// Its table of symbols is removed; the functions are exported for plugins, as Node does.
    StrippedAndExported,
    /// Nobody names its functions.
    Stripped,
}

/// The compiled program.
pub struct StaticOpenSsl {
    program: PathBuf,
}

impl StaticOpenSsl {
    /// Compiled now, or before.
    ///
    /// # Errors
    /// When there is no C++ compiler or no static OpenSSL to link.
    pub async fn compiled(linked: Linked) -> Result<Self, Unmet> {
        let names = format!("-Wl,--version-script={}", clients().join("cpp/local_names.map").display());
        let (name, options): (_, &[&str]) = match linked {
            Linked::OpenSslOnly => ("static_openssl", &["-l:libssl.a", "-l:libcrypto.a"]),
            Linked::All => ("static_openssl_all", &["-static", "-no-pie", "-lssl", "-lcrypto"]),
            Linked::AllPie => ("static_openssl_pie", &["-static-pie", "-lssl", "-lcrypto"]),
            Linked::LocalNames => ("static_openssl_local", &["-l:libssl.a", "-l:libcrypto.a", &names]),
            Linked::Stripped => ("static_openssl_stripped", &["-s", "-l:libssl.a", "-l:libcrypto.a"]),
            Linked::StrippedAndExported => ("static_openssl_exported", &["-rdynamic", "-s", "-l:libssl.a", "-l:libcrypto.a"]),
        };
        Ok(Self { program: c_program::compiled_by("c++", "cpp/static_openssl.cpp", name, options).await? })
    }

    /// The end of its path.
    pub fn name(&self) -> &str {
        self.program.file_name().and_then(|name| name.to_str()).expect("it was named here")
    }

    /// Starts it; it connects at its first job.
    pub fn start(&self, stub: &ProviderStub) -> Program {
        let mut command = Command::new(&self.program);
        Program::start(command.arg(stub.port().to_string()).arg("api.openai.com").arg(stub.ca_file()))
    }
}
