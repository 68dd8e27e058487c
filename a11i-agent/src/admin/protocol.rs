//! What is asked and what is answered: one JSON line asks, JSON lines answer, the last of them is final.
//!
//! The socket is the agent's own: both ends are of one version as a rule, and a line that is not understood is answered so.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::{
    capture::sockets::SocketStanding,
    observe::{CoverageReport, Progress},
};

/// Longer lines are no requests.
pub const REQUEST_BYTES: usize = 4096;

#[derive(Clone, Copy, PartialEq, Debug, Serialize, Deserialize)]
#[serde(tag = "request", rename_all = "snake_case", deny_unknown_fields)]
pub enum Request {
    /// The coverage of every process.
    Processes,
    Status,
    /// Nothing is copied any more; then every probe goes.
    Detach,
    /// The probes come back, then copying.
    Attach,
    /// The share of traces that is exported.
    Sampling {
        ratio: f64,
    },
    /// Read the configuration again.
    Reload,
    /// Report nothing of this process and its descendants for as long as the connection lives.
    Hide {
        pid: u32,
    },
}

#[derive(Clone, PartialEq, Debug, Serialize, Deserialize)]
#[serde(tag = "reply", rename_all = "snake_case")]
pub enum Reply {
    /// Not final.
    Progress(Progress),
    Done {
        said: String,
    },
    /// Nothing was changed.
    Refused {
        reason: String,
    },
    Status(Status),
    Processes {
        status: Status,
        coverage: CoverageReport,
    },
    Reloaded {
        /// Keys that hold from now on.
        applied: Vec<String>,
        /// Keys that differ and hold after the next start.
        needs_restart: Vec<String>,
    },
}

impl Reply {
    pub const fn is_final(&self) -> bool {
        !matches!(self, Self::Progress(_))
    }

    pub fn refused(reason: &(impl ToString + ?Sized)) -> Self {
        Self::Refused { reason: reason.to_string() }
    }

    pub fn done(said: impl Into<String>) -> Self {
        Self::Done { said: said.into() }
    }
}

/// The agent as a whole.
#[derive(Clone, PartialEq, Debug, Default, Serialize, Deserialize)]
pub struct Status {
    pub pid: u32,
    pub version: String,
    /// As `/ready` says it.
    pub phase: String,
    /// Not one byte is copied.
    pub switched_off: bool,
    pub probes: u64,
    /// Finished calls, and those not seen whole.
    pub calls: u64,
    pub incomplete: u64,
    /// Processes that an `exec` observes.
    pub hidden_processes: usize,
    pub sampling_ratio: Option<f64>,
    /// What sees traffic without TLS, or why nothing does.
    #[serde(default)]
    pub sockets: SocketStanding,
    /// Connections that were joined in their middle.
    #[serde(default)]
    pub late_attachments: u64,
    /// Plaintext bytes of HTTP connections that are known to be missing.
    #[serde(default)]
    pub lost_bytes: u64,
    /// The kernel half's counters.
    pub kernel: BTreeMap<String, u64>,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn requests_are_what_they_look_like() {
        for (line, request) in [
            (r#"{"request":"processes"}"#, Request::Processes),
            (r#"{"request":"sampling","ratio":0.5}"#, Request::Sampling { ratio: 0.5 }),
            (r#"{"request":"hide","pid":7}"#, Request::Hide { pid: 7 }),
        ] {
            assert_eq!(serde_json::from_str::<Request>(line).unwrap(), request);
            assert_eq!(serde_json::to_string(&request).unwrap(), line);
        }
        for wrong in ["", "{}", r#"{"request":"shutdown"}"#, r#"{"request":"hide"}"#, r#"{"request":"hide","pid":-1}"#] {
            assert!(serde_json::from_str::<Request>(wrong).is_err(), "{wrong}");
        }
    }

    #[test]
    fn only_progress_is_not_the_last_word() {
        assert!(!Reply::Progress(Progress { done: 1, of: 2, failed: 0 }).is_final());
        assert!(Reply::done("x").is_final() && Reply::refused("x").is_final());
    }
}
