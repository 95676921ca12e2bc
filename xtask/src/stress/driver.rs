//! Visits subjects under conditions until the time is up.

use std::fs::{self, File};
use std::io;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::thread;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use rustix::process::{Pid, Signal, kill_process_group};

use super::condition::Condition;
use super::random_order::Random;
use super::subject::{self, Run, Subject, TestResult};
use super::table::Counts;
use super::{Arguments, output_directory};

/// A run that takes longer hangs. The longest subject takes 20 s alone on two cores.
const HANGS_AFTER: Duration = Duration::from_secs(420);
/// The interval of looks at a running subject.
const LOOK_EVERY: Duration = Duration::from_millis(20);

/// Runs subjects until the time is up, and prints the failures. Returns whether there are none.
///
/// # Errors
///
/// A subject that does not build; a process that does not start; a file that cannot be written.
pub fn run(arguments: &Arguments) -> io::Result<bool> {
    let directory = output_directory();
    // Logs of earlier runs.
    for entry in fs::read_dir(&directory).into_iter().flatten().flatten() {
        if entry.path().extension().is_some_and(|end| end == "log") {
            fs::remove_file(entry.path())?;
        }
    }
    fs::create_dir_all(&directory)?;
    let subjects = subject::all()?;
    let conditions = possible_conditions(arguments.condition.as_deref());
    if arguments.list {
        subjects.iter().for_each(|each| println!("{}", each.name));
        conditions
            .iter()
            .for_each(|each| println!("condition: {}", each.name()));
        return Ok(true);
    }
    let seed = arguments.seed.unwrap_or_else(seed_from_clock);
    println!("seed {seed}");
    let driver = Driver {
        directory,
        arguments,
        began: Instant::now(),
    };
    let (counts, runs) = driver.visit(&subjects, &conditions, Random::new(seed))?;
    let (tests, failures) = counts.total();
    if let Some(table) = counts.failures() {
        println!("{table}");
    }
    println!(
        "{tests} tests in {runs} runs, {failures} failed, {:.0} s, seed {seed}",
        driver.began.elapsed().as_secs_f64()
    );
    Ok(failures == 0)
}

fn seed_from_clock() -> u64 {
    let now = SystemTime::now().duration_since(UNIX_EPOCH);
    now.map_or(0, |now| u64::from(now.subsec_nanos()) ^ now.as_secs() << 20)
}

/// The conditions that this machine can make. Prints the reasons for the others.
fn possible_conditions(filter: Option<&str>) -> Vec<Condition> {
    let mut possible = Vec::new();
    for condition in Condition::ALL {
        if filter.is_some_and(|filter| !condition.name().contains(filter)) {
            continue;
        }
        match condition.why_not() {
            Some(reason) => println!("skipped condition: {}: {reason}", condition.name()),
            None => possible.push(condition),
        }
    }
    possible
}

struct Driver<'a> {
    directory: PathBuf,
    arguments: &'a Arguments,
    began: Instant,
}

impl Driver<'_> {
    fn visit(
        &self,
        subjects: &[Subject],
        conditions: &[Condition],
        mut random: Random,
    ) -> io::Result<(Counts, usize)> {
        let mut pairs: Vec<_> = conditions
            .iter()
            .flat_map(|&condition| subjects.iter().map(move |subject| (condition, subject)))
            .collect();
        let (mut counts, mut runs) = (Counts::default(), 0);
        loop {
            random.shuffle(&mut pairs);
            for &(condition, subject) in &pairs {
                if self.began.elapsed() >= self.arguments.duration() || pairs.is_empty() {
                    return Ok((counts, runs));
                }
                let began = Instant::now();
                let failures = self.run_copies(condition, subject, &mut random, &mut counts)?;
                runs += condition.copies();
                println!(
                    "{:4.0} s  {:15}  {:24} {:5.1} s  {}",
                    self.began.elapsed().as_secs_f64(),
                    condition.name(),
                    subject.name,
                    began.elapsed().as_secs_f64(),
                    if failures == 0 {
                        String::new()
                    } else {
                        format!("{failures} FAILED")
                    }
                );
            }
            if pairs.is_empty() {
                return Ok((counts, runs));
            }
        }
    }

    /// Runs the copies of the condition at once, and returns the number of failed tests.
    fn run_copies(
        &self,
        condition: Condition,
        subject: &Subject,
        random: &mut Random,
        counts: &mut Counts,
    ) -> io::Result<usize> {
        let filter = self.arguments.filter.as_deref();
        let filter = filter.filter(|filter| !subject.name.contains(filter));
        let background = condition.background();
        let mut running = Vec::new();
        for copy in 0..condition.copies() {
            let seed = random.next();
            let mut command = (subject.command)(&Run { seed, filter });
            condition.apply_to(&mut command);
            let log = self
                .directory
                .join(file_name(subject, condition, seed, copy));
            running.push((start(condition, command, &log)?, log, seed));
        }
        let mut failures = 0;
        let latest = Instant::now() + HANGS_AFTER;
        for (child, log, seed) in running {
            let end = wait(child, latest)?;
            let output = String::from_utf8_lossy(&fs::read(&log)?).into_owned();
            let results = with_unexplained_end((subject.parse)(&output), end);
            let failed = results.iter().filter(|result| !result.passed).count();
            failures += failed;
            for result in results {
                let key = (subject.name.clone(), result.name, condition.name());
                if result.passed {
                    counts.passed(key);
                } else {
                    counts.failed(key, log.clone(), seed);
                }
            }
            if failed == 0 {
                fs::remove_file(&log)?;
            }
        }
        drop(background);
        Ok(failures)
    }
}

fn file_name(subject: &Subject, condition: Condition, seed: u64, copy: usize) -> String {
    format!(
        "{}-{}-{seed:016x}-{copy}.log",
        subject.name,
        condition.name()
    )
    .replace([' ', '/'], "-")
}

/// Starts a process that inherits the condition, in a process group of its own.
fn start(condition: Condition, mut command: Command, log: &Path) -> io::Result<Child> {
    let output = File::create(log)?;
    command
        .stdin(Stdio::null())
        .stdout(output.try_clone()?)
        .stderr(output)
        .process_group(0);
    let starter = thread::spawn(move || {
        condition.apply_to_this_thread()?;
        command.spawn()
    });
    starter
        .join()
        .unwrap_or_else(|_| Err(io::Error::other("the starting thread panicked")))
}

/// The status, or `None` if the process hung and was killed with its group.
fn wait(mut child: Child, latest: Instant) -> io::Result<Option<ExitStatus>> {
    loop {
        if let Some(status) = child.try_wait()? {
            return Ok(Some(status));
        }
        if Instant::now() >= latest {
            let group = i32::try_from(child.id()).ok().and_then(Pid::from_raw);
            if let Some(group) = group {
                kill_process_group(group, Signal::KILL)?;
            }
            child.wait()?;
            return Ok(None);
        }
        thread::sleep(LOOK_EVERY);
    }
}

/// Adds a failure for a process that hung, or that failed although no test did.
fn with_unexplained_end(
    mut results: Vec<TestResult>,
    status: Option<ExitStatus>,
) -> Vec<TestResult> {
    let explained = results.iter().any(|result| !result.passed);
    let end = match status {
        None => Some(format!("(hangs for {HANGS_AFTER:?})")),
        Some(status) if !status.success() && !explained => Some(format!("({status})")),
        Some(_) => None,
    };
    results.extend(end.map(|name| TestResult {
        name,
        passed: false,
    }));
    results
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shell(script: &str) -> Option<ExitStatus> {
        let mut command = Command::new("sh");
        command.args(["-c", script]);
        let child = start(Condition::BusyCpus, command, Path::new("/dev/null")).unwrap();
        wait(child, Instant::now() + HANGS_AFTER).unwrap()
    }

    #[test]
    fn a_process_that_fails_without_a_failed_test_is_a_failure_itself() {
        let results = with_unexplained_end(Vec::new(), shell("kill -ABRT $$"));
        assert_eq!(results.len(), 1);
        assert!(results[0].name.contains("signal: 6"), "{results:?}");
        assert!(with_unexplained_end(Vec::new(), shell("exit 0")).is_empty());
    }

    #[test]
    fn a_process_that_fails_with_a_failed_test_is_no_second_failure() {
        let failed = TestResult {
            name: "a".into(),
            passed: false,
        };
        let results = with_unexplained_end(vec![failed.clone()], shell("exit 1"));
        assert_eq!(results, [failed]);
    }

    #[test]
    fn a_process_that_hangs_is_killed_and_a_failure() {
        let mut command = Command::new("sh");
        command.args(["-c", "while :; do :; done"]);
        let child = start(Condition::OneCpu, command, Path::new("/dev/null")).unwrap();
        let status = wait(child, Instant::now()).unwrap();
        assert_eq!(status, None);
        let results = with_unexplained_end(Vec::new(), status);
        assert!(results[0].name.contains("hangs"), "{results:?}");
    }
}
