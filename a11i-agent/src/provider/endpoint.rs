//! Who talks to whom: the server's name and the other end of the socket.

use super::{ConnectionContext, ConnectionSocket};
use crate::call::{CaptureLibrary, Role, ServerAddress, SocketPeer};

/// What a request says of it.
#[derive(Clone, Debug)]
pub(super) struct Endpoint {
    pub(super) role: Role,
    pub(super) host: Option<String>,
    pub(super) port: Option<u16>,
    /// The host is in the table or configured.
    pub(super) known_host: bool,
}

impl Endpoint {
    /// By the request's host field, else the name asked for in the handshake, else the server's end of the socket.
    pub(super) fn server(&self, context: &ConnectionContext) -> ServerAddress {
        let default_port = if context.capture.library == Some(CaptureLibrary::Plaintext) { 80 } else { 443 };
        let known_host = self.known_host;
        if let Some(name) = self.host.clone().or_else(|| context.server_name.clone()) {
            return ServerAddress { address: Some(name), port: Some(self.port.unwrap_or(default_port)), known_host };
        }
        let (address, port) = match &context.socket {
            Some(ConnectionSocket::Internet { local, remote }) => {
                let server = if self.role == Role::Server { local } else { remote };
                (Some(server.ip().to_string()), Some(server.port()))
            }
            Some(ConnectionSocket::Unix(path)) => (path.clone(), None),
            None => (None, None),
        };
        ServerAddress { address, port, known_host }
    }

    /// The other end. A client's end of a Unix socket has no name.
    pub(super) fn peer(&self, context: &ConnectionContext) -> Option<SocketPeer> {
        match context.socket.as_ref()? {
            ConnectionSocket::Internet { remote, .. } => Some(SocketPeer::Internet(*remote)),
            ConnectionSocket::Unix(path) if self.role == Role::Client => path.clone().map(SocketPeer::Unix),
            ConnectionSocket::Unix(_) => None,
        }
    }
}
