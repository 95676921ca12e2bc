//! The libraries export what the header declares, and nothing else.

use std::collections::BTreeSet;
use std::fs;
use std::process::Command;

use super::toolchain::{expect_success, has, libraries, root};

/// The functions that the header declares, in both forms.
fn declared() -> BTreeSet<String> {
    let header = fs::read_to_string(root().join("include/uv_udp.h")).unwrap();
    let (proposal, v1) = header.split_once("\n#else\n").expect("two forms");
    let names = |text: &str| -> Vec<String> {
        text.split("UV_EXTERN ")
            .skip(1)
            .filter_map(|rest| rest.split_once('('))
            .filter_map(|(before, _)| before.rsplit([' ', '*']).next())
            .map(str::to_owned)
            .collect()
    };
    let mut all: BTreeSet<_> = names(proposal).into_iter().collect();
    let renamed: Vec<_> = v1
        .lines()
        .filter_map(|line| line.strip_prefix("#define ")?.split_once(' '))
        .collect();
    for name in names(v1) {
        let renamed = renamed.iter().find(|(from, _)| *from == name);
        all.insert(renamed.map_or(name, |(_, to)| (*to).to_owned()));
    }
    all
}

fn defined(arguments: &[&str], library: &str) -> BTreeSet<String> {
    let mut nm = Command::new("nm");
    nm.args(arguments).arg(libraries().join(library));
    let output = String::from_utf8(expect_success(&mut nm).stdout).unwrap();
    let symbol = |line: &str| line.rsplit(' ').next().map(str::to_owned);
    output.lines().filter_map(symbol).collect()
}

#[test]
fn the_shared_library_exports_the_api_and_nothing_else() {
    if has("nm") {
        assert_eq!(
            defined(&["-D", "--defined-only"], "libuv_udp.so"),
            declared()
        );
    }
}

#[test]
fn the_static_library_defines_the_whole_api() {
    if has("nm") {
        let mut all = defined(&["-g", "--defined-only"], "libuv_udp.a");
        // Beside the names of members of the archive and the symbols of Rust's own.
        all.retain(|name| name.starts_with("uv_") && !name.ends_with(':'));
        assert_eq!(all, declared());
    }
}
