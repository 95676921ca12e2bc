//! The libraries export the functions that the header declares, and no others.

use std::collections::BTreeSet;
use std::fs;
use std::process::Command;

use super::toolchain::{expect_success, has, libraries, root};

/// The declarations of the header in both forms: libuv's name of each function, and its symbol.
fn declared() -> Vec<(String, String)> {
    let header = fs::read_to_string(root().join("include/uv_udp.h")).unwrap();
    let declaration = |rest: &str| {
        let (declaration, _) = rest.split_once(';')?;
        let (before, arguments) = declaration.split_once('(')?;
        let name = before.rsplit([' ', '*']).next()?;
        let (_, symbol) = arguments.split_once("UV_UDP_SYMBOL(")?;
        Some((
            name.to_owned(),
            format!("uvudp_{}", symbol.strip_suffix(')')?),
        ))
    };
    header
        .split("UV_EXTERN ")
        .skip(1)
        .map(|rest| declaration(rest).unwrap_or_else(|| panic!("no symbol: {rest:.80}")))
        .collect()
}

/// libuv's names of the functions that the header declares.
pub(crate) fn names_in_header() -> BTreeSet<String> {
    declared().into_iter().map(|(name, _)| name).collect()
}

fn symbols() -> BTreeSet<String> {
    declared().into_iter().map(|(_, symbol)| symbol).collect()
}

fn defined(arguments: &[&str], library: &str) -> BTreeSet<String> {
    let mut nm = Command::new("nm");
    nm.args(arguments)
        .args(["--defined-only", "--portability"])
        .arg(libraries().join(library));
    let output = String::from_utf8(expect_success(&mut nm).stdout).unwrap();
    // "name type value size", and lines that name the archive's members.
    let symbol = |line: &str| {
        let (name, rest) = line.split_once(' ')?;
        (rest.as_bytes().get(1) == Some(&b' ')).then(|| name.to_owned())
    };
    output.lines().filter_map(symbol).collect()
}

#[test]
fn each_function_has_a_symbol_of_its_own_after_its_name() {
    for (name, symbol) in declared() {
        let rest = name.strip_prefix("uv_").expect("libuv's prefix");
        let fits = [format!("uvudp_{rest}"), format!("uvudp_v1_{rest}")].contains(&symbol);
        assert!(fits, "{name}: {symbol}");
    }
    assert_eq!(symbols().len(), declared().len());
}

#[test]
fn the_shared_library_exports_the_api_and_nothing_else() {
    if has("nm") {
        let exported = defined(&["-D"], "libuv_udp.so");
        assert_eq!(exported, symbols());
    }
}

#[test]
fn the_static_library_defines_the_api_and_what_rust_needs() {
    if has("nm") {
        let mut all = defined(&["-g"], "libuv_udp.a");
        // Every static library of Rust has names that are mangled or reserved for compilers, and one for unwinding.
        all.retain(|name| !name.starts_with('_') && !name.ends_with("rust_eh_personality"));
        assert_eq!(all, symbols());
    }
}
