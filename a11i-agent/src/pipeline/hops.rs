//! Calls that are hops of one another: a program asks a gateway on this host, and the gateway asks a provider.
//!
//! Every hop is a span, below the one outside it; one of them is billed. Two calls are joined on proof only: both ends of one socket, or, in
//! one process, a call made while one with the same prompt, or of the same trace, is served.

use std::{
    collections::VecDeque,
    hash::{DefaultHasher, Hash as _, Hasher as _},
};

use a11i_common::identity::{BootTime, ProcessId};

use crate::{
    call::{Completeness, Correlation, LlmCall, Role, SpanIdentity},
    http::{ExchangeId, Fingerprinter},
    provider::{ConnectionContext, ConnectionSocket, OpenCall},
};

/// Calls known at once. Beyond it the oldest is forgotten: what it would have been joined with stays by itself.
const CALLS: usize = 1024;

/// How long a finished call is remembered: records of the two ends of a socket come in any order within a turn of the ring.
const REMEMBERED_NANOS: u64 = 2_000_000_000;

/// A call, by its flow's number and its exchange.
pub(super) type HopKey = (u64, ExchangeId);

#[derive(Debug)]
struct Hop {
    key: HopKey,
    role: Role,
    process: ProcessId,
    since: BootTime,
    ended: Option<BootTime>,
    /// Of its prompt; `None` where nothing of it is text.
    prompt: Option<u64>,
    identity: SpanIdentity,
    socket: Option<ConnectionSocket>,
    outer: Option<HopKey>,
    /// Another call is taken to be inside this one.
    has_inner: bool,
    /// A client's call that will have a price.
    is_priced: bool,
    /// A call inside of it was billed.
    is_billed_inside: bool,
}

#[derive(Debug, Default)]
pub(super) struct Hops {
    calls: VecDeque<Hop>,
}

impl Hops {
    /// A request has been read. `is_priced`: it would be billed if nothing were outside of it.
    pub(super) fn open(
        &mut self,
        key: HopKey,
        call: &OpenCall<'_>,
        context: &ConnectionContext,
        is_priced: bool,
        prints: &Fingerprinter,
        time: BootTime,
    ) {
        while self.calls.front().is_some_and(|hop| hop.ended.is_some_and(|ended| time.nanos_since(ended) > REMEMBERED_NANOS))
            || self.calls.len() >= CALLS
        {
            self.calls.pop_front();
        }
        let process = context.owner.process;
        let prompt = (!call.prompt.is_empty()).then(|| {
            let mut hasher = DefaultHasher::new();
            (call.prompt.text(), call.prompt.total_bytes()).hash(&mut hasher);
            hasher.finish()
        });
        let trace = call.parent.map(|parent| parent.trace_id);
        let is_outer = |hop: &Hop| {
            hop.ended.is_none()
                && hop.role != call.role
                && match call.role {
                    Role::Server => is_other_end(hop.socket.as_ref(), context.socket.as_ref()),
                    Role::Client => {
                        hop.process == process
                            && hop.since <= call.since
                            && (prompt.is_some() && hop.prompt == prompt || trace == Some(hop.identity.trace_id))
                    }
                }
        };
        // Of several on one socket, side by side, it is the one of the same trace or prompt; else a server reads them in their order. Of several
        // that a process serves, it is the newest.
        let likeness = |hop: &Hop| {
            let age = if call.role == Role::Server { u64::MAX.saturating_sub(hop.since.0) } else { hop.since.0 };
            (trace == Some(hop.identity.trace_id), prompt.is_some() && hop.prompt == prompt, !hop.has_inner, age)
        };
        let outer = self.calls.iter_mut().filter(|hop| is_outer(hop)).max_by_key(|hop| likeness(hop));
        let parent = outer.as_ref().map(|hop| hop.identity);
        let outer = outer.map(|hop| {
            hop.has_inner = true;
            hop.key
        });
        let mut seed = Vec::with_capacity(40);
        for number in [u64::from(process.pid.0), u64::from(process.start_ticks), key.0, key.1.0, call.since.0] {
            seed.extend_from_slice(&number.to_le_bytes());
        }
        let Some((own_trace, span_id)) = prints.span_ids(&seed) else { return };
        let trace_id = trace.or(parent.map(|parent| parent.trace_id)).unwrap_or(own_trace);
        let sampled = call.parent.map(|parent| parent.sampled).or(parent.and_then(|parent| parent.sampled));
        self.calls.push_back(Hop {
            key,
            role: call.role,
            process,
            since: call.since,
            ended: None,
            prompt,
            identity: SpanIdentity { trace_id, span_id, sampled },
            socket: context.socket.clone(),
            outer,
            has_inner: false,
            is_priced: is_priced && call.role == Role::Client,
            is_billed_inside: false,
        });
    }

    /// The call is finished: who it is, what is outside of it, and whether it is billed elsewhere.
    pub(super) fn finish(&mut self, key: HopKey, call: &LlmCall, time: BootTime) -> Option<Correlation> {
        let hop = self.calls.iter_mut().find(|hop| hop.key == key)?;
        hop.ended = Some(time);
        // What was lost or failed has no usage to bill.
        let fails = call.outcome.error_type.is_some() || !matches!(call.completeness, Completeness::Whole);
        let usage = !call.usage.is_absent() || call.response.stated_cost.is_some();
        hop.is_priced &= usage || !fails;
        let (identity, is_priced, is_billed_inside) = (hop.identity, hop.is_priced, hop.is_billed_inside);
        let mut outer = hop.outer;
        let first = outer.and_then(|key| self.find(key)).map(|hop| hop.identity);
        let mut is_billed_outside = false;
        // A chain has as many members as there are gateways on this host.
        for _ in 0..8 {
            let Some(hop) = outer.and_then(|key| self.find(key)) else { break };
            is_billed_outside |= hop.is_priced;
            outer = hop.outer;
        }
        let is_hop = is_billed_inside || is_billed_outside;
        if is_priced && !is_hop {
            self.bill_inside(key);
        }
        Some(Correlation { own: Some(identity), outer: first, is_hop, ..call.correlation.clone() })
    }

    fn bill_inside(&mut self, key: HopKey) {
        let mut outer = self.find(key).and_then(|hop| hop.outer);
        for _ in 0..8 {
            let Some(hop) = outer.and_then(|key| self.calls.iter_mut().find(|hop| hop.key == key)) else { break };
            hop.is_billed_inside = true;
            outer = hop.outer;
        }
    }

    fn find(&self, key: HopKey) -> Option<&Hop> {
        self.calls.iter().find(|hop| hop.key == key)
    }
}

/// Whether these are the two ends of one connection.
fn is_other_end(one: Option<&ConnectionSocket>, other: Option<&ConnectionSocket>) -> bool {
    match (one, other) {
        (
            Some(ConnectionSocket::Internet { local, remote }),
            Some(ConnectionSocket::Internet { local: other_local, remote: other_remote }),
        ) => local == other_remote && remote == other_local,
        // A client's end of a Unix socket has no name: many connections look the same.
        _ => false,
    }
}

#[cfg(test)]
#[path = "tests/hops.rs"]
mod tests;
