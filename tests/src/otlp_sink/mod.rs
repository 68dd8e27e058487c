//! An OTLP receiver that decodes real protobuf, keeps everything, and can be slow, refuse or be down.
//!
//! One loopback port answers gRPC (HTTP/2) and HTTP/protobuf (HTTP/1.1), plain or gzip. It runs on a thread of its own.

mod grpc;
mod http;
mod received;

use std::{
    net::{Ipv4Addr, SocketAddr, TcpListener},
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    thread,
    time::{Duration, Instant},
};

use hyper::service::service_fn;
use hyper_util::{
    rt::{TokioExecutor, TokioIo},
    server::conn::auto,
};
use tokio::sync::oneshot;

pub use self::received::{MetricPoint, Received};
use crate::observed::ObservedCall;

/// How often a waiting query looks again. Not an assertion: only how soon a test goes on.
const LOOK_AGAIN: Duration = Duration::from_millis(20);

/// What the sink says to each export request.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Verdict {
    #[default]
    Accept,
    /// 503 with `Retry-After: 1`; `UNAVAILABLE` over gRPC.
    Unavailable,
    /// 429 with `Retry-After: 1`; `RESOURCE_EXHAUSTED` over gRPC.
    Throttle,
    /// 400; `INVALID_ARGUMENT` over gRPC: what must not be retried.
    Reject,
    /// Accepted, all but so many items.
    Partial { rejected: i64 },
}

/// The receiver; down until [`OtlpSink::up`], unless made by [`OtlpSink::start`].
pub struct OtlpSink {
    port: u16,
    state: Arc<Mutex<State>>,
    running: Option<Running>,
}

#[derive(Default)]
struct State {
    verdict: Verdict,
    received: Received,
}

struct Running {
    stop: oneshot::Sender<()>,
    thread: thread::JoinHandle<()>,
}

impl OtlpSink {
    /// A sink that is up.
    pub fn start() -> Self {
        let mut sink = Self::reserve();
        sink.up();
        sink
    }

    /// A sink with a port and nobody behind it: connections to it are refused.
    pub fn reserve() -> Self {
        let listener = TcpListener::bind(SocketAddr::from((Ipv4Addr::LOCALHOST, 0))).expect("a loopback port");
        let port = listener.local_addr().expect("a bound socket has an address").port();
        Self { port, state: Arc::default(), running: None }
    }

    /// `OTEL_EXPORTER_OTLP_ENDPOINT` for both protocols.
    pub fn endpoint(&self) -> String {
        format!("http://127.0.0.1:{}", self.port)
    }

    /// Starts to listen.
    pub fn up(&mut self) {
        if self.running.is_some() {
            return;
        }
        let listener = TcpListener::bind(SocketAddr::from((Ipv4Addr::LOCALHOST, self.port))).expect("the sink's port is still free");
        listener.set_nonblocking(true).expect("a socket can be non-blocking");
        let state = Arc::clone(&self.state);
        let (stop, stopped) = oneshot::channel();
        let thread = thread::Builder::new()
            .name("otlp-sink".to_owned())
            .spawn(move || {
                let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
                runtime.block_on(async {
                    tokio::select! {
                        () = accept(listener, state) => {}
                        _ = stopped => {}
                    }
                });
            })
            .expect("a thread");
        self.running = Some(Running { stop, thread });
    }

    /// Closes the port and every connection, in the middle of whatever they do.
    pub fn down(&mut self) {
        if let Some(Running { stop, thread }) = self.running.take() {
            stop.send(()).ok(); // an error says that the thread has ended already
            thread.join().ok(); // its panic was printed; `down` is called from drop as well
        }
    }

    /// What to say from now on.
    pub fn answer(&self, verdict: Verdict) {
        lock(&self.state).verdict = verdict;
    }

    /// All that was accepted so far.
    pub fn received(&self) -> Received {
        lock(&self.state).received.clone()
    }

    pub fn spans(&self) -> Vec<ObservedCall> {
        self.received().spans
    }

    /// Waits until at least `count` spans have come.
    ///
    /// # Panics
    /// With what has come when it takes longer than `patience`.
    pub async fn wait_for_spans(&self, count: usize, patience: Duration) -> Vec<ObservedCall> {
        self.wait(&format!("{count} spans"), patience, |received| (received.spans.len() >= count).then(|| received.spans.clone())).await
    }

    /// Waits until `find` gives something.
    ///
    /// # Panics
    /// With `what` and all that has come when it takes longer than `patience`.
    pub async fn wait<T>(&self, what: &str, patience: Duration, find: impl Fn(&Received) -> Option<T>) -> T {
        let begun = Instant::now();
        loop {
            if let Some(found) = find(&lock(&self.state).received) {
                return found;
            }
            assert!(begun.elapsed() <= patience, "the OTLP sink waited {patience:?} for {what}; it has received {:#?}", self.received());
            tokio::time::sleep(LOOK_AGAIN).await;
        }
    }
}

impl Drop for OtlpSink {
    fn drop(&mut self) {
        self.down();
    }
}

fn lock(state: &Mutex<State>) -> MutexGuard<'_, State> {
    state.lock().unwrap_or_else(PoisonError::into_inner)
}

async fn accept(listener: TcpListener, state: Arc<Mutex<State>>) {
    let listener = tokio::net::TcpListener::from_std(listener).expect("a non-blocking listener");
    while let Ok((socket, _)) = listener.accept().await {
        let state = Arc::clone(&state);
        let answer = service_fn(move |request: hyper::Request<hyper::body::Incoming>| {
            let state = Arc::clone(&state);
            async move {
                let is_grpc =
                    request.headers().get(hyper::header::CONTENT_TYPE).is_some_and(|kind| kind.as_bytes().starts_with(b"application/grpc"));
                if is_grpc { Ok(grpc::answer(&state, request).await) } else { http::answer(&state, request).await }
            }
        });
        tokio::spawn(async move {
            // An error is a client that went away: nothing to tell.
            auto::Builder::new(TokioExecutor::new()).serve_connection(TokioIo::new(socket), answer).await.ok();
        });
    }
}
