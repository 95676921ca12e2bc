//! The header compiles as C99, C11 and C++17 without a warning, and the program of the README runs.

use std::fs;
use std::path::Path;

use super::toolchain::{Against, compile, has, root, run, source, workshop};

const STANDARDS: [(&str, &str); 3] = [
    ("cc", "-std=c99"),
    ("cc", "-std=c11"),
    ("g++", "-std=c++17"),
];

/// Compiles a source under every standard that there is a compiler for.
fn compiles_everywhere(file: &Path, name: &str, define: &str) {
    for (compiler, standard) in STANDARDS {
        if has(compiler) {
            let dir = workshop(&format!("{name}{standard}"));
            let copy = dir.join(if compiler == "g++" {
                "copy.cc"
            } else {
                "copy.c"
            });
            fs::copy(file, &copy).unwrap();
            let include = format!("-I{}", source("").display());
            let flags = [standard, "-pedantic", &include, define];
            let program = dir.join("program");
            compile(compiler, &flags, Against::Ours, &[copy], &program);
            run(&program);
        }
    }
}

#[test]
fn the_header_is_c99_c11_and_cpp17_in_both_forms() {
    compiles_everywhere(&source("every_name.c"), "every_name", "-DPROPOSAL");
    compiles_everywhere(&source("every_name.c"), "every_name_v1", "-DUV_UDP_V1");
}

#[test]
fn the_program_in_the_readme_runs() {
    let readme = fs::read_to_string(root().join("README.md")).unwrap();
    let (_, rest) = readme.split_once("```c\n").expect("a C program");
    let (program, _) = rest.split_once("```").expect("its end");
    let dir = workshop("readme");
    let file = dir.join("first.c");
    fs::write(&file, program).unwrap();
    compiles_everywhere(&file, "readme", "-DPROPOSAL");
}
