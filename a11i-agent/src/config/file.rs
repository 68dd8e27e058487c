//! YAML files → raw values with line numbers.

use std::{
    fs,
    io::Read as _,
    path::{Path, PathBuf},
};

use saphyr_parser::{Event, Parser, ScalarStyle};

use super::{
    keys::{KEYS, nearest},
    raw::{Entry, Mistake, Node, NodeKind, Origin, RawConfig},
};

/// Largest file read: the documented example has 4 KiB, and a wrong path should not fill memory.
const FILE_BYTES: u64 = 1024 * 1024;

/// Deepest nesting: the keys need three levels.
const DEPTH: usize = 16;

/// Reads a file and the drop-ins beside it in the order of their names; later ones replace single keys of earlier ones.
pub(super) fn read(path: &Path, raw: &mut RawConfig, mistakes: &mut Vec<Mistake>) {
    read_one(path, raw, mistakes);
    for drop_in in drop_ins(path) {
        read_one(&drop_in, raw, mistakes);
    }
}

/// `a11i.yaml.d/*.yaml` and `a11i.d/*.yaml` for `a11i.yaml`.
fn drop_ins(path: &Path) -> Vec<PathBuf> {
    let mut with_extension = path.as_os_str().to_owned();
    with_extension.push(".d");
    let folders = [PathBuf::from(with_extension), path.with_extension("d")];
    let mut files: Vec<PathBuf> = folders
        .iter()
        .filter_map(|folder| fs::read_dir(folder).ok())
        .flat_map(|entries| entries.filter_map(Result::ok).map(|entry| entry.path()))
        .filter(|file| file.extension().is_some_and(|e| e == "yaml" || e == "yml"))
        .collect();
    files.sort();
    files.dedup();
    files
}

fn read_one(path: &Path, raw: &mut RawConfig, mistakes: &mut Vec<Mistake>) {
    let at = |line| Origin::File { path: path.to_owned(), line };
    let mut text = String::new();
    let read = fs::File::open(path).and_then(|file| file.take(FILE_BYTES.saturating_add(1)).read_to_string(&mut text));
    match read {
        Err(error) => mistakes.push(Mistake {
            origin: at(0),
            what: format!("cannot be read: {error}"),
            remedy: "name a readable YAML file in UTF-8".to_owned(),
        }),
        Ok(size) if size as u64 > FILE_BYTES => mistakes.push(Mistake {
            origin: at(0),
            what: "is larger than 1 MiB".to_owned(),
            remedy: "name a configuration file".to_owned(),
        }),
        Ok(_) => parse(&text, path, raw, mistakes),
    }
}

/// One document of one file.
pub(super) fn parse(text: &str, path: &Path, raw: &mut RawConfig, mistakes: &mut Vec<Mistake>) {
    let at = |line| Origin::File { path: path.to_owned(), line };
    match tree(text) {
        Err((line, what)) => mistakes.push(Mistake { origin: at(line), what, remedy: "correct the YAML".to_owned() }),
        Ok(None) => {}
        Ok(Some(Node { kind: NodeKind::Map(members), .. })) => flatten("", &members, path, raw, mistakes),
        Ok(Some(node)) => mistakes.push(Mistake {
            origin: at(node.line),
            what: format!("the file holds {} instead of keys", node.describe()),
            remedy: "write `key: value` lines".to_owned(),
        }),
    }
}

fn flatten(prefix: &str, members: &[(String, usize, Node)], path: &Path, raw: &mut RawConfig, mistakes: &mut Vec<Mistake>) {
    for (index, (name, line, node)) in members.iter().enumerate() {
        let origin = Origin::File { path: path.to_owned(), line: *line };
        let key = if prefix.is_empty() { name.clone() } else { format!("{prefix}.{name}") };
        if members.iter().take(index).any(|(earlier, ..)| earlier == name) {
            mistakes.push(Mistake { origin, what: format!("`{key}` is written twice"), remedy: "keep one of them".to_owned() });
            continue;
        }
        let section = format!("{key}.");
        if KEYS.contains(&key.as_str()) {
            raw.set(&key, Entry { node: node.clone(), origin });
        } else if KEYS.iter().any(|k| k.starts_with(&section)) {
            match &node.kind {
                NodeKind::Map(inner) => flatten(&key, inner, path, raw, mistakes),
                NodeKind::Null => {}
                NodeKind::Scalar(_) | NodeKind::List(_) => mistakes.push(Mistake {
                    origin,
                    what: format!("`{key}` is a section, but holds {}", node.describe()),
                    remedy: format!("write its keys below it: {}", keys_below(&section)),
                }),
            }
        } else {
            let remedy =
                nearest(&key, KEYS.iter().copied()).map_or_else(|| "remove it".to_owned(), |near| format!("did you mean `{near}`?"));
            mistakes.push(Mistake { origin, what: format!("unknown key `{key}`"), remedy });
        }
    }
}

fn keys_below(section: &str) -> String {
    let mut names: Vec<&str> =
        KEYS.iter().filter_map(|k| k.strip_prefix(section)).map(|rest| rest.split('.').next().unwrap_or(rest)).collect();
    names.dedup();
    names.join(", ")
}

/// The tree of the first document, or the line and reason of the first error.
pub(super) fn tree(text: &str) -> Result<Option<Node>, (usize, String)> {
    let mut open: Vec<Open> = Vec::new();
    for event in Parser::new_from_str(text) {
        let (event, span) = event.map_err(|error| (error.marker().line(), error.info().to_owned()))?;
        let line = span.start.line();
        let node = match event {
            Event::Nothing | Event::StreamStart | Event::DocumentStart(_) | Event::DocumentEnd | Event::StreamEnd => continue,
            Event::Alias(_) => return Err((line, "aliases are not supported".to_owned())),
            Event::SequenceStart(..) | Event::MappingStart(..) if open.len() >= DEPTH => {
                return Err((line, format!("nested deeper than {DEPTH} levels")));
            }
            Event::SequenceStart(..) => {
                open.push(Open { line, building: Building::List(Vec::new()) });
                continue;
            }
            Event::MappingStart(..) => {
                open.push(Open { line, building: Building::Map { members: Vec::new(), key: None } });
                continue;
            }
            Event::SequenceEnd | Event::MappingEnd => match open.pop() {
                Some(closed) => closed.finish(),
                None => return Err((line, "an end without a start".to_owned())),
            },
            Event::Scalar(text, style, ..) => {
                let empty = style == ScalarStyle::Plain && matches!(text.as_ref(), "" | "~" | "null");
                Node { line, kind: if empty { NodeKind::Null } else { NodeKind::Scalar(text.into_owned()) } }
            }
        };
        match open.last_mut() {
            // Further documents of the file are not read.
            None => return Ok(Some(node)),
            Some(parent) => parent.add(node)?,
        }
    }
    Ok(None)
}

struct Open {
    line: usize,
    building: Building,
}

enum Building {
    List(Vec<Node>),
    Map { members: Vec<(String, usize, Node)>, key: Option<(String, usize)> },
}

impl Open {
    fn add(&mut self, node: Node) -> Result<(), (usize, String)> {
        match &mut self.building {
            Building::List(items) => items.push(node),
            Building::Map { members, key } => match (key.take(), node.kind) {
                (Some((name, line)), kind) => members.push((name, line, Node { line: node.line, kind })),
                (None, NodeKind::Scalar(name)) => *key = Some((name, node.line)),
                (None, NodeKind::Null | NodeKind::List(_) | NodeKind::Map(_)) => {
                    return Err((node.line, "a key must be a single word".to_owned()));
                }
            },
        }
        Ok(())
    }

    fn finish(self) -> Node {
        let kind = match self.building {
            Building::List(items) => NodeKind::List(items),
            Building::Map { members, .. } => NodeKind::Map(members),
        };
        Node { line: self.line, kind }
    }
}
