//! The stand-in without TLS, as inference servers on the same host are reached.

use std::{
    net::{Ipv6Addr, SocketAddr},
    os::unix::net::UnixListener as StdUnixListener,
    path::PathBuf,
};

use tokio::net::{TcpListener, UnixListener};

use super::server::{Service, serve};

/// Connections without TLS are numbered apart from those with it.
const FIRST_CONNECTION: u64 = 1 << 32;

/// Where it serves.
#[derive(Clone, Debug)]
pub struct Plaintext {
    /// Of 127.0.0.1 and of ::1.
    pub port: u16,
    /// Of a Unix socket.
    pub path: PathBuf,
}

pub(super) struct Listeners {
    tcp: std::net::TcpListener,
    unix: StdUnixListener,
    place: Plaintext,
}

impl Listeners {
    pub(super) fn bind(name: &str) -> Self {
        let path = std::env::temp_dir().join(format!("a11i-stand-in-{name}.sock"));
        std::fs::remove_file(&path).ok(); // mostly there is none
        // Linux serves IPv4 on it as well, as long as nobody has switched that off.
        let tcp = std::net::TcpListener::bind(SocketAddr::from((Ipv6Addr::UNSPECIFIED, 0))).expect("a port");
        let unix = StdUnixListener::bind(&path).expect("the temporary folder takes a socket");
        tcp.set_nonblocking(true).expect("a socket can be non-blocking");
        unix.set_nonblocking(true).expect("a socket can be non-blocking");
        let port = tcp.local_addr().expect("a bound socket has an address").port();
        Self { tcp, unix, place: Plaintext { port, path } }
    }

    pub(super) fn place(&self) -> Plaintext {
        self.place.clone()
    }
}

/// Serves until it is dropped; for ever nobody, where there is nothing to listen on.
pub(super) async fn accept(listeners: Option<Listeners>, service: Service) {
    let Some(listeners) = listeners else { return std::future::pending().await };
    let tcp = TcpListener::from_std(listeners.tcp).expect("a non-blocking listener");
    let unix = UnixListener::from_std(listeners.unix).expect("a non-blocking listener");
    for connection in FIRST_CONNECTION.. {
        let service = service.clone();
        tokio::select! {
            accepted = tcp.accept() => {
                let Ok((socket, _)) = accepted else { return };
                socket.set_nodelay(true).ok(); // fails only when the peer has gone
                tokio::spawn(serve(socket, connection, service));
            }
            accepted = unix.accept() => {
                let Ok((socket, _)) = accepted else { return };
                tokio::spawn(serve(socket, connection, service));
            }
        }
    }
}
