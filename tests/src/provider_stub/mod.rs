//! The provider stand-in: a TLS server on loopback that speaks the providers' APIs and knows what a correct observer must
//! report about each answer.
//!
//! It runs on a thread of its own, so that a test may block without stopping it. Clients reach it under the providers' own
//! names (its certificate has them); requests say by `x-stub-*` headers what shall happen ([`behaviour`]).

mod answer;
mod anthropic_messages;
mod bedrock;
mod behaviour;
mod certificates;
mod content_coding;
mod conversation;
mod exchange;
mod gemini;
mod gemini_grpc;
mod openai_chat;
mod openai_realtime;
mod openai_responses;
mod other;
mod plaintext;
mod prompt;
mod server;
mod websocket;

use std::{
    net::{Ipv4Addr, SocketAddr},
    path::{Path, PathBuf},
    process,
    sync::atomic::{AtomicU64, Ordering},
    thread,
};

use tokio::sync::oneshot;

pub use self::{
    answer::{Answer, Api, Expected, Piece, Usage},
    behaviour::{Behaviour, Fault},
    certificates::NAMES,
    content_coding::Coding,
    exchange::{End, Exchange, Exchanges},
    plaintext::Plaintext,
};

/// How to start.
#[derive(Clone, Copy, Debug, Default)]
pub struct Options {
    /// Offer HTTP/2 by ALPN. Off by default: the clients under test then speak HTTP/1.1.
    pub http2: bool,
    /// Loopback port; 0 takes a free one.
    pub port: u16,
    /// Another loopback address than 127.0.0.1.
    pub address: Option<Ipv4Addr>,
    /// Serve without TLS, too: on a loopback port of IPv4 and IPv6 and on a Unix socket.
    pub plaintext: bool,
}

/// A running stand-in; it ends when dropped.
pub struct ProviderStub {
    address: SocketAddr,
    ca_file: PathBuf,
    plaintext: Option<Plaintext>,
    exchanges: Exchanges,
    stop: Option<oneshot::Sender<()>>,
    thread: Option<thread::JoinHandle<()>>,
}

impl ProviderStub {
    /// On a free port, HTTP/1.1 only.
    pub fn start() -> Self {
        Self::start_with(Options::default())
    }

    pub fn start_with(options: Options) -> Self {
        static STARTED: AtomicU64 = AtomicU64::new(0);
        let name = format!("{}-{}", process::id(), STARTED.fetch_add(1, Ordering::Relaxed));
        let ca_file = std::env::temp_dir().join(format!("a11i-stand-in-{name}.pem"));
        let tls = certificates::server_config(&ca_file, options.http2);
        let ip = options.address.unwrap_or(Ipv4Addr::LOCALHOST);
        let listener = std::net::TcpListener::bind(SocketAddr::from((ip, options.port))).expect("a loopback port");
        listener.set_nonblocking(true).expect("a socket can be non-blocking");
        let address = listener.local_addr().expect("a bound socket has an address");
        let plain = options.plaintext.then(|| plaintext::Listeners::bind(&name));
        let plaintext = plain.as_ref().map(plaintext::Listeners::place);
        let exchanges = Exchanges::default();
        let (stop, stopped) = oneshot::channel();
        let service = server::Service::new(&name, exchanges.clone());
        let thread = thread::Builder::new()
            .name("provider-stub".to_owned())
            .spawn(move || {
                let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
                runtime.block_on(async {
                    tokio::select! {
                        () = server::accept(listener, tls, service.clone()) => {}
                        () = plaintext::accept(plain, service) => {}
                        _ = stopped => {}
                    }
                });
            })
            .expect("a thread");
        Self { address, ca_file, plaintext, exchanges, stop: Some(stop), thread: Some(thread) }
    }

    pub fn port(&self) -> u16 {
        self.address.port()
    }

    /// Where it serves with TLS.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Where it serves without TLS.
    ///
    /// # Panics
    /// When it was not asked to.
    pub fn plaintext(&self) -> &Plaintext {
        self.plaintext.as_ref().expect("started with `plaintext`")
    }

    /// The authority that signed the stand-in's certificate, in PEM: for `SSL_CERT_FILE` and `--cacert`.
    pub fn ca_file(&self) -> &Path {
        &self.ca_file
    }

    /// Everything that was asked so far, in order.
    pub fn exchanges(&self) -> Vec<Exchange> {
        self.exchanges.all()
    }

    /// What a correct observer reports of everything asked so far, in order; `/health` and the like are no calls.
    pub fn expected(&self) -> Vec<Expected> {
        self.exchanges().into_iter().filter_map(|exchange| exchange.expected).collect()
    }
}

impl Drop for ProviderStub {
    fn drop(&mut self) {
        if let Some(stop) = self.stop.take() {
            stop.send(()).ok(); // an error says that the thread has ended already
        }
        if let Some(thread) = self.thread.take() {
            thread.join().ok(); // its panic was printed; dropping must not panic again
        }
        if let Some(plaintext) = &self.plaintext {
            std::fs::remove_file(&plaintext.path).ok(); // as below
        }
        std::fs::remove_file(&self.ca_file).ok(); // a leftover in the temporary folder is harmless
    }
}
