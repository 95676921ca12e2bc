//! Subjects: programs whose output names tests.

use std::fmt;
use std::io;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use serde_json::Value;
use uv_capi_harness::{Form, Profile, conformance_program, has_compiler};

use crate::tools::{build_messages, cargo, conformance_binary};

/// The sources of subjects. Each function builds its programs first.
pub(super) const SOURCES: [fn() -> io::Result<Vec<Subject>>; 3] =
    [random_calls, test_binaries, conformance_in_c];

/// A program that runs repeatedly.
pub(super) struct Subject {
    /// Package and target, as in `uv-udp functional`.
    pub(super) name: String,
    /// The command of one run.
    pub(super) command: Box<dyn Fn(&Run<'_>) -> Command>,
    /// The tests in the output of a run.
    pub(super) parse: fn(&str) -> Vec<TestResult>,
}

impl fmt::Debug for Subject {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Subject").field("name", &self.name).finish()
    }
}

/// The arguments of one run.
#[derive(Clone, Copy, Debug)]
pub(super) struct Run<'a> {
    /// The seed of random subjects, which the table shows for each failure.
    pub(super) seed: u64,
    /// Only tests whose name contains this text.
    pub(super) filter: Option<&'a str>,
}

/// One test in one run.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct TestResult {
    pub(super) name: String,
    pub(super) passed: bool,
}

/// Every subject.
pub(super) fn all() -> io::Result<Vec<Subject>> {
    let mut all = Vec::new();
    for source in SOURCES {
        all.extend(source()?);
    }
    Ok(all)
}

/// The test binaries of the workspace, the conformance suite in Rust among them.
fn test_binaries() -> io::Result<Vec<Subject>> {
    let build = cargo("test --workspace --quiet --no-run --message-format json");
    Ok(build_messages(build)?
        .iter()
        .filter_map(test_binary)
        .collect())
}

/// The subject of one of Cargo's messages, if it is about a test binary.
fn test_binary(message: &Value) -> Option<Subject> {
    if message["profile"]["test"] != true {
        return None;
    }
    let executable = PathBuf::from(message["executable"].as_str()?);
    let directory = Path::new(message["manifest_path"].as_str()?)
        .parent()?
        .to_owned();
    let package = directory.file_name()?.to_string_lossy();
    let target = &message["target"];
    let kind = target["kind"][0].as_str()?;
    let name = match kind {
        "test" => target["name"].as_str()?,
        "bin" => "bin",
        _ => "lib",
    };
    Some(Subject {
        name: format!("{package} {name}"),
        command: Box::new(move |run| {
            let mut command = Command::new(&executable);
            command.current_dir(&directory).args(run.filter);
            // The seed of proptest.
            command.env("PROPTEST_RNG_SEED", run.seed.to_string());
            command
        }),
        parse: libtest_results,
    })
}

/// Lines as in `test life::a_handle_closes ... ok`. Ignored tests are no results.
fn libtest_results(output: &str) -> Vec<TestResult> {
    let results = output.lines().filter_map(|line| {
        let (name, verdict) = line.strip_prefix("test ")?.rsplit_once(" ... ")?;
        let passed = match verdict.trim() {
            "ok" => true,
            "FAILED" => false,
            _ => return None,
        };
        Some(TestResult {
            name: name.trim().to_owned(),
            passed,
        })
    });
    results.collect()
}

/// Steps of one run of random calls: a few worlds.
const RANDOM_STEPS: &str = "500";

/// Random calls, by themselves and under each injected fault of the system calls.
fn random_calls() -> io::Result<Vec<Subject>> {
    let program = conformance_binary("random")?;
    let output = Command::new(&program)
        .arg("--list-faults")
        .stderr(Stdio::inherit())
        .output()?;
    let faults = String::from_utf8_lossy(&output.stdout).into_owned();
    let faults = faults.lines().map(|fault| Some(fault.to_owned()));
    let subject = |fault: Option<String>| {
        let name = fault
            .iter()
            .fold("random".to_owned(), |name, fault| name + " " + fault);
        let program = program.clone();
        let command = move |run: &Run<'_>| {
            let mut command = Command::new(&program);
            command.args(["--steps", RANDOM_STEPS, "--seed", &run.seed.to_string()]);
            command.args(fault.iter().flat_map(|fault| ["--fault", fault]));
            command
        };
        Subject {
            name,
            command: Box::new(command),
            parse: libtest_results,
        }
    };
    Ok([None].into_iter().chain(faults).map(subject).collect())
}

/// The conformance rules in C, in each form of the calls. Without a C compiler there are none.
fn conformance_in_c() -> io::Result<Vec<Subject>> {
    if !has_compiler() {
        eprintln!("the conformance rules in C are skipped: no C compiler");
        return Ok(Vec::new());
    }
    let subject = |form: Form| {
        let program = super::output_directory().join(format!("{}-rules", form.name()));
        conformance_program(form, Profile::Release, &["-std=c99", "-O2"], &program)?;
        Ok(Subject {
            name: format!("conform {}", form.name()),
            command: Box::new(move |run| {
                let mut command = Command::new(&program);
                command.args(run.filter.iter().flat_map(|words| words.split_whitespace()));
                command
            }),
            parse: conformance_results,
        })
    };
    Form::ALL.into_iter().map(subject).collect()
}

/// Lines of the C program with the conformance rules: status, id, family and more, separated by
/// tabs.
fn conformance_results(output: &str) -> Vec<TestResult> {
    let results = output.lines().filter_map(|line| {
        let mut fields = line.split('\t');
        let passed = match fields.next()? {
            "passed" => true,
            "failed" => false,
            _ => return None,
        };
        let (name, family) = (fields.next()?, fields.next()?);
        Some(TestResult {
            name: format!("{name} {family}"),
            passed,
        })
    });
    results.collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn result(name: &str, passed: bool) -> TestResult {
        TestResult {
            name: name.into(),
            passed,
        }
    }

    #[test]
    fn results_of_libtest_and_libtest_mimic_are_read_and_ignored_tests_are_not() {
        let output = "running 3 tests\ntest a::b ... ok\ntest policy/x v4  ... FAILED\ntest c ... ignored\n\ntest result: ok.";
        assert_eq!(
            libtest_results(output),
            [result("a::b", true), result("policy/x v4", false)]
        );
    }

    #[test]
    fn results_of_the_conformance_suite_in_c_are_read_and_skipped_rules_are_not() {
        let output =
            "passed\tbind/flags\tv4\t12\t\t\nfailed\tloop/stop\t-\t1\t\tx\nskipped\ta/b\tv6\t0\t\t";
        assert_eq!(
            conformance_results(output),
            [result("bind/flags v4", true), result("loop/stop -", false)]
        );
    }
}
