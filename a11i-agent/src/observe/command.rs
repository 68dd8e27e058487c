//! What may be asked of the coverage thread while it runs, and its answers: the contract between the admin socket and `coverage`.

use serde::{Deserialize, Serialize};
use tokio::sync::{mpsc, oneshot};

use crate::discovery::inspect::FunctionReport;

/// Handled on the scanner's thread, between two looks at files.
#[derive(Debug)]
pub(super) enum CoverageCommand {
    /// Closes every link and keeps what is known, so that [`Self::AttachAll`] can bring them back. New files are not attached meanwhile.
    DetachAll {
        progress: mpsc::UnboundedSender<Progress>,
        done: oneshot::Sender<()>,
    },
    /// Makes the links again, for files that still have users.
    AttachAll {
        progress: mpsc::UnboundedSender<Progress>,
        done: oneshot::Sender<()>,
    },
    Report {
        done: oneshot::Sender<CoverageReport>,
    },
}

/// Files done, of how many, and how many of them lack probes because links could not be made.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Progress {
    pub done: usize,
    pub of: usize,
    #[serde(default)]
    pub failed: usize,
}

/// Which processes are covered, by what, and why others are not.
#[derive(Clone, PartialEq, Debug, Default, Serialize, Deserialize)]
pub struct CoverageReport {
    pub files: Vec<FileReport>,
    pub processes: Vec<ProcessReport>,
}

/// A file that has probes, or could not get them.
#[derive(Clone, PartialEq, Debug, Default, Serialize, Deserialize)]
pub struct FileReport {
    /// Identifies it within this report.
    pub file: u64,
    /// As its first user sees it.
    pub path: String,
    /// `a11i.capture.library` and `a11i.capture.method`.
    pub library: String,
    pub method: String,
    pub version: Option<String>,
    /// Every TLS library in it; the first is the one above.
    #[serde(default)]
    pub plans: Vec<PlanReport>,
    pub probes: usize,
    pub attached: bool,
    /// `everyone`, or `processes` where the bystander guard or a hazard limits probes to some.
    pub scope: String,
    pub users: usize,
    /// Entry probes hit in the last second that was looked at.
    pub hits_per_second: u64,
    /// Other paths that lead to the same inode (overlay mounts) and share this attachment.
    pub aliases: Vec<String>,
    /// Why it has no probes, or not for everyone.
    pub reason: Option<String>,
    pub remedy: Option<String>,
}

/// One TLS library in a file.
#[derive(Clone, PartialEq, Debug, Default, Serialize, Deserialize)]
pub struct PlanReport {
    /// `a11i.capture.library` and `a11i.capture.method`.
    pub library: String,
    pub method: String,
    pub version: Option<String>,
    pub functions: Vec<FunctionReport>,
    /// Functions that are there and not probed, each with the reason.
    pub refused: Vec<String>,
    pub seen: Seen,
    #[serde(default)]
    pub probation: ProbationState,
    /// Why it has no probes although others of the file may have.
    #[serde(default)]
    pub reason: Option<String>,
    #[serde(default)]
    pub remedy: Option<String>,
}

/// Functions that were found without names are on probation until live calls prove them.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ProbationState {
    /// They have names.
    #[default]
    NotNeeded,
    /// Nothing has proven them yet, nor shown that they are something else.
    OnProbation,
    /// Live calls were what calls of these functions are.
    Proven,
    /// Calls that read were, and none of those that write: what the process sends is not seen.
    WritesNotUnderstood,
    /// Calls that write were, and none of those that read: what the process receives is not seen.
    ReadsNotUnderstood,
    /// No live call was: the probes are gone and do not come back to this code.
    Disproven,
}

impl ProbationState {
    /// In words; None where there is nothing to say.
    pub const fn as_str(self) -> Option<&'static str> {
        match self {
            Self::NotNeeded => None,
            Self::OnProbation => Some("on probation"),
            Self::Proven => Some("proven by live calls"),
            Self::WritesNotUnderstood => Some("reads are proven by live calls, writes are not understood: what is sent is not seen"),
            Self::ReadsNotUnderstood => Some("writes are proven by live calls, reads are not understood: what is received is not seen"),
            Self::Disproven => Some("disproven by live calls, detached"),
        }
    }
}

/// What live traffic says of the functions that were found.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Seen {
    /// No connection has come through them yet.
    #[default]
    Nothing,
    /// HTTP was read through them: they are what they were taken for.
    Http,
    /// Bytes came through them, and none were HTTP.
    OtherBytes,
}

impl Seen {
    /// In words.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Nothing => "nothing came through yet",
            Self::Http => "confirmed: HTTP was read through it",
            Self::OtherBytes => "not confirmed: bytes came through, and none were HTTP",
        }
    }
}

/// A process that was looked at and has something to say.
#[derive(Clone, PartialEq, Debug, Default, Serialize, Deserialize)]
pub struct ProcessReport {
    pub pid: u32,
    pub start_ticks: u32,
    pub executable: Option<String>,
    /// [`FileReport::file`] of its TLS libraries.
    pub files: Vec<u64>,
    /// It ran before its library had probes: calls before that were not seen.
    pub attached_late: bool,
    /// LLM calls reported since the agent's start, and plaintext bytes of it that were lost.
    pub calls: u64,
    pub lost_bytes: u64,
    /// Calls of which something is missing; those of them whose connection was joined in its middle.
    #[serde(default)]
    pub incomplete_calls: u64,
    #[serde(default)]
    pub joined_late_calls: u64,
    /// Library and method of those calls, as `openssl/symbol`.
    #[serde(default)]
    pub seen_through: Vec<String>,
    /// Reason and remedy of everything about it that is not covered.
    pub not_covered: Vec<NotCoveredReport>,
}

#[derive(Clone, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
pub struct NotCoveredReport {
    pub reason: String,
    pub remedy: Option<String>,
}
