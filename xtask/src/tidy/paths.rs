//! Every path that a piece of Rust source names, with imports opened up: `use std::{fs, io as i}` and a later `i::Read` give
//! `std::fs`, `std::io` and `std::io::Read`.

use std::collections::HashMap;

use crate::tidy::source::is_word;

/// A path and its line (from 1).
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct NamedPath {
    pub(super) line: usize,
    pub(super) segments: Vec<String>,
}

/// The paths in `text`, which has neither comments nor literals. Names that an import introduced are replaced by what they stand for.
pub(super) fn of_source(text: &str) -> Vec<NamedPath> {
    let tokens = tokens(text);
    let mut found = Vec::new();
    let mut aliases: HashMap<String, Vec<String>> = HashMap::new();
    let mut expressions = Vec::new();
    let mut at = 0;
    while let Some(token) = tokens.get(at) {
        if token.text == "use" {
            let mut tree = Tree { tokens: &tokens, at: at + 1, leaves: Vec::new() };
            tree.read(&[]);
            at = tree.at.max(at + 1);
            for Leaf { path, name } in tree.leaves {
                aliases.insert(name, path.segments.clone());
                found.push(path);
            }
        } else if is_identifier(&token.text) && !preceded_by_path_or_dot(&tokens, at) {
            let (path, next) = plain_path(&tokens, at);
            at = next;
            expressions.push(path);
        } else {
            at += 1;
        }
    }
    for NamedPath { line, segments } in expressions {
        if segments.len() < 2 {
            continue;
        }
        let segments = match segments.split_first() {
            Some((first, rest)) if aliases.contains_key(first) => aliases.get(first).into_iter().flatten().chain(rest).cloned().collect(),
            _ => segments,
        };
        found.push(NamedPath { line, segments });
    }
    found
}

struct Token {
    text: String,
    line: usize,
}

fn tokens(text: &str) -> Vec<Token> {
    let mut all = Vec::new();
    let mut line = 1;
    let mut characters = text.chars().peekable();
    while let Some(character) = characters.next() {
        if character == '\n' {
            line += 1;
        } else if is_word(character) {
            let mut word = character.to_string();
            while let Some(next) = characters.next_if(|next| is_word(*next)) {
                word.push(next);
            }
            all.push(Token { text: word, line });
        } else if character == ':' && characters.next_if_eq(&':').is_some() {
            all.push(Token { text: "::".to_owned(), line });
        } else if !character.is_whitespace() {
            all.push(Token { text: character.to_string(), line });
        }
    }
    all
}

fn is_identifier(text: &str) -> bool {
    text.starts_with(|first: char| is_word(first) && !first.is_ascii_digit())
}

fn preceded_by_path_or_dot(tokens: &[Token], at: usize) -> bool {
    let before = at.checked_sub(1).and_then(|before| tokens.get(before)).map(|token| token.text.as_str());
    match before {
        Some(".") => true,
        // `::std::fs` begins a path, `Vec<T>::new` continues a type.
        Some("::") => {
            at.checked_sub(2).and_then(|before| tokens.get(before)).is_some_and(|token| token.text == ">" || is_identifier(&token.text))
        }
        _ => false,
    }
}

/// `a::b::c` from `at`, and where it ends.
fn plain_path(tokens: &[Token], at: usize) -> (NamedPath, usize) {
    let line = tokens.get(at).map_or(0, |token| token.line);
    let mut segments = Vec::new();
    let mut next = at;
    while let Some(token) = tokens.get(next).filter(|token| is_identifier(&token.text)) {
        segments.push(token.text.clone());
        next += 1;
        let continues = tokens.get(next).is_some_and(|token| token.text == "::")
            && tokens.get(next + 1).is_some_and(|token| is_identifier(&token.text));
        if !continues {
            break;
        }
        next += 1;
    }
    (NamedPath { line, segments }, next)
}

struct Leaf {
    path: NamedPath,
    name: String,
}

/// The tree of one `use`, read from `at`.
struct Tree<'a> {
    tokens: &'a [Token],
    at: usize,
    leaves: Vec<Leaf>,
}

impl Tree<'_> {
    /// One branch below `prefix`, up to a comma, closing brace or semicolon.
    fn read(&mut self, prefix: &[String]) {
        let mut segments = prefix.to_vec();
        let mut line = 0;
        let mut alias = None;
        while let Some(token) = self.tokens.get(self.at) {
            match token.text.as_str() {
                "::" => self.at += 1,
                "{" => {
                    self.at += 1;
                    self.group(&segments);
                    return;
                }
                "as" => {
                    alias = self.tokens.get(self.at + 1).map(|token| token.text.clone());
                    self.at += 2;
                }
                "*" => {
                    line = token.line;
                    segments.push("*".to_owned());
                    self.at += 1;
                }
                // `self` within braces names the prefix itself; as first segment it is a path's beginning.
                "self" if !segments.is_empty() && segments.len() == prefix.len() => {
                    line = token.line;
                    self.at += 1;
                }
                text if is_identifier(text) => {
                    line = token.line;
                    segments.push(text.to_owned());
                    self.at += 1;
                }
                _ => break,
            }
        }
        if line > 0 {
            let name = alias.or_else(|| segments.last().cloned()).unwrap_or_default();
            self.leaves.push(Leaf { path: NamedPath { line, segments }, name });
        }
    }

    /// The branches between braces.
    fn group(&mut self, prefix: &[String]) {
        loop {
            let before = self.at;
            self.read(prefix);
            match self.tokens.get(self.at).map(|token| token.text.as_str()) {
                Some("}") => {
                    self.at += 1;
                    return;
                }
                Some(",") => self.at += 1,
                // A macro or broken source: stop rather than guess.
                _ if self.at == before => return,
                Some(_) => {}
                None => return,
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::of_source;

    fn names(text: &str) -> Vec<String> {
        of_source(text).into_iter().map(|path| path.segments.join("::")).collect()
    }

    #[test]
    fn an_import_tree_gives_every_path_in_it() {
        let text = "use std::{fs, io::{self, Read as _}, time::Duration};\npub(crate) use crate::flow::*;";
        assert_eq!(names(text), ["std::fs", "std::io", "std::io::Read", "std::time::Duration", "crate::flow::*"]);
    }

    #[test]
    fn a_name_stands_for_what_was_imported() {
        let text = "use std::time;\nuse tokio as t;\nfn f() { time::Instant::now(); t::spawn(x); ::std::env::var(y) }";
        assert_eq!(names(text), ["std::time", "tokio", "std::time::Instant::now", "tokio::spawn", "std::env::var"]);
    }

    #[test]
    fn the_line_of_a_path_in_a_tree_is_its_own() {
        let paths = of_source("use std::{\n    fs,\n    net,\n};\n");
        assert_eq!(paths.iter().map(|path| path.line).collect::<Vec<_>>(), [2, 3]);
    }

    #[test]
    fn methods_and_type_members_are_no_paths_of_their_own() {
        assert_eq!(names("x.env::<u8>(); Vec<u8>::fs(); a.b"), Vec::<String>::new());
    }

    #[test]
    fn broken_imports_end() {
        for text in ["use", "use {", "use a::{b", "use a::{b,,}", "use a::{;}", "use a::{b(c)}"] {
            of_source(text);
        }
    }
}
