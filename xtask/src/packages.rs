//! The packages of the workspace, and the files that they publish.

use std::path::Path;
use std::process::{Command, Stdio};

use serde_json::Value;

use crate::step::{Done, Failed, passes};
use crate::tools::{cargo, display};

/// The names of the chosen packages.
pub(crate) fn names(chosen: impl Fn(&Value) -> bool) -> Result<Vec<String>, Failed> {
    let metadata = output(cargo("metadata --quiet --no-deps --format-version 1"))?;
    let metadata: Value =
        serde_json::from_str(&metadata).map_err(|error| Failed(error.to_string()))?;
    let packages = metadata["packages"].as_array().into_iter().flatten();
    let names = packages
        .filter(|package| chosen(package))
        .map(|package| &package["name"]);
    Ok(names
        .filter_map(|name| name.as_str().map(str::to_owned))
        .collect())
}

/// Whether the package is directly in `crates/`.
pub(crate) fn is_crate(package: &Value) -> bool {
    let manifest = package["manifest_path"].as_str().map(Path::new);
    let parent = manifest.and_then(Path::parent).and_then(Path::parent);
    parent.is_some_and(|parent| parent.ends_with("crates"))
}

/// Whether the package is published: `publish = false` is an empty list of registries.
fn is_published(package: &Value) -> bool {
    package["publish"].is_null()
}

/// Packages every published crate, and checks the files in it.
pub(crate) fn package() -> Result<Done, Failed> {
    let packages = names(is_published)?;
    for package in &packages {
        check_files(package)?;
    }
    let mut package = cargo("package --quiet --no-verify --allow-dirty");
    for name in &packages {
        package.args(["--package", name]);
    }
    passes(package)?;
    Ok(Done::Holds(packages.join(", ")))
}

fn check_files(package: &str) -> Result<(), Failed> {
    let list = format!("package --quiet --list --allow-dirty --package {package}");
    let listed = output(cargo(&list))?;
    let strays: Vec<_> = listed
        .lines()
        .filter(|file| !is_publishable(file))
        .collect();
    if !strays.is_empty() {
        let strays = strays.join(", ");
        return Err(Failed(format!("{package} would publish {strays}")));
    }
    for needed in ["README.md", "LICENSE-MIT", "LICENSE-APACHE"] {
        if !listed.lines().any(|file| file == needed) {
            return Err(Failed(format!(
                "{package} would be published without {needed}"
            )));
        }
    }
    Ok(())
}

/// Whether a published crate may contain the file.
fn is_publishable(file: &str) -> bool {
    let files = [
        "Cargo.toml",
        "Cargo.toml.orig",
        "Cargo.lock",
        "README.md",
        "CHANGELOG.md",
        "build.rs",
        ".cargo_vcs_info.json",
    ];
    let directories = ["src/", "tests/", "examples/", "benches/", "include/"];
    // proptest keeps the seeds of past failures in files with the last ending.
    let endings = [".rs", ".h", ".c", ".proptest-regressions"];
    let is_source = || endings.iter().any(|ending| file.ends_with(ending));
    files.contains(&file)
        || file.starts_with("LICENSE")
        || directories
            .iter()
            .any(|directory| file.starts_with(directory))
            && is_source()
}

/// Runs a command and returns its output.
fn output(mut command: Command) -> Result<String, Failed> {
    let output = command.stderr(Stdio::inherit()).output()?;
    if output.status.success() {
        Ok(String::from_utf8_lossy(&output.stdout).into_owned())
    } else {
        Err(Failed(format!("{}: {}", output.status, display(&command))))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sources_and_the_usual_files_are_publishable_and_nothing_else() {
        for file in [
            "Cargo.toml",
            "LICENSE-MIT",
            "src/lib.rs",
            "tests/functional/main.rs",
            "include/uv.h",
        ] {
            assert!(is_publishable(file), "{file}");
        }
        for file in [
            "notes.txt",
            "src/data.bin",
            "target/debug/x.rs",
            "perf.data",
        ] {
            assert!(!is_publishable(file), "{file}");
        }
    }
}
