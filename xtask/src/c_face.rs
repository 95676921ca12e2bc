//! The C face: `cargo xtask install`, and the libraries for whoever compiles C here.

use std::fs;
use std::io;
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};

use serde_json::Value;

use crate::ci::cargo;

/// What the dynamic linker asks for; the build script of uv-capi says so.
const SONAME: &str = "libuv_udp.so.0";
/// Where the package is, from here.
const PACKAGE: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../crates/uv-capi");

/// The libraries of a release build.
#[derive(Clone, Debug)]
pub(crate) struct Libraries {
    shared: PathBuf,
    fixed: PathBuf,
}

impl Libraries {
    /// Builds them.
    pub(crate) fn build() -> io::Result<Self> {
        let mut build =
            cargo("build --quiet --release --package uv-capi --lib --message-format=json");
        let output = build.stderr(std::process::Stdio::inherit()).output()?;
        if !output.status.success() {
            return Err(io::Error::other("uv-capi does not build"));
        }
        let built = |name: &str| {
            let messages = String::from_utf8_lossy(&output.stdout).into_owned();
            let files = messages
                .lines()
                .filter_map(|line| serde_json::from_str::<Value>(line).ok())
                .filter_map(|message| Some(message.get("filenames")?.as_array()?.clone()))
                .flatten();
            files
                .filter_map(|file| file.as_str().map(PathBuf::from))
                .find(|file| file.file_name().is_some_and(|file| file == name))
                .ok_or_else(|| io::Error::other(format!("the build made no {name}")))
        };
        Ok(Self {
            shared: built("libuv_udp.so")?,
            fixed: built("libuv_udp.a")?,
        })
    }

    /// Puts both into a directory, the shared one under each name that linkers look for.
    pub(crate) fn put_into(&self, dir: &Path) -> io::Result<Vec<PathBuf>> {
        naming(dir, fs::create_dir_all(dir))?;
        let version = env!("CARGO_PKG_VERSION");
        let whole = format!("libuv_udp.so.{version}");
        let mut put = vec![
            copy(&self.shared, &dir.join(&whole))?,
            copy(&self.fixed, &dir.join("libuv_udp.a"))?,
        ];
        for name in [SONAME, "libuv_udp.so"] {
            let link = dir.join(name);
            let _ = fs::remove_file(&link);
            naming(&link, symlink(&whole, &link))?;
            put.push(link);
        }
        Ok(put)
    }
}

/// What was installed.
#[derive(Debug)]
pub struct Installed {
    /// Each file and link.
    pub files: Vec<PathBuf>,
    /// Where the libraries are.
    pub lib: PathBuf,
}

/// Builds the C libraries and puts them, the headers and the pkg-config files below `prefix`. Says what went where.
///
/// # Errors
///
/// What hinders that: libraries that do not build, or a file or directory, with its path.
pub fn install(prefix: &Path) -> io::Result<Installed> {
    // Before the build, which takes long.
    naming(prefix, fs::create_dir_all(prefix))?;
    let prefix = naming(prefix, fs::canonicalize(prefix))?;
    let libraries = Libraries::build()?;
    let (include, lib) = (prefix.join("include"), prefix.join("lib"));
    let mut put = libraries.put_into(&lib)?;
    for (from, to) in [
        ("uv_udp.h", "uv_udp.h"),
        ("uv_udp/errors.h", "uv_udp/errors.h"),
        ("compat/uv.h", "uv_udp/compat/uv.h"),
    ] {
        put.push(copy(&package("include").join(from), &include.join(to))?);
    }
    for name in ["uv_udp.pc", "uv_udp-compat.pc"] {
        let from = package(&format!("{name}.in"));
        let template = naming(&from, fs::read_to_string(&from))?;
        let text = template
            .replace("@PREFIX@", &prefix.display().to_string())
            .replace("@VERSION@", env!("CARGO_PKG_VERSION"));
        let to = lib.join("pkgconfig").join(name);
        make_room(&to)?;
        naming(&to, fs::write(&to, text))?;
        put.push(to);
    }
    Ok(Installed { files: put, lib })
}

/// A file of the package.
pub(crate) fn package(path: &str) -> PathBuf {
    Path::new(PACKAGE).join(path)
}

/// Says in an error which path it is about.
fn naming<T>(path: &Path, result: io::Result<T>) -> io::Result<T> {
    result.map_err(|error| io::Error::new(error.kind(), format!("{}: {error}", path.display())))
}

fn make_room(file: &Path) -> io::Result<()> {
    let directory = file.parent();
    directory.map_or(Ok(()), |directory| {
        naming(directory, fs::create_dir_all(directory))
    })
}

/// Copies a file. One that is there is replaced and not written over: a program may be running from it.
fn copy(from: &Path, to: &Path) -> io::Result<PathBuf> {
    make_room(to)?;
    let _ = fs::remove_file(to);
    naming(from, fs::File::open(from))?;
    naming(to, fs::copy(from, to))?;
    Ok(to.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_directory_that_cannot_be_made_is_named() {
        let error = install(Path::new("/proc/x")).unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::NotFound);
        assert!(error.to_string().starts_with("/proc/x: "), "{error}");
    }

    #[test]
    fn a_file_that_cannot_be_copied_is_named() {
        for (from, to) in [("/proc/self/status", "/proc/x"), ("/proc/x", "/proc/y")] {
            let error = copy(Path::new(from), Path::new(to)).unwrap_err();
            assert!(error.to_string().starts_with("/proc/x: "), "{error}");
        }
    }
}
