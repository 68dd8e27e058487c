//! What the stand-in remembers of every request.

use std::sync::{Arc, Mutex, PoisonError};

use super::answer::Expected;

/// One request and what became of its answer.
#[derive(Clone, Debug)]
pub struct Exchange {
    /// Which TCP connection of this stand-in, counted from 0: two exchanges with one number shared it.
    pub connection: u64,
    pub method: String,
    pub path: String,
    /// Bytes of the request's body as they arrived.
    pub request_bytes: usize,
    /// What a correct observer reports; None for what is no model call (`/health`).
    pub expected: Option<Expected>,
    pub end: End,
}

/// How the answer ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum End {
    /// Still being written, or hanging on purpose.
    Open,
    /// All of it was handed to the connection.
    Written,
    /// The stand-in cut it, as asked.
    Cut,
    /// The client went away first; so many content events had been handed over.
    Abandoned { content_events: usize },
}

/// All exchanges, in the order of their requests.
#[derive(Clone, Default)]
pub struct Exchanges(Arc<Mutex<Vec<Exchange>>>);

impl Exchanges {
    pub fn all(&self) -> Vec<Exchange> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    pub(super) fn add(&self, exchange: Exchange) -> usize {
        let mut all = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        all.push(exchange);
        all.len().saturating_sub(1)
    }

    pub(super) fn ended(&self, index: usize, end: End) {
        if let Some(exchange) = self.0.lock().unwrap_or_else(PoisonError::into_inner).get_mut(index) {
            exchange.end = end;
        }
    }
}
