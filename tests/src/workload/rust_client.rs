//! reqwest, stripped: on rustls with either provider of cryptography, and on native-tls (`clients/rust`). Jobs and answers: [`Program`].

use std::{
    fs::{self, File},
    path::{Path, PathBuf},
    time::Duration,
};

use tokio::process::Command;

use super::{cache, clients, program::Program};
use crate::{
    fixtures::{self, Fixture, Library},
    provider_stub::ProviderStub,
    requirement::{self, Unmet},
};

/// Whose cryptography rustls uses.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Provider {
    Ring,
    AwsLc,
}

impl Provider {
    /// The client's feature, and its name's end.
    pub(crate) const fn as_str(self) -> &'static str {
        match self {
            Self::Ring => "ring",
            Self::AwsLc => "aws-lc",
        }
    }
}

/// The built client, and a program on the same rustls that changes its keys.
pub struct RustClient {
    program: PathBuf,
    key_update: PathBuf,
}

/// Two to four minutes where two cores have other work too; it happens once.
const BUILD: Duration = Duration::from_mins(20);

impl RustClient {
    /// From the cache, or built now.
    ///
    /// # Errors
    /// When cargo cannot build it, with its own words.
    pub async fn built(provider: Provider) -> Result<Self, Unmet> {
        let folder = clients().join("rust");
        let kept = |name: &str| cache().join(format!("{name}-{}", provider.as_str()));
        let client = Self { program: kept("rust-client"), key_update: kept("key-update") };
        let sources = ["src/main.rs", "src/rustls.rs", "src/bin/key-update.rs"];
        let Some(_lock) = stale(&client.key_update, &folder, &sources)? else { return Ok(client) };
        let target = cache().join("rust");
        build(&folder, &target, &["--features", provider.as_str()], &[]).await?;
        keep(&target.join("release/rust-client"), &client.named());
        // The one that is asked about comes last.
        keep_stripped(&target.join("release/rust-client"), &client.program).await?;
        keep_stripped(&target.join("release/key-update"), &client.key_update).await?;
        Ok(client)
    }

    /// The same client with two functions that have names of OpenSSL's beside its own TLS: what runs before and after `main`.
    ///
    /// # Errors
    /// When there is no objcopy, or it fails.
    pub async fn with_names_of_openssl(self) -> Result<Self, Unmet> {
        let objcopy = requirement::program("objcopy", "install the package `binutils`")?;
        let program = self.program.with_extension("named");
        let mut command = Command::new(objcopy);
        for (name, section) in [("SSL_read", ".init"), ("SSL_write", ".fini")] {
            command.arg("--add-symbol").arg(format!("{name}={section}:0,function,global"));
        }
        let output = command.arg(&self.program).arg(&program).output().await.expect("objcopy can be started");
        if !output.status.success() {
            return Err(Unmet::new(String::from_utf8_lossy(&output.stderr).into_owned(), "another objcopy"));
        }
        Ok(Self { program, key_update: self.key_update })
    }

    /// For the finders: the client, and the same with its functions' names.
    pub fn fixture(&self) -> Fixture {
        Fixture { library: Library::Rustls, program: self.program.clone(), named: Some(self.named()) }
    }

    fn named(&self) -> PathBuf {
        self.program.with_extension("symbols")
    }

    /// The client's file.
    pub fn path(&self) -> &Path {
        &self.program
    }

    /// The file of the program that changes its keys.
    pub fn key_update_path(&self) -> &Path {
        &self.key_update
    }

    /// Starts it: `options` are its environment (`TLS_VERSION`, `CIPHER`).
    pub fn start(&self, stub: &ProviderStub, options: &[(&str, &str)]) -> Program {
        start(&self.program, stub, options)
    }

    /// Starts the program that makes so many calls on one connection and changes the keys of both directions between them. It waits for a
    /// line of work, whatever it says.
    pub fn start_key_update(&self, stub: &ProviderStub, calls: usize) -> Program {
        let mut command = Command::new(&self.key_update);
        command.arg(calls.to_string()).env("STAND_IN_PORT", stub.port().to_string()).env("SSL_CERT_FILE", stub.ca_file());
        Program::start(&mut command)
    }
}

/// The same client on native-tls, which is the system's OpenSSL here.
pub struct NativeTlsClient {
    program: PathBuf,
}

impl NativeTlsClient {
    /// From the cache, or built now.
    ///
    /// # Errors
    /// When cargo cannot build it, with its own words.
    pub async fn built() -> Result<Self, Unmet> {
        let (folder, program) = (clients().join("rust"), cache().join("rust-client-native-tls"));
        let Some(_lock) = stale(&program, &folder, &["src/main.rs", "src/native_tls.rs"])? else { return Ok(Self { program }) };
        let target = cache().join("rust");
        build(&folder, &target, &["--features", "native-tls"], &[]).await?;
        keep_stripped(&target.join("release/rust-client"), &program).await?;
        Ok(Self { program })
    }

    /// Starts it: `options` are its environment (`TLS_VERSION`).
    pub fn start(&self, stub: &ProviderStub, options: &[(&str, &str)]) -> Program {
        start(&self.program, stub, options)
    }
}

/// reqwest's TLS alone, built with the members of all structures in an order by chance (`clients/rust-layout`). Jobs and answers: [`Program`],
/// one call for each job, whatever it says.
pub struct ShuffledClient {
    program: PathBuf,
}

impl ShuffledClient {
    /// From the cache, or built now. Another `seed` gives another order.
    ///
    /// # Errors
    /// When cargo cannot build it, with its own words.
    pub async fn built(seed: u32) -> Result<Self, Unmet> {
        let folder = clients().join("rust-layout");
        let program = cache().join(format!("rust-layout-{seed}"));
        let Some(_lock) = stale(&program, &folder, &["src/main.rs"])? else { return Ok(Self { program }) };
        let target = cache().join(format!("rust-layout-{seed}.target"));
        let flags = format!("-Zrandomize-layout -Zlayout-seed={seed}");
        // The stable compiler can do it too, when it is allowed to.
        build(&folder, &target, &[], &[("RUSTFLAGS", &flags), ("RUSTC_BOOTSTRAP", "1")]).await?;
        keep(&target.join("release/rust-layout"), &program);
        Ok(Self { program })
    }

    /// The client's file.
    pub fn path(&self) -> &Path {
        &self.program
    }

    /// Starts it: `options` are its environment (`TLS_VERSION`).
    pub fn start(&self, stub: &ProviderStub, options: &[(&str, &str)]) -> Program {
        start(&self.program, stub, options)
    }
}

fn start(program: &Path, stub: &ProviderStub, options: &[(&str, &str)]) -> Program {
    let mut command = Command::new(program);
    command.env("STAND_IN_PORT", stub.port().to_string()).env("SSL_CERT_FILE", stub.ca_file()).envs(options.iter().copied());
    Program::start(&mut command)
}

/// The right to build `program`, where it is older than its sources in `folder`: its manifest and these.
fn stale(program: &Path, folder: &Path, sources: &[&str]) -> Result<Option<File>, Unmet> {
    let sources: Vec<PathBuf> = ["Cargo.toml", "Cargo.lock"].iter().chain(sources).map(|source| folder.join(source)).collect();
    if is_newer(program, &sources) {
        return Ok(None);
    }
    fs::create_dir_all(cache()).map_err(|error| Unmet::new(format!("the cache folder cannot be made: {error}"), "set A11I_TEST_CACHE"))?;
    let lock = File::create(cache().join("rust-client.lock")).expect("the cache folder is writable");
    lock.lock().expect("a file can be locked");
    // Somebody may have built it meanwhile.
    Ok((!is_newer(program, &sources)).then_some(lock))
}

/// Builds what is in `folder` for release, with what cargo and the environment are given beside.
async fn build(folder: &Path, target: &Path, arguments: &[&str], environment: &[(&str, &str)]) -> Result<(), Unmet> {
    let cargo = requirement::program("cargo", "install Rust")?;
    let mut build = Command::new(cargo);
    build.args(["build", "--quiet", "--release", "--locked"]).args(arguments).arg("--target-dir").arg(target);
    // What cargo says to tests is not meant for another build.
    for name in ["CARGO_TARGET_DIR", "RUSTFLAGS", "CARGO_ENCODED_RUSTFLAGS", "RUSTC_WRAPPER", "RUSTC_BOOTSTRAP"] {
        build.env_remove(name);
    }
    build.envs(environment.iter().copied());
    let output = tokio::time::timeout(BUILD, build.current_dir(folder).kill_on_drop(true).output()).await;
    let remedy = "aws-lc needs a C compiler, native-tls the package `libssl-dev`; offline, set A11I_TEST_CACHE to a folder where it was built before";
    match output {
        Err(_) => Err(Unmet::new(format!("the Rust client was not built within {BUILD:?}"), remedy)),
        Ok(Err(error)) => Err(Unmet::new(format!("cargo cannot be started: {error}"), remedy)),
        Ok(Ok(output)) if !output.status.success() => {
            let words = String::from_utf8_lossy(&output.stderr).replace('\n', " ");
            Err(Unmet::new(format!("the Rust client cannot be built: {words}"), remedy))
        }
        Ok(Ok(_)) => Ok(()),
    }
}

/// Moves what was built to where it is looked for, at once.
fn keep(built: &Path, kept: &Path) {
    let fresh = cache().join(format!("rust-client.{}", std::process::id()));
    fs::copy(built, &fresh).expect("cargo has built it");
    fs::rename(&fresh, kept).expect("the cache folder is writable");
}

/// The same without its symbols, as released programs are.
async fn keep_stripped(built: &Path, kept: &Path) -> Result<(), Unmet> {
    let fresh = cache().join(format!("rust-client.{}", std::process::id()));
    fixtures::stripped(built, &fresh).await?;
    fs::rename(&fresh, kept).expect("the cache folder is writable");
    Ok(())
}

fn is_newer(program: &Path, sources: &[PathBuf]) -> bool {
    let time = |path: &Path| fs::metadata(path).ok()?.modified().ok();
    let Some(made) = time(program) else { return false };
    sources.iter().all(|source| time(source).is_some_and(|written| made >= written))
}
