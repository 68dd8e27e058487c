//! What the kernel half is told of a connection's requests: which of them are LLM traffic.
//!
//! It copies an undecided request within budgets (SECURITY.md), everything of LLM traffic, and nothing of what is none until bytes begin
//! like another request. So a wrong "none" loses a call, and a missing one costs a little copying: in doubt nothing is said.

use a11i_common::decision::verdict;

use crate::http::{ConnectionNotice, MalformedReason};

#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub enum Verdict {
    /// Nothing more is copied until bytes begin like the next request.
    NotLlm,
    /// Everything of the request and its answer is copied.
    Llm,
    /// The connection's server name is that of an LLM provider, or it is a WebSocket and carries calls: every request is one, until it turns
    /// out to be none.
    LlmHost,
    /// Nobody can read the connection any more.
    Ignore,
    /// The connection is multiplexed, and neither this request nor those before it are calls: the beginning of what comes is copied, until the
    /// next request begins.
    Glance,
}

impl Verdict {
    /// Value of [`a11i_common::decision::Decision::verdict`].
    pub const fn code(self) -> u8 {
        match self {
            Self::NotLlm => verdict::NOT_LLM,
            Self::Llm => verdict::LLM,
            Self::LlmHost => verdict::LLM_HOST,
            Self::Ignore => verdict::IGNORE,
            Self::Glance => verdict::GLANCE,
        }
    }
}

/// What one record showed.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub(crate) struct Seen {
    /// A request that is a call.
    pub(crate) llm: bool,
    /// A request that is none, by its head or by its body.
    pub(crate) other: bool,
    /// It is a WebSocket that calls go through. Its frames never begin like a request; a piece of one may, by chance, and is copied on all the same.
    pub(crate) conversation: bool,
    /// What came is none of HTTP, or breaks it.
    no_http: bool,
    unreadable: bool,
}

impl Seen {
    pub(crate) const fn head(&mut self, llm: bool) {
        self.llm |= llm;
        self.other |= !llm;
    }

    pub(crate) const fn notice(&mut self, notice: ConnectionNotice) {
        match notice {
            // What follows an upgrade is another protocol for good.
            ConnectionNotice::Upgraded => self.unreadable = true,
            // Whether calls go through a WebSocket, the head of its request says. Of an unexpected response, the request was lost, or sent before
            // anybody looked: it may have been a call.
            ConnectionNotice::WebSocket | ConnectionNotice::Malformed(MalformedReason::UnexpectedResponse) => {}
            // The next request may be better. What never was HTTP, the kernel half knows by itself, except where bytes began like a request by
            // chance.
            ConnectionNotice::Malformed(_) | ConnectionNotice::NotHttp => self.no_http = true,
        }
    }

    /// What follows from it. `undisturbed`: no call, head or upgrade is under way, and nothing came out of order. `calls`: calls are under way.
    /// `host`: the server name is that of an LLM provider.
    pub(crate) const fn verdict(self, undisturbed: bool, calls: bool, host: bool) -> Option<Verdict> {
        // Said again with every call, since a verdict that was not taken yet is replaced by the next one.
        let llm = if host { Verdict::LlmHost } else { Verdict::Llm };
        if self.unreadable {
            return Some(Verdict::Ignore);
        }
        if self.conversation {
            return Some(Verdict::LlmHost);
        }
        if self.llm && calls {
            return Some(llm);
        }
        match (self.llm || self.other || self.no_http, undisturbed, calls) {
            (true, true, _) => Some(Verdict::NotLlm),
            // Sent before the answer to a call is over (pipelined): that answer is still wanted.
            (true, false, true) if self.other => Some(llm),
            _ => None,
        }
    }
}

/// Requests in a row of a multiplexed connection that are looked at as a whole, where none was a call and its host is none of an LLM provider.
/// Behind them the kernel half glances at what comes, and looks at each new request until it is told of that one.
const REQUESTS_LOOKED_AT: u16 = 8;

/// What was said of a flow: each verdict once per request, and again where it could not be delivered.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub(crate) struct Told {
    /// Number of the request that the last record belongs to.
    request: u16,
    /// Bits by [`Verdict::code`].
    verdicts: u8,
    /// The newest verdict.
    last: Option<Verdict>,
    /// The newest verdict, where it was not delivered.
    undelivered: Option<Verdict>,
    /// The server name is that of an LLM provider.
    pub(crate) host: bool,
    /// Of a multiplexed connection: records with a request that was none, since the last call.
    others: u16,
}

impl Told {
    /// A record of this request has come.
    pub(crate) const fn begin(&mut self, request: u16) {
        if self.request != request {
            self.request = request;
            self.verdicts = 0;
            self.undelivered = match self.undelivered {
                of_connection @ Some(Verdict::LlmHost | Verdict::Ignore) => of_connection,
                Some(Verdict::Llm | Verdict::NotLlm | Verdict::Glance) | None => None,
            };
        }
    }

    /// What follows for a connection whose requests go side by side: it is copied as a whole, or glanced at. `undisturbed` and `calls`: as in
    /// [`Seen::verdict`].
    pub(crate) const fn of_multiplexed(&mut self, seen: Seen, undisturbed: bool, calls: bool) -> Option<Verdict> {
        let llm = if self.host { Verdict::LlmHost } else { Verdict::Llm };
        if seen.llm {
            self.others = 0;
            return Some(llm);
        }
        self.others = self.others.saturating_add(seen.other as u16);
        if calls {
            // Beside a call another request has begun, with a number of its own.
            return if matches!(self.last, Some(Verdict::Llm | Verdict::LlmHost)) { Some(llm) } else { None };
        }
        if seen.other && undisturbed && self.others >= REQUESTS_LOOKED_AT && !self.host { Some(Verdict::Glance) } else { None }
    }

    pub(crate) const fn request(self) -> u16 {
        self.request
    }

    /// The kernel half could not be told this of this request. A newer verdict stands.
    pub(crate) fn lost(&mut self, request: u16, verdict: Verdict) {
        let of_connection = matches!(verdict, Verdict::LlmHost | Verdict::Ignore);
        if self.last == Some(verdict) && (self.request == request || of_connection) {
            self.undelivered = Some(verdict);
        }
    }

    /// What is to be said again with this record, which itself has led to nothing. `undisturbed`: as in [`Seen::verdict`].
    pub(crate) fn again(self, undisturbed: bool) -> Option<Verdict> {
        self.undelivered.filter(|verdict| undisturbed || !matches!(verdict, Verdict::NotLlm | Verdict::Glance))
    }

    /// Whether this was not said of the request yet. From now on it was.
    pub(crate) fn is_new(&mut self, verdict: Verdict) -> bool {
        let new = self.verdicts & bit(verdict) == 0 || self.undelivered == Some(verdict);
        self.verdicts |= bit(verdict);
        if new {
            (self.last, self.undelivered) = (Some(verdict), None);
        }
        new
    }
}

fn bit(verdict: Verdict) -> u8 {
    1_u8.checked_shl(verdict.code().into()).unwrap_or_default()
}
