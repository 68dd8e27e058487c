//! Values as they were written, each with where it stands.

use std::{collections::BTreeMap, fmt, path::PathBuf};

/// Where a value was written.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Origin {
    /// Line from 1.
    File {
        path: PathBuf,
        line: usize,
    },
    Variable(String),
    Flag(String),
}

impl fmt::Display for Origin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::File { path, line } => write!(f, "{}:{line}", path.display()),
            Self::Variable(name) | Self::Flag(name) => f.write_str(name),
        }
    }
}

/// One thing that is wrong, and what to do about it.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Mistake {
    pub origin: Origin,
    pub what: String,
    pub remedy: String,
}

impl fmt::Display for Mistake {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.origin, self.what)?;
        if self.remedy.is_empty() { Ok(()) } else { write!(f, "; {}", self.remedy) }
    }
}

/// All mistakes of a configuration, one a line.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Mistakes(pub Vec<Mistake>);

impl fmt::Display for Mistakes {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "the configuration has {} mistake{}:", self.0.len(), if self.0.len() == 1 { "" } else { "s" })?;
        self.0.iter().try_for_each(|mistake| write!(f, "\n  {mistake}"))
    }
}

impl std::error::Error for Mistakes {}

/// A YAML value with its line; environment and flags give scalars only.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(super) struct Node {
    pub line: usize,
    pub kind: NodeKind,
}

#[derive(Clone, PartialEq, Eq, Debug)]
pub(super) enum NodeKind {
    Null,
    Scalar(String),
    List(Vec<Node>),
    /// Keys with their own lines.
    Map(Vec<(String, usize, Node)>),
}

impl Node {
    pub(super) const fn describe(&self) -> &'static str {
        match self.kind {
            NodeKind::Null => "nothing",
            NodeKind::Scalar(_) => "a single value",
            NodeKind::List(_) => "a list",
            NodeKind::Map(_) => "a mapping",
        }
    }
}

#[derive(Clone, PartialEq, Eq, Debug)]
pub(super) struct Entry {
    pub node: Node,
    pub origin: Origin,
}

impl Entry {
    /// The place of a part of this entry.
    pub(super) fn origin_of(&self, line: usize) -> Origin {
        match &self.origin {
            Origin::File { path, .. } => Origin::File { path: path.clone(), line },
            Origin::Variable(_) | Origin::Flag(_) => self.origin.clone(),
        }
    }
}

/// Key path → what was written last.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub(super) struct RawConfig(BTreeMap<String, Entry>);

impl RawConfig {
    pub(super) fn set(&mut self, key: &str, entry: Entry) {
        self.0.insert(key.to_owned(), entry);
    }

    pub(super) fn set_text(&mut self, key: &str, value: &str, origin: Origin) {
        self.set(key, Entry { node: Node { line: 0, kind: NodeKind::Scalar(value.to_owned()) }, origin });
    }

    pub(super) fn get(&self, key: &str) -> Option<&Entry> {
        self.0.get(key).filter(|entry| entry.node.kind != NodeKind::Null)
    }
}
