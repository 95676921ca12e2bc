//! This library and libuv in one process: a program links one, and a dependency the other.
//!
//! `tests/c/beside` has a driver and a side, which is compiled once against each library's header.

use std::fmt::Write as _;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use super::symbols::names_in_header;
use super::toolchain::{
    Against, STATIC_NEEDS, STRICT, compile, expect_success, has, libraries, root, run, source,
    workshop,
};

/// The library of a side, and its form.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Library {
    Ours,
    OursStatic,
    Libuv,
    LibuvStatic,
}

impl Library {
    fn is_ours(self) -> bool {
        matches!(self, Self::Ours | Self::OursStatic)
    }

    /// The prefix of the side's functions.
    fn side(self) -> &'static str {
        if self.is_ours() { "ours" } else { "libuv" }
    }

    /// The arguments of the linker, in order.
    fn link(self) -> Vec<String> {
        let dir = libraries().display();
        match self {
            Self::Ours => vec![
                format!("-L{dir}"),
                "-luv_udp".into(),
                format!("-Wl,-rpath,{dir}"),
            ],
            Self::OursStatic => vec![format!("{dir}/libuv_udp.a")],
            Self::Libuv => vec!["-luv".into()],
            // The name differs between distributions, so the path is passed.
            Self::LibuvStatic => vec![
                static_libuv()
                    .expect("checked before")
                    .display()
                    .to_string(),
            ],
        }
    }
}

/// The system's static libuv, if it has one.
fn static_libuv() -> Option<PathBuf> {
    ["libuv_a.a", "libuv.a"].into_iter().find_map(|name| {
        let found = Command::new("cc")
            .arg(format!("-print-file-name={name}"))
            .output()
            .ok()?;
        let path = PathBuf::from(String::from_utf8(found.stdout).ok()?.trim());
        path.is_absolute().then_some(path)
    })
}

fn cc() -> Command {
    let mut cc = Command::new("cc");
    cc.args(STRICT).args(["-std=c11", "-g", "-pthread"]);
    cc
}

/// Compiles a side against a library's header into an object file.
fn side(library: Library, dir: &Path) -> PathBuf {
    let object = dir.join(format!("{}.o", library.side()));
    let mut cc = cc();
    if library.is_ours() {
        cc.arg("-I").arg(root().join("include"));
        cc.arg("-I").arg(root().join("include/compat"));
    }
    cc.arg(format!("-DSIDE(name)={}_##name", library.side()));
    cc.args(["-fPIC", "-c"]).arg(source("beside/side.c"));
    expect_success(cc.arg("-o").arg(&object));
    object
}

/// Links both sides into one program, with the libraries in this order.
fn linked(libraries: [Library; 2]) {
    if libraries.contains(&Library::LibuvStatic) && static_libuv().is_none() {
        eprintln!("skipped: there is no static libuv");
        return;
    }
    let dir = workshop(&format!("beside-{:?}-{:?}", libraries[0], libraries[1]));
    let objects = libraries.map(|library| side(library, &dir));
    let program = dir.join("program");
    let mut cc = cc();
    cc.arg(source("beside/main.c")).args(objects);
    cc.args(libraries.iter().flat_map(|library| library.link()));
    cc.args(STATIC_NEEDS);
    expect_success(cc.arg("-o").arg(&program));
    assert_eq!(run(&program), "libuv: 200 echoes\nours: 200 echoes\n");
}

/// Loads both sides as plugins, in this order, each with its library and with global symbols.
fn loaded(libraries: [Library; 2]) {
    let dir = workshop(&format!("loaded-{:?}-{:?}", libraries[0], libraries[1]));
    let plugins = libraries.map(|library| {
        let plugin = dir.join(format!("{}.so", library.side()));
        let mut cc = cc();
        cc.arg("-shared").arg(side(library, &dir));
        cc.args(library.link()).args(STATIC_NEEDS);
        expect_success(cc.arg("-o").arg(&plugin));
        plugin
    });
    let program = dir.join("program");
    let mut cc = cc();
    cc.arg("-DPLUGINS").arg(source("beside/main.c")).arg("-ldl");
    expect_success(cc.arg("-o").arg(&program));
    let output = expect_success(Command::new(&program).args(plugins));
    let printed = String::from_utf8(output.stdout).unwrap();
    assert_eq!(printed, "libuv: 200 echoes\nours: 200 echoes\n");
}

#[test]
#[ignore = "a step of `cargo xtask ci`: libuv"]
fn both_libraries_are_linked_into_one_program_shared_and_static_in_any_order() {
    for ours in [Library::Ours, Library::OursStatic] {
        for libuv in [Library::Libuv, Library::LibuvStatic] {
            linked([ours, libuv]);
            linked([libuv, ours]);
        }
    }
}

#[test]
#[ignore = "a step of `cargo xtask ci`: libuv"]
fn both_libraries_are_loaded_at_run_time_with_global_symbols() {
    for ours in [Library::Ours, Library::OursStatic] {
        loaded([ours, Library::Libuv]);
        loaded([Library::Libuv, ours]);
    }
}

/// Works without libuv: the program itself defines functions with libuv's names.
fn libuvs_names_are_free(against: Against) {
    if !has("cc") {
        return;
    }
    let dir = workshop(&format!("foreign-{against:?}"));
    let mut foreign = String::from("#include <stdlib.h>\n");
    for name in names_in_header() {
        let _ = writeln!(
            foreign,
            "void {name}(void);\nvoid {name}(void) {{ abort(); }}"
        );
    }
    let file = dir.join("foreign.c");
    fs::write(&file, foreign).unwrap();
    let program = dir.join("program");
    // The dynamic linker finds the program's functions before any library's.
    let flags = ["-std=c11", "-rdynamic"];
    let sources = [source("echo_server.c"), file];
    compile("cc", &flags, against, &sources, &program);
    let expected = fs::read_to_string(source("expected/echo_server.txt")).unwrap();
    assert_eq!(run(&program), expected);
}

#[test]
fn a_program_may_define_functions_with_libuvs_names() {
    libuvs_names_are_free(Against::OursAsLibuv);
    libuvs_names_are_free(Against::OursStatic);
}
