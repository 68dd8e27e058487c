//! The Model Context Protocol over HTTP: messages → [`McpMessage`]s (<https://modelcontextprotocol.io/specification>).
//!
//! Takes the same events as [`super::Exchanges`], which knows nothing of them. Streamable HTTP of all revisions (2025-03-26 to 2026-07-28) and
//! the older HTTP+SSE. Refuses JSON-RPC that is not MCP.

mod exchange;
mod message;
mod pending;
mod recognise;
mod session;

pub use self::pending::PendingRequests;
pub(super) use self::recognise::is_endpoint;
use self::{exchange::Exchange, recognise::likelihood};
use super::exchange::ConnectionContext;
use crate::{
    call::{Completeness, McpMessage},
    http::{ExchangeId, HttpEvent, HttpEventKind},
};

/// Exchanges under way on one connection that are or may be MCP: HTTP/2 servers allow 100 or 128 streams as a rule.
const MAX_EXCHANGES: usize = 256;

/// What an event told of its exchange.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum McpTold {
    Nothing,
    /// It may be MCP.
    Undecided,
    Mcp,
    /// It is none after all.
    Other,
}

/// Where finished messages go.
pub type McpSink<'a> = &'a mut dyn FnMut(McpMessage);

/// The MCP exchanges of one connection.
#[derive(Debug)]
pub struct McpExchanges {
    open: Vec<Exchange>,
    keep_content: bool,
    connection: u64,
}

impl McpExchanges {
    /// `connection`: a number that no other has.
    pub const fn new(keep_content: bool, connection: u64) -> Self {
        Self { open: Vec::new(), keep_content, connection }
    }

    /// Takes the next event of the connection.
    pub fn handle(
        &mut self,
        event: &HttpEvent<'_>,
        context: &ConnectionContext,
        pending: &mut PendingRequests,
        sink: McpSink<'_>,
    ) -> McpTold {
        if let HttpEventKind::Request(head) = &event.kind {
            let Some(likelihood) = likelihood(head).filter(|_| self.open.len() < MAX_EXCHANGES) else { return McpTold::Nothing };
            let exchange = Exchange::new((self.connection, event.exchange), head, likelihood, self.keep_content);
            let told = if exchange.is_certain() { McpTold::Mcp } else { McpTold::Undecided };
            self.open.push(exchange);
            return told;
        }
        let Some(at) = self.open.iter().position(|exchange| exchange.id == event.exchange) else { return McpTold::Nothing };
        let Some(exchange) = self.open.get_mut(at) else { return McpTold::Nothing };
        let was_certain = exchange.is_certain();
        let (over, is_certain) = {
            let over = exchange.handle(event, context, pending, sink);
            (over, exchange.is_certain())
        };
        if over {
            self.open.swap_remove(at);
        }
        match (was_certain, is_certain, over) {
            (false, true, _) => McpTold::Mcp,
            (false, false, true) => McpTold::Other,
            _ => McpTold::Nothing,
        }
    }

    /// Whether more of this exchange is wanted.
    pub fn wants(&self, id: ExchangeId) -> bool {
        self.open.iter().any(|exchange| exchange.id == id)
    }

    /// It is a model call.
    pub fn forget(&mut self, id: ExchangeId) {
        self.open.retain(|exchange| exchange.id != id);
    }

    /// Something of what is under way may be missing, and nobody knows what. How many messages that may concern.
    pub fn mark(&mut self, missing: Completeness) -> usize {
        self.open.iter_mut().map(|exchange| exchange.mark(missing)).sum()
    }

    pub const fn is_empty(&self) -> bool {
        self.open.is_empty()
    }
}

#[cfg(test)]
mod tests;
