//! `/health` and `/ready`, the same on both configured ports. A port that is taken is a warning: observing goes on.

use std::{
    net::{IpAddr, SocketAddr},
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU8, Ordering},
    },
};

use axum::{Json, Router, extract::State, http::StatusCode, response::IntoResponse, routing::get};
use serde::Serialize;
use tokio::{net::TcpListener, task::JoinHandle};

/// Where the agent is in its life.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Phase {
    /// Loading and attaching.
    Starting,
    /// Observing.
    Ready,
    /// Another agent of this host observes; this one waits.
    Standby,
    /// Observing, but copying is switched off (`a11i control detach`).
    Detached,
    /// Shutting down: flushing.
    Draining,
}

impl Phase {
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Starting => "starting",
            Self::Ready => "ready",
            Self::Standby => "standby",
            Self::Detached => "detached",
            Self::Draining => "draining",
        }
    }
}

/// The phase, shared.
#[derive(Clone, Debug, Default)]
pub struct Readiness(Arc<Shown>);

#[derive(Debug, Default)]
struct Shown {
    phase: AtomicU8,
    switched_off: AtomicBool,
}

impl Readiness {
    /// From now on `/ready` answers 200.
    pub fn set_ready(&self) {
        self.set(Phase::Ready);
    }

    pub fn set(&self, phase: Phase) {
        let code = match phase {
            Phase::Starting => 0,
            Phase::Ready => 1,
            Phase::Standby => 2,
            Phase::Draining => 3,
            Phase::Detached => return self.set_switched_off(true),
        };
        self.0.phase.store(code, Ordering::Relaxed);
    }

    /// Whether copying is switched off: shown as [`Phase::Detached`] where the phase would be [`Phase::Ready`].
    pub fn set_switched_off(&self, off: bool) {
        self.0.switched_off.store(off, Ordering::Relaxed);
    }

    pub fn phase(&self) -> Phase {
        match self.0.phase.load(Ordering::Relaxed) {
            1 if self.0.switched_off.load(Ordering::Relaxed) => Phase::Detached,
            1 => Phase::Ready,
            2 => Phase::Standby,
            3 => Phase::Draining,
            _ => Phase::Starting,
        }
    }
}

/// The listeners; dropping it closes them.
#[derive(Debug, Default)]
pub struct HealthServer {
    addresses: Vec<SocketAddr>,
    /// Taken by somebody else.
    missing: Vec<SocketAddr>,
    tasks: Vec<JoinHandle<()>>,
}

impl HealthServer {
    /// Listens on each port that is not 0, once when they are equal.
    pub async fn start(address: IpAddr, ports: [u16; 2], readiness: &Readiness) -> Self {
        let mut wanted: Vec<SocketAddr> = ports.into_iter().filter(|p| *p != 0).map(|p| SocketAddr::new(address, p)).collect();
        wanted.dedup();
        let mut server = Self { addresses: Vec::new(), missing: wanted, tasks: Vec::new() };
        server.listen(readiness).await;
        server
    }

    /// Tries those again that were taken: the agent that had them may have ended.
    pub async fn listen(&mut self, readiness: &Readiness) {
        for address in std::mem::take(&mut self.missing) {
            match TcpListener::bind(address).await {
                Ok(listener) => self.serve(listener, readiness.clone()),
                Err(error) => {
                    self.missing.push(address);
                    tracing::warn!(%address, %error, "the health page cannot be served here; observing goes on (choose another port, or 0 for none)");
                }
            }
        }
    }

    /// Serves on a listener that is there already.
    pub fn serve(&mut self, listener: TcpListener, readiness: Readiness) {
        self.addresses.extend(listener.local_addr().ok());
        let router = Router::new().route("/health", get(health)).route("/ready", get(ready)).with_state(readiness);
        self.tasks.push(tokio::spawn(async move {
            if let Err(error) = axum::serve(listener, router).await {
                tracing::warn!(%error, "the health page ended");
            }
        }));
    }

    pub fn addresses(&self) -> &[SocketAddr] {
        &self.addresses
    }
}

impl Drop for HealthServer {
    fn drop(&mut self) {
        self.tasks.iter().for_each(JoinHandle::abort);
    }
}

#[derive(Serialize)]
struct Answer {
    status: &'static str,
    version: &'static str,
}

/// The process runs and its runtime answers.
async fn health() -> impl IntoResponse {
    Json(Answer { status: "ok", version: env!("CARGO_PKG_VERSION") })
}

async fn ready(State(readiness): State<Readiness>) -> impl IntoResponse {
    let phase = readiness.phase();
    let code = if phase == Phase::Ready { StatusCode::OK } else { StatusCode::SERVICE_UNAVAILABLE };
    (code, Json(Answer { status: phase.as_str(), version: env!("CARGO_PKG_VERSION") }))
}

#[cfg(test)]
mod tests {
    use tokio::{
        io::{AsyncReadExt as _, AsyncWriteExt as _},
        net::TcpStream,
    };

    use super::*;

    async fn ask(address: SocketAddr, path: &str) -> String {
        let mut stream = TcpStream::connect(address).await.unwrap();
        stream.write_all(format!("GET {path} HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n").as_bytes()).await.unwrap();
        let mut answer = String::new();
        stream.read_to_string(&mut answer).await.unwrap();
        answer
    }

    #[tokio::test]
    async fn ready_is_200_only_after_it_was_said() {
        let readiness = Readiness::default();
        let mut server = HealthServer::default();
        server.serve(TcpListener::bind("127.0.0.1:0").await.unwrap(), readiness.clone());
        let address = server.addresses()[0];
        assert!(ask(address, "/health").await.starts_with("HTTP/1.1 200"));
        let off = [(Phase::Detached, 503), (Phase::Draining, 503)];
        for (phase, code) in [(Phase::Starting, 503), (Phase::Standby, 503), (Phase::Ready, 200)].into_iter().chain(off) {
            readiness.set(phase);
            let answer = ask(address, "/ready").await;
            assert!(answer.starts_with(&format!("HTTP/1.1 {code}")) && answer.contains(phase.as_str()), "{answer}");
        }
    }

    #[tokio::test]
    async fn a_taken_port_does_not_stop_the_agent() {
        let taken = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let port = taken.local_addr().unwrap().port();
        let server = HealthServer::start(IpAddr::from([127, 0, 0, 1]), [port, 0], &Readiness::default()).await;
        assert!(server.addresses().is_empty());
    }
}
