//! Compares the header with this crate: sizes, offsets, constants and errors.

use std::fmt::Write as _;
use std::io::Write as _;
use std::mem::offset_of;
use std::path::Path;
use std::process::Command;
use std::{env, fs, process};

use crate::error_table::ALL;
use crate::interfaces::uv_interface_address_t;
use crate::process::VERSION;
use crate::types::*;

/// C expressions, each with the value that this crate expects.
#[derive(Default)]
struct Questions(Vec<(String, i64)>);

impl Questions {
    fn ask(&mut self, expression: String, answer: impl TryInto<i64>) {
        let answer = answer.try_into().unwrap_or(i64::MIN);
        self.0.push((expression, answer));
    }

    /// A program that prints the value of each expression on a line.
    fn program(&self) -> String {
        let mut text = String::from("#include <uv_udp.h>\n\nint main(void) {\n");
        for (expression, _) in &self.0 {
            let _ = writeln!(text, "  printf(\"%lld\\n\", (long long) ({expression}));");
        }
        text + "  return 0;\n}\n"
    }
}

macro_rules! sizes {
    ($questions:ident: $($type:ident)*) => {
        $($questions.ask(concat!("sizeof(", stringify!($type), ")").into(), size_of::<$type>());)*
    };
}

macro_rules! offsets {
    ($questions:ident: $($type:ident { $($c:literal $($field:ident).+),* })*) => {
        $($($questions.ask(
            format!("offsetof({}, {})", stringify!($type), $c),
            offset_of!($type, $($field).+),
        );)*)*
    };
}

fn questions() -> Questions {
    let mut all = Questions::default();
    sizes!(all: uv_buf_t uv_loop_t uv_handle_t uv_timer_t uv_async_t uv_udp_t uv_req_t uv_udp_send_t uv_interface_address_t);
    for hook in ["uv_idle_t", "uv_prepare_t", "uv_check_t"] {
        all.ask(format!("sizeof({hook})"), size_of::<uv_handle_t>());
    }
    offsets! { all:
        uv_buf_t { "base" base, "len" len }
        uv_loop_t { "data" data, "inner" inner, "reserved" reserved }
        uv_handle_t { "data" data, "loop" loop_, "type" type_, "close_cb" close_cb, "inner" inner, "reserved" reserved }
        uv_async_t {
            "data" base.data, "inner" base.inner, "async_cb" async_cb, "wakeup" signal.wakeup, "pending" signal.pending, "busy" signal.busy
        }
        uv_udp_t {
            "data" base.data, "loop" base.loop_, "type" base.type_, "close_cb" base.close_cb, "inner" base.inner,
            "send_queue_size" send_queue_size, "send_queue_count" send_queue_count, "more" more
        }
        uv_req_t { "data" data, "type" type_, "reserved" reserved }
        uv_udp_send_t { "data" base.data, "type" base.type_, "handle" handle, "cb" cb, "bytes" bytes }
        uv_interface_address_t {
            "name" name, "phys_addr" phys_addr, "is_internal" is_internal, "address" address, "netmask" netmask
        }
    }
    for (name, value) in [
        ("UV_ASYNC", UV_ASYNC),
        ("UV_CHECK", UV_CHECK),
        ("UV_IDLE", UV_IDLE),
        ("UV_PREPARE", UV_PREPARE),
        ("UV_TIMER", UV_TIMER),
        ("UV_UDP", UV_UDP),
        ("UV_UDP_SEND", UV_UDP_SEND),
        ("UV_REQ", crate::requests::UV_REQ),
        ("UV_RUN_DEFAULT", 0),
        ("UV_RUN_ONCE", 1),
        ("UV_RUN_NOWAIT", 2),
        ("UV_LEAVE_GROUP", 0),
        ("UV_JOIN_GROUP", 1),
        ("UV_HANDLE_TYPE_MAX", 18),
        ("UV_REQ_TYPE_MAX", 11),
    ] {
        all.ask(name.into(), value);
    }
    for (name, value) in crate::udp::FLAGS {
        all.ask((*name).into(), *value);
    }
    for (name, value) in ["UV_VERSION_MAJOR", "UV_VERSION_MINOR", "UV_VERSION_PATCH"]
        .into_iter()
        .zip(VERSION)
    {
        all.ask(name.into(), value);
    }
    for entry in ALL {
        all.ask(format!("UV_{}", entry.name.to_str().unwrap()), entry.code);
    }
    all
}

#[test]
fn the_header_and_this_crate_mean_the_same() {
    let questions = questions();
    let include = Path::new(env!("CARGO_MANIFEST_DIR")).join("include");
    let dir = env::temp_dir().join(format!("uv-capi-layout-{}", process::id()));
    fs::create_dir_all(&dir).unwrap();
    let (source, program) = (dir.join("layout.c"), dir.join("layout"));
    fs::write(&source, questions.program()).unwrap();
    let mut compile = Command::new("cc");
    compile.args(["-std=c11", "-Wall", "-Wextra", "-Werror"]);
    compile
        .arg("-I")
        .arg(include)
        .arg("-o")
        .arg(&program)
        .arg(&source);
    let Ok(output) = compile.output() else {
        // The test harness captures `eprintln!`, but not this handle.
        let _ = writeln!(std::io::stderr(), "skipped layout: there is no `cc` here");
        return;
    };
    assert!(
        output.status.success(),
        "{}",
        String::from_utf8_lossy(&output.stderr)
    );
    let answers = String::from_utf8(Command::new(program).output().unwrap().stdout).unwrap();
    fs::remove_dir_all(&dir).unwrap();
    assert_eq!(answers.lines().count(), questions.0.len());
    for (answer, (expression, expected)) in answers.lines().zip(&questions.0) {
        assert_eq!(answer.parse(), Ok(*expected), "{expression}");
    }
}

#[test]
fn the_header_tells_every_error_what_it_means() {
    let header = include_str!("../include/uv_udp/errors.h");
    for entry in ALL {
        let (name, text) = (entry.name.to_str().unwrap(), entry.text.to_str().unwrap());
        assert!(
            header.contains(&format!("XX({name}, \"{text}\")")),
            "{name}"
        );
    }
    assert_eq!(header.matches("XX(").count(), ALL.len() + 1);
}

#[test]
fn the_library_version_is_the_packages() {
    let header = include_str!("../include/uv_udp.h");
    let expected = format!(
        "#define UV_UDP_LIBRARY_VERSION \"{}\"",
        env!("CARGO_PKG_VERSION")
    );
    assert!(header.contains(&expected));
    let [major, minor, patch] = VERSION;
    // SAFETY: the function returns a static string.
    let text = unsafe { std::ffi::CStr::from_ptr(crate::process::uvudp_version_string()) };
    assert_eq!(text.to_str().unwrap(), format!("{major}.{minor}.{patch}"));
}
