//! The shared and the static library of one build.

use std::env;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::OnceLock;

use serde_json::Value;

use crate::package;

/// The name of the shared library for the dynamic linker, from the build script of uv-capi.
const SONAME: &str = "libuv_udp.so.0";
const SHARED: &str = "libuv_udp.so";
const STATIC: &str = "libuv_udp.a";

/// The Cargo profile of a build.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Profile {
    /// `dev`, in `target/debug`.
    Debug,
    /// `release`.
    Release,
}

impl Profile {
    /// The profile of the running program.
    #[must_use]
    pub fn current() -> Self {
        if cfg!(debug_assertions) {
            Self::Debug
        } else {
            Self::Release
        }
    }

    fn name(self) -> &'static str {
        match self {
            Self::Debug => "debug",
            Self::Release => "release",
        }
    }
}

/// Both libraries in one directory, the shared one under each name that linkers look for.
#[derive(Clone, Debug)]
pub struct Libraries {
    directory: PathBuf,
}

impl Libraries {
    /// The directory of the libraries.
    #[must_use]
    pub fn directory(&self) -> &Path {
        &self.directory
    }

    /// The shared library.
    #[must_use]
    pub fn shared(&self) -> PathBuf {
        self.directory.join(SHARED)
    }

    /// The static library.
    #[must_use]
    pub fn static_library(&self) -> PathBuf {
        self.directory.join(STATIC)
    }

    /// The names of the shared library beside its own, as links have them after an installation.
    #[must_use]
    pub fn link_names() -> [&'static str; 2] {
        [SONAME, SHARED]
    }
}

/// Builds the libraries at the first call.
///
/// # Errors
///
/// A failed build.
pub fn libraries(profile: Profile) -> io::Result<&'static Libraries> {
    static DEBUG: OnceLock<Result<Libraries, String>> = OnceLock::new();
    static RELEASE: OnceLock<Result<Libraries, String>> = OnceLock::new();
    let built = match profile {
        Profile::Debug => &DEBUG,
        Profile::Release => &RELEASE,
    };
    let built = built.get_or_init(|| build(profile).map_err(|error| error.to_string()));
    built.as_ref().map_err(|error| io::Error::other(&**error))
}

fn build(profile: Profile) -> io::Result<Libraries> {
    let mut cargo = Command::new(env::var_os("CARGO").unwrap_or_else(|| "cargo".into()));
    cargo.args("build --quiet --package uv-capi --lib --message-format json".split(' '));
    if profile == Profile::Release {
        cargo.arg("--release");
    }
    // `cargo test --target-dir` is visible to tests by their own path alone.
    if let Some(target) = target_directory() {
        cargo.arg("--target-dir").arg(target);
    }
    let output = cargo
        .current_dir(package(""))
        .stderr(Stdio::inherit())
        .output()?;
    if !output.status.success() {
        return Err(io::Error::other("uv-capi does not build"));
    }
    let files = files_of(&String::from_utf8_lossy(&output.stdout));
    let built = |name: &str| {
        let file = files
            .iter()
            .find(|file| file.file_name().is_some_and(|file| file == name));
        file.ok_or_else(|| io::Error::other(format!("the build made no {name}")))
    };
    let (shared, fixed) = (built(SHARED)?, built(STATIC)?);
    let target = shared.parent().unwrap_or(Path::new("."));
    let directory = target.with_file_name("c-library").join(profile.name());
    fs::create_dir_all(&directory)?;
    link(shared, &directory.join(SHARED))?;
    link(shared, &directory.join(SONAME))?;
    link(fixed, &directory.join(STATIC))?;
    Ok(Libraries { directory })
}

/// The files in Cargo's messages about a build.
fn files_of(messages: &str) -> Vec<PathBuf> {
    let messages = messages
        .lines()
        .filter_map(|line| serde_json::from_str::<Value>(line).ok());
    let files = messages
        .filter_map(|message| Some(message.get("filenames")?.as_array()?.clone()))
        .flatten();
    files
        .filter_map(|file| file.as_str().map(PathBuf::from))
        .collect()
}

/// The target directory of the running program: Cargo marks it with this file.
fn target_directory() -> Option<PathBuf> {
    let program = env::current_exe().ok()?;
    let directory = program
        .ancestors()
        .find(|directory| directory.join("CACHEDIR.TAG").exists());
    directory.map(Path::to_owned)
}

/// Replaces `to` with a link to `from`. Other processes may replace it at the same time.
fn link(from: &Path, to: &Path) -> io::Result<()> {
    let own = to.with_extension(std::process::id().to_string());
    let _ = fs::remove_file(&own);
    fs::hard_link(from, &own)?;
    fs::rename(&own, to)?;
    // rename(2) keeps both names if they are links to the same file.
    let _ = fs::remove_file(&own);
    Ok(())
}
