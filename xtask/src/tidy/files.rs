//! Rules for any text file: names that say something, no paths of one person's machine, a size that can be read.

use std::{
    env,
    path::{Component, Path},
};

use crate::tidy::Finding;

/// Names under which anything could be put, and so everything is.
const EMPTY_NAMES: [&str; 9] = ["common", "core", "helper", "helpers", "manager", "misc", "shared", "util", "utils"];
/// Where to begin to look for a seam.
const LONG_FILE: usize = 500;
/// Home folders of nobody in particular, as documentation and test data name them.
const NOBODY: [&str; 7] = ["app", "me", "node", "runner", "ubuntu", "user", "you"];

/// Findings in one file; `name` is relative to the root, `places` are beginnings of paths on this machine.
pub(super) fn check(name: &Path, text: &str, places: &[String]) -> Vec<Finding> {
    let finding = |line, text, is_error| Finding { file: name.to_owned(), line, text, is_error };
    let mut findings = Vec::new();
    let is_rust = name.extension().is_some_and(|extension| extension == "rs");
    if is_rust && let Some(empty) = empty_name(name) {
        findings.push(finding(0, format!("`{empty}` says nothing: name the file after what is in it"), true));
    }
    // A lock file's paths are relative, its size is not ours, and it is no prose.
    if name.extension().is_some_and(|extension| extension == "lock") {
        return findings;
    }
    for (line, content) in (1..).zip(text.lines()) {
        if let Some(place) = places.iter().find(|place| content.contains(place.as_str())).cloned().or_else(|| home_of_somebody(content)) {
            findings.push(finding(line, format!("`{place}` is a path of one machine"), true));
        }
    }
    let lines = text.lines().count();
    let is_test = name.components().any(|part| matches!(part.as_os_str().to_str(), Some("tests" | "benches" | "fuzz" | "tests.rs")));
    if is_rust && !is_test && lines > LONG_FILE {
        findings.push(finding(0, format!("{lines} lines: look for a seam"), false));
    }
    findings
}

/// Beginnings of paths that lead into this machine: beside the tree, and below the home folder of who runs this.
pub(super) fn places_of_this_machine(root: &Path) -> Vec<String> {
    let parent = root.parent().map(|parent| format!("{}/", parent.display()));
    let home = env::home_dir().map(|home| format!("{}/.", home.display()));
    // Too short to mean a particular place: text is full of them.
    let is_particular = |place: &String| !matches!(place.as_str(), "/" | "//" | "/." | "//." | "/tmp/");
    parent.into_iter().chain(home).filter(is_particular).collect()
}

fn empty_name(name: &Path) -> Option<String> {
    let parts = name.with_extension("");
    let mut inside_source = false;
    for part in parts.components() {
        let Component::Normal(part) = part else { continue };
        let part = part.to_str()?;
        if inside_source && EMPTY_NAMES.contains(&part) {
            return Some(part.to_owned());
        }
        inside_source |= matches!(part, "src" | "tests" | "benches" | "examples");
    }
    None
}

/// `/home/NAME/` or `/Users/NAME/` of a real person.
fn home_of_somebody(line: &str) -> Option<String> {
    ["/home/", "/Users/"].into_iter().find_map(|root| {
        line.match_indices(root).find_map(|(at, _)| {
            let (name, _) = line.get(at.checked_add(root.len())?..)?.split_once('/')?;
            let is_name = !name.is_empty() && name.chars().all(|character| character.is_ascii_alphanumeric() || "._-".contains(character));
            let is_placeholder =
                name.len() == 1 || NOBODY.contains(&name) || !name.contains(|character: char| character.is_ascii_lowercase());
            (is_name && !is_placeholder).then(|| format!("{root}{name}/"))
        })
    })
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::check;

    fn errors(name: &str, text: &str, places: &[String]) -> usize {
        check(Path::new(name), text, places).iter().filter(|finding| finding.is_error).count()
    }

    #[test]
    fn a_module_called_utils_is_refused_and_the_crate_a11i_common_is_not() {
        assert_eq!(errors("a11i-agent/src/http/utils.rs", "", &[]), 1);
        assert_eq!(errors("a11i-agent/src/helpers/mod.rs", "", &[]), 1);
        assert_eq!(errors("tests/common/mod.rs", "", &[]), 1);
        assert_eq!(errors("a11i-common/src/event.rs", "", &[]), 0);
    }

    #[test]
    fn paths_of_one_machine_are_found() {
        let somebody = format!("see {}/alice/notes", "/home");
        assert_eq!(errors("README.md", &somebody, &[]), 1);
        assert_eq!(errors("README.md", "cd /home/user/a11i; ls /home/; /home/*/x; /home/a/b; /home/NAME/", &[]), 0);
        assert_eq!(errors("README.md", "in /srv/build/tree", &["/srv/build/".to_owned()]), 1);
        assert_eq!(errors("Cargo.lock", &somebody, &[]), 0);
    }

    #[test]
    fn a_long_file_is_a_warning() {
        let long = "\n".repeat(501);
        let found = check(Path::new("a11i-agent/src/pipeline.rs"), &long, &[]);
        assert!(found.iter().any(|finding| !finding.is_error && finding.text.contains("501 lines")));
        assert!(check(Path::new("tests/e2e/main.rs"), &long, &[]).is_empty());
    }
}
