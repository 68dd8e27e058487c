//! What rustls 0.24 is going to be, by its newest development release: providers are crates of their own, and bytes go in and out by hand.

use std::{
    error::Error,
    io::{self, Read, Write},
    net::TcpStream,
    sync::Arc,
};

use rustls::{ClientConfig, ClientSide, Connection, RootCertStore, Tcp, VecInput, pki_types::ServerName};
#[cfg(feature = "aws-lc")]
use rustls_aws_lc_rs as provider;
#[cfg(feature = "ring")]
use rustls_ring as provider;

pub fn config(roots: RootCertStore, old: bool) -> Result<ClientConfig, rustls::Error> {
    let chosen = if old { provider::DEFAULT_TLS12_PROVIDER } else { provider::DEFAULT_TLS13_PROVIDER };
    ClientConfig::builder(Arc::new(chosen)).with_root_certificates(roots).with_no_client_auth()
}

pub fn connect(config: Arc<ClientConfig>, host: &'static str, socket: TcpStream) -> Result<Stream, Box<dyn Error>> {
    let mut output = Vec::new();
    let connection = config.connect(ServerName::try_from(host)?).build(&mut output)?;
    let mut stream = Stream { connection, socket, input: VecInput::default(), output, plain: Vec::new() };
    while stream.connection.is_handshaking() {
        stream.flush()?;
        stream.receive()?;
    }
    Ok(stream)
}

pub struct Stream {
    connection: Connection<ClientSide, Tcp>,
    socket: TcpStream,
    input: VecInput,
    output: Vec<u8>,
    plain: Vec<u8>,
}

impl Stream {
    /// Whether there may be more.
    fn receive(&mut self) -> io::Result<bool> {
        let read = self.input.read(&mut self.socket)?;
        self.connection.read_tls(&mut self.input, &mut self.output).handle_all(&mut self.plain).map_err(io::Error::other)?;
        Ok(read > 0)
    }
}

impl Read for Stream {
    fn read(&mut self, into: &mut [u8]) -> io::Result<usize> {
        self.flush()?;
        while self.plain.is_empty() && self.receive()? {}
        let n = self.plain.len().min(into.len());
        into[..n].copy_from_slice(&self.plain[..n]);
        self.plain.drain(..n);
        Ok(n)
    }
}

impl Write for Stream {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.connection.write(bytes.into(), &mut self.output).map_err(io::Error::other)?;
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        self.socket.write_all(&self.output)?;
        self.output.clear();
        Ok(())
    }
}
