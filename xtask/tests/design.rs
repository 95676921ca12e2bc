//! `docs/design.md` names files, functions, tests and rules. All of them exist.

use std::fs;
use std::path::{Path, PathBuf};

const CRATES: [&str; 5] = [
    "crates/uv-sys",
    "crates/uv-core",
    "crates/uv-udp",
    "crates/uv-capi",
    "benches",
];

/// The folders of the conformance suite.
const SUITES: [&str; 2] = ["conformance/src", "xtask/src/conform"];

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("..")
}

/// The text of all Rust files below `folder`; nothing if there is no such folder.
fn sources(folder: &Path) -> String {
    let mut text = String::new();
    for entry in fs::read_dir(folder).into_iter().flatten().flatten() {
        let path = entry.path();
        if path.is_dir() {
            text.push_str(&sources(&path));
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            text.push_str(&fs::read_to_string(path).unwrap());
        }
    }
    text
}

/// The words in backquotes, outside of code blocks.
fn quoted(page: &str) -> Vec<&str> {
    let prose = page.split("```").step_by(2);
    prose
        .flat_map(|part| part.split('`').skip(1).step_by(2))
        .collect()
}

fn has_word(text: &str, word: &str) -> bool {
    let is_part = |letter: char| letter.is_alphanumeric() || letter == '_';
    text.match_indices(word).any(|(start, _)| {
        let before = text[..start].chars().next_back();
        let after = text[start + word.len()..].chars().next();
        !before.is_some_and(is_part) && !after.is_some_and(is_part)
    })
}

fn is_identifier(word: &str) -> bool {
    word.chars()
        .all(|letter| letter.is_alphanumeric() || letter == '_')
}

/// Whether a file, a rule, a method or a test of this name exists. Other quotes are not checked.
fn exists(name: &str, root: &Path, code: &str, rules: &str) -> bool {
    let folders = CRATES.map(|each| root.join(each));
    if name.ends_with(".rs") {
        let below =
            |folder: &PathBuf| folder.join(name).exists() || folder.join("src").join(name).exists();
        return root.join("crates").join(name).exists() || folders.iter().any(below);
    }
    if let Some((family, rule)) = name.split_once('/') {
        let is_part = |part: &str| {
            !part.is_empty() && part.chars().all(|c| c.is_ascii_lowercase() || c == '-')
        };
        if is_part(family) && (is_part(rule) || rule == "…") {
            return rules.contains(&format!("\"{}", name.trim_end_matches('…')));
        }
        return true;
    }
    if let Some((_, function)) = name.rsplit_once("::") {
        return !is_identifier(function) || has_word(code, function);
    }
    let is_test = name.matches('_').count() >= 3 && is_identifier(name);
    !is_test || has_word(code, name)
}

#[test]
fn the_design_notes_name_only_what_exists() {
    let root = root();
    let page = fs::read_to_string(root.join("docs/design.md")).unwrap();
    let code: String = CRATES.map(|each| sources(&root.join(each))).concat();
    let rules: String = SUITES.map(|each| sources(&root.join(each))).concat();
    let missing: Vec<&str> = quoted(&page)
        .into_iter()
        .filter(|name| !name.contains(char::is_whitespace))
        .filter(|name| !exists(name, &root, &code, &rules))
        .collect();
    assert!(missing.is_empty(), "not found: {missing:#?}");
}
