//! CPython with the real `openai`, `anthropic`, `boto3`, `google-genai`, `aiohttp`, `mcp` and `websockets` packages.
//!
//! Jobs and answers: [`Program`].

use std::{
    fs::{self, File},
    path::PathBuf,
    process::Stdio,
    time::Duration,
};

use tokio::process::Command;

pub use super::program::Program;
use super::{cache, clients};
use crate::{
    provider_stub::ProviderStub,
    requirement::{self, Unmet},
};

/// The programs in `clients/python`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Script {
    OpenAiSync,
    OpenAiAsync,
    OpenAiInstrumented,
    AnthropicSync,
    AnthropicAsync,
    Aiohttp,
    HttpxHttp2,
    Http2Pieces,
    PyOpenSsl,
    McpServer,
    McpClient,
    Gateway,
    Bedrock,
    GoogleGenai,
    GrpcGemini,
    WebSockets,
    TwoProviders,
    MemoryBios,
}

impl Script {
    fn file(self) -> &'static str {
        match self {
            Self::OpenAiSync => "openai_sync.py",
            Self::OpenAiAsync => "openai_async.py",
            Self::OpenAiInstrumented => "openai_instrumented.py",
            Self::AnthropicSync => "anthropic_sync.py",
            Self::AnthropicAsync => "anthropic_async.py",
            Self::Aiohttp => "aiohttp_chat.py",
            Self::HttpxHttp2 => "httpx_http2.py",
            Self::Http2Pieces => "http2_pieces.py",
            Self::PyOpenSsl => "pyopenssl_chat.py",
            Self::McpServer => "mcp_server.py",
            Self::McpClient => "mcp_client.py",
            Self::Gateway => "gateway.py",
            Self::Bedrock => "bedrock.py",
            Self::GoogleGenai => "google_genai.py",
            Self::GrpcGemini => "grpc_gemini.py",
            Self::WebSockets => "websockets_talk.py",
            Self::TwoProviders => "two_providers.py",
            Self::MemoryBios => "memory_bios.py",
        }
    }
}

/// A Python with the packages, made once.
#[derive(Clone, Debug)]
pub struct Python {
    program: PathBuf,
}

/// Where package indexes are slow, an installation is; it happens once.
const INSTALLATION: Duration = Duration::from_mins(10);

impl Python {
    /// The virtual environment, from the cache or made now.
    ///
    /// # Errors
    /// What could not be made, with the tool's own words.
    pub async fn with_packages() -> Result<Self, Unmet> {
        let requirements = clients().join("python/requirements.txt");
        let wanted = fs::read_to_string(&requirements).expect("the requirements are in the repository");
        let folder = cache().join("venv");
        let program = folder.join("bin/python");
        let stamp = folder.join("installed-requirements.txt");
        let is_made = || fs::read_to_string(&stamp).is_ok_and(|made| made == wanted);
        if is_made() {
            return Ok(Self { program });
        }
        let python = requirement::program("python3", "install the packages `python3` and `python3-venv`")?;
        fs::create_dir_all(cache())
            .map_err(|error| Unmet::new(format!("the cache folder cannot be made: {error}"), "set A11I_TEST_CACHE"))?;
        // Several test processes may want it at once.
        let lock = File::create(cache().join("venv.lock")).expect("the cache folder is writable");
        lock.lock().expect("a file can be locked");
        if !is_made() {
            let remedy = "see the message; offline, set A11I_TEST_CACHE to a folder where it was made before";
            run(Command::new(python).arg("-m").arg("venv").arg("--clear").arg(&folder), "python3 -m venv", remedy).await?;
            let mut pip = Command::new(&program);
            pip.args(["-m", "pip", "install", "--quiet", "--disable-pip-version-check", "--requirement"]).arg(&requirements);
            run(&mut pip, "pip install", remedy).await?;
            fs::write(&stamp, wanted).expect("the virtual environment is writable");
        }
        Ok(Self { program })
    }

    /// Of the OpenSSL that its `ssl` module uses, in its own words.
    pub async fn openssl_version(&self) -> String {
        let mut command = Command::new(&self.program);
        let output =
            command.args(["-c", "import ssl; print(ssl.OPENSSL_VERSION.split()[1])"]).output().await.expect("Python can be started");
        String::from_utf8_lossy(&output.stdout).trim().to_owned()
    }

    /// Starts a program whose every name resolves to the stand-in.
    pub fn start(&self, script: Script, stub: &ProviderStub) -> Program {
        Program::start(&mut self.command(script, stub))
    }

    /// The same with further variables.
    pub fn start_with(&self, script: Script, stub: &ProviderStub, environment: &[(&str, String)]) -> Program {
        Program::start(self.command(script, stub).envs(environment.iter().map(|(name, value)| (name, value))))
    }

    /// The interpreter, the script's path and the environment it needs: for commands that another program starts.
    pub fn command_line(&self, script: Script, stub: &ProviderStub) -> (Vec<PathBuf>, Vec<(&'static str, String)>) {
        let environment = vec![
            ("SSL_CERT_FILE", stub.ca_file().display().to_string()),
            ("STAND_IN_PORT", stub.port().to_string()),
            ("NO_PROXY", "*".to_owned()),
            ("PYTHONDONTWRITEBYTECODE", "1".to_owned()),
        ];
        (vec![self.program.clone(), clients().join("python").join(script.file())], environment)
    }

    fn command(&self, script: Script, stub: &ProviderStub) -> Command {
        let (line, environment) = self.command_line(script, stub);
        let mut command = Command::new(&self.program);
        command.args(line.into_iter().skip(1)).envs(environment);
        command
    }
}

async fn run(command: &mut Command, what: &str, remedy: &str) -> Result<(), Unmet> {
    let output = tokio::time::timeout(INSTALLATION, command.kill_on_drop(true).stdin(Stdio::null()).output()).await;
    match output {
        Err(_) => Err(Unmet::new(format!("`{what}` did not end within {INSTALLATION:?}"), remedy)),
        Ok(Err(error)) => Err(Unmet::new(format!("`{what}` cannot be started: {error}"), remedy)),
        Ok(Ok(output)) if output.status.success() => Ok(()),
        Ok(Ok(output)) => {
            let words = String::from_utf8_lossy(&output.stderr).replace('\n', " ");
            Err(Unmet::new(format!("`{what}` failed with {}: {words}", output.status), remedy))
        }
    }
}
