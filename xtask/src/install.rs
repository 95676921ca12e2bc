//! `cargo xtask install`: the C libraries, their headers and their pkg-config files.

use std::fs;
use std::io;
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};

use uv_capi_harness::{Libraries, Profile, libraries, package};

/// The installed files.
#[derive(Debug)]
pub struct Installed {
    /// Each file and link.
    pub files: Vec<PathBuf>,
    /// The directory of the libraries.
    pub lib: PathBuf,
}

impl Installed {
    /// A hint for programs that look for the shared library.
    pub fn hint(&self) -> String {
        let lib = self.lib.display();
        format!(
            "Programs find the shared library after `sudo ldconfig` if the system looks into {lib}, \
             and otherwise if they are linked with -Wl,-rpath,{lib}."
        )
    }
}

/// Builds the C libraries, and installs them with their headers and pkg-config files below `prefix`.
///
/// # Errors
///
/// A failed build; a file that cannot be written, with its path.
pub fn install(prefix: &Path) -> io::Result<Installed> {
    // Before the build, which takes long.
    in_error(prefix, fs::create_dir_all(prefix))?;
    let prefix = in_error(prefix, fs::canonicalize(prefix))?;
    let (include, lib) = (prefix.join("include"), prefix.join("lib"));
    let mut put = put_libraries(libraries(Profile::Release)?, &lib)?;
    for (from, to) in [
        ("uv_udp.h", "uv_udp.h"),
        ("uv_udp/errors.h", "uv_udp/errors.h"),
        ("compat/uv.h", "uv_udp/compat/uv.h"),
    ] {
        put.push(copy(&package("include").join(from), &include.join(to))?);
    }
    for name in ["uv_udp.pc", "uv_udp-compat.pc"] {
        let from = package(&format!("{name}.in"));
        let template = in_error(&from, fs::read_to_string(&from))?;
        let text = template
            .replace("@PREFIX@", &prefix.display().to_string())
            .replace("@VERSION@", env!("CARGO_PKG_VERSION"));
        let to = lib.join("pkgconfig").join(name);
        make_room(&to)?;
        in_error(&to, fs::write(&to, text))?;
        put.push(to);
    }
    Ok(Installed { files: put, lib })
}

/// Copies both libraries, the shared one with its version and links for linkers.
fn put_libraries(built: &Libraries, lib: &Path) -> io::Result<Vec<PathBuf>> {
    let whole = format!("libuv_udp.so.{}", env!("CARGO_PKG_VERSION"));
    let mut put = vec![
        copy(&built.shared(), &lib.join(&whole))?,
        copy(&built.static_library(), &lib.join("libuv_udp.a"))?,
    ];
    for name in Libraries::link_names() {
        let link = lib.join(name);
        let _ = fs::remove_file(&link);
        in_error(&link, symlink(&whole, &link))?;
        put.push(link);
    }
    Ok(put)
}

/// Adds the path to an error.
fn in_error<T>(path: &Path, result: io::Result<T>) -> io::Result<T> {
    result.map_err(|error| io::Error::new(error.kind(), format!("{}: {error}", path.display())))
}

fn make_room(file: &Path) -> io::Result<()> {
    let directory = file.parent();
    directory.map_or(Ok(()), |directory| {
        in_error(directory, fs::create_dir_all(directory))
    })
}

/// Copies a file. An existing file is replaced and not overwritten: a program may run from it.
fn copy(from: &Path, to: &Path) -> io::Result<PathBuf> {
    make_room(to)?;
    let _ = fs::remove_file(to);
    in_error(from, fs::File::open(from))?;
    in_error(to, fs::copy(from, to))?;
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
