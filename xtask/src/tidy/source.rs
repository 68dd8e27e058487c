//! Rust source reduced to what the rules look at: comments, literals and test modules blanked, line numbers kept.

/// `text` with every comment, string and character literal replaced by spaces.
pub(super) fn without_comments_and_literals(text: &str) -> String {
    let characters: Vec<char> = text.chars().collect();
    let mut out = String::with_capacity(text.len());
    let mut at = 0;
    while let Some(&character) = characters.get(at) {
        let rest = characters.get(at..).unwrap_or_default();
        let after_word = at.checked_sub(1).and_then(|before| characters.get(before)).is_some_and(|before| is_word(*before));
        let length = skipped_length(rest, after_word).min(rest.len());
        if length == 0 {
            out.push(character);
            at += 1;
        } else {
            out.extend(rest.iter().take(length).map(|skipped| if *skipped == '\n' { '\n' } else { ' ' }));
            at += length;
        }
    }
    out
}

/// `text` (already blanked) with the bodies of `#[cfg(test)]` items blanked too: tests may read files and ask the time.
pub(super) fn without_tests(text: &str) -> String {
    const MARK: &str = "#[cfg(test)]";
    let mut out = text.to_owned();
    while let Some(start) = out.find(MARK) {
        let rest = out.get(start..).unwrap_or_default();
        let end = start + item_length(rest);
        let blank: String = out.get(start..end).unwrap_or_default().chars().map(|kept| if kept == '\n' { '\n' } else { ' ' }).collect();
        out.replace_range(start..end, &blank);
    }
    out
}

/// Bytes to the end of the item that `text` begins with: its closing brace, or a semicolon before any brace.
fn item_length(text: &str) -> usize {
    let mut depth = 0_usize;
    for (at, character) in text.char_indices() {
        match character {
            ';' if depth == 0 => return at + 1,
            '{' => depth += 1,
            '}' => {
                depth = depth.saturating_sub(1);
                if depth == 0 {
                    return at + 1;
                }
            }
            _ => {}
        }
    }
    text.len()
}

/// How many characters of `rest` are a comment or literal that starts here; 0 for none.
fn skipped_length(rest: &[char], after_word: bool) -> usize {
    match rest {
        ['/', '/', ..] => rest.iter().position(|c| *c == '\n').unwrap_or(rest.len()),
        ['/', '*', ..] => block_comment_length(rest),
        ['"', ..] => quoted_length(rest, 0),
        ['b' | 'c', '"', ..] if !after_word => quoted_length(rest, 1),
        ['r', '"' | '#', ..] if !after_word => raw_length(rest, 1),
        ['b' | 'c', 'r', '"' | '#', ..] if !after_word => raw_length(rest, 2),
        ['\'', '\\', ..] => rest.iter().skip(3).position(|c| *c == '\'').map_or(rest.len(), |end| end + 4),
        ['\'', _, '\'', ..] => 3,
        _ => 0,
    }
}

fn block_comment_length(rest: &[char]) -> usize {
    let (mut depth, mut at) = (0_usize, 0);
    while at < rest.len() {
        match rest.get(at..) {
            Some(['/', '*', ..]) => (depth, at) = (depth + 1, at + 2),
            Some(['*', '/', ..]) => {
                (depth, at) = (depth - 1, at + 2);
                if depth == 0 {
                    return at;
                }
            }
            _ => at += 1,
        }
    }
    rest.len()
}

fn quoted_length(rest: &[char], prefix: usize) -> usize {
    let mut at = prefix + 1;
    while let Some(character) = rest.get(at) {
        match character {
            '\\' => at += 2,
            '"' => return at + 1,
            _ => at += 1,
        }
    }
    rest.len()
}

/// A raw string; 0 when it is a raw identifier (`r#type`).
fn raw_length(rest: &[char], prefix: usize) -> usize {
    let hashes = rest.iter().skip(prefix).take_while(|c| **c == '#').count();
    let start = prefix + hashes;
    if rest.get(start) != Some(&'"') {
        return 0;
    }
    let mut at = start + 1;
    while at < rest.len() {
        let closes = rest.get(at) == Some(&'"') && rest.iter().skip(at + 1).take_while(|c| **c == '#').count() >= hashes;
        if closes {
            return at + 1 + hashes;
        }
        at += 1;
    }
    rest.len()
}

pub(super) fn is_word(character: char) -> bool {
    character.is_alphanumeric() || character == '_'
}

#[cfg(test)]
mod tests {
    use super::{without_comments_and_literals, without_tests};

    #[test]
    fn comments_and_literals_become_spaces_of_the_same_length() {
        let text = "a // x\nb /* y /* z */ */ c \"q\\\"\" d r#\"w\"# e 'f' g b\"h\" '\\n' i";
        let blank = without_comments_and_literals(text);
        assert_eq!(blank.len(), text.len());
        assert_eq!(blank.split_whitespace().collect::<Vec<_>>(), ["a", "b", "c", "d", "e", "g", "i"]);
        assert_eq!(blank.lines().count(), 2);
    }

    #[test]
    fn lifetimes_and_raw_identifiers_are_no_literals() {
        let text = "fn f<'a>(x: &'a str, r#type: u8) {}";
        assert_eq!(without_comments_and_literals(text), text);
    }

    #[test]
    fn unfinished_literals_end_with_the_file() {
        for text in ["\"abc", "r#\"abc", "/* abc", "'\\", "b\"", "\"\\"] {
            assert_eq!(without_comments_and_literals(text).trim(), "", "{text}");
        }
    }

    #[test]
    fn test_items_are_left_out() {
        let text = "use a;\n#[cfg(test)]\nmod tests { use std::fs; fn f() {} }\nuse b;\n#[cfg(test)]\nuse std::net;\nuse c;\n";
        let rest = without_tests(text);
        assert!(!rest.contains("std"), "{rest}");
        assert!(rest.contains("use a;") && rest.contains("use b;") && rest.contains("use c;"));
        assert_eq!(rest.lines().count(), text.lines().count());
    }
}
