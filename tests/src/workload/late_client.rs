//! A C program that loads a TLS library while it runs: see `clients/c/late_tls.c`.

use std::{
    fs,
    path::{Path, PathBuf},
    process::Stdio,
};

use tokio::{
    io::{AsyncBufReadExt as _, AsyncWriteExt as _, BufReader, Lines},
    process::{Child, ChildStdin, ChildStdout, Command},
};

use super::clients;
use crate::{
    agent::PATIENCE,
    provider_stub::ProviderStub,
    requirement::{self, Unmet},
};

/// A folder of one test with the client and copies of the system's libssl, which nobody else maps.
pub struct Workshop {
    folder: PathBuf,
    libssl: PathBuf,
}

/// The running client.
pub struct LateTls {
    pub pid: u32,
    child: Child,
    input: ChildStdin,
    output: Lines<BufReader<ChildStdout>>,
    request: PathBuf,
}

impl Workshop {
    /// # Errors
    /// When there is no C compiler or no libssl.
    pub async fn open(name: &str) -> Result<Self, Unmet> {
        let compiler = requirement::program("cc", "install a C compiler")?;
        let libssl = ["/usr/lib/x86_64-linux-gnu", "/usr/lib/aarch64-linux-gnu", "/usr/lib64", "/lib"]
            .map(|folder| Path::new(folder).join("libssl.so.3"))
            .into_iter()
            .find(|path| path.is_file())
            .ok_or_else(|| Unmet::new("there is no libssl.so.3", "install the package `libssl3`"))?;
        let folder = std::env::temp_dir().join(format!("a11i-{name}-{}", std::process::id()));
        fs::create_dir_all(&folder).expect("the folder of temporary files is writable");
        let mut compile = Command::new(compiler);
        compile.args(["-O1", "-Wall", "-Wextra", "-o"]).arg(folder.join("late_tls")).arg(clients().join("c/late_tls.c")).arg("-ldl");
        let output = compile.output().await.expect("the compiler can be started");
        assert!(output.status.success(), "late_tls.c does not compile: {}", String::from_utf8_lossy(&output.stderr));
        Ok(Self { folder, libssl })
    }

    pub fn path(&self, name: &str) -> PathBuf {
        self.folder.join(name)
    }

    /// The system's own library.
    pub fn libssl(&self) -> &Path {
        &self.libssl
    }

    /// A new file with the bytes of the system's libssl.
    pub fn copy_of_libssl(&self, name: &str) -> PathBuf {
        let path = self.path(name);
        fs::copy(&self.libssl, &path).expect("a library can be copied");
        path
    }

    /// Starts the client, which has not loaded `library` yet. Each of its calls will send `request`.
    pub fn start(&self, library: &Path, stub: &ProviderStub, host: &str, request: &[u8]) -> LateTls {
        let file = self.path("request");
        fs::write(&file, request).expect("the folder is writable");
        let mut command = Command::new(self.path("late_tls"));
        command.arg(library).arg(stub.port().to_string()).arg(host).arg(stub.ca_file());
        let mut child = command.stdin(Stdio::piped()).stdout(Stdio::piped()).kill_on_drop(true).spawn().expect("the client can be started");
        let input = child.stdin.take().expect("piped");
        let output = BufReader::new(child.stdout.take().expect("piped")).lines();
        LateTls { pid: child.id().expect("it was just started"), child, input, output, request: file }
    }
}

impl Drop for Workshop {
    fn drop(&mut self) {
        fs::remove_dir_all(&self.folder).ok();
    }
}

impl LateTls {
    /// Loads the library.
    pub async fn load(&mut self) {
        assert_eq!(self.tell("load").await, "loaded");
    }

    /// Loads the library if it has not yet, and makes one call.
    pub async fn call(&mut self) {
        let command = format!("call {}", self.request.display());
        let answer = self.tell(&command).await;
        assert!(answer.strip_prefix("answered ").is_some_and(|bytes| bytes != "0"), "{answer}");
    }

    pub async fn finish(mut self) {
        drop(self.input);
        let status = tokio::time::timeout(PATIENCE, self.child.wait()).await.expect("the client ends with its input");
        assert!(status.expect("a child can be waited for").success(), "{status:?}", status = self.child.try_wait());
    }

    async fn tell(&mut self, command: &str) -> String {
        self.input.write_all(format!("{command}\n").as_bytes()).await.expect("the client reads its input");
        let line = tokio::time::timeout(PATIENCE, self.output.next_line()).await.expect("the client answers");
        line.expect("it is text").unwrap_or_else(|| panic!("the client ended at `{command}`"))
    }
}
