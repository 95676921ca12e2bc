//! The conformance suite as tests, one per rule and family. Rules that this machine cannot check
//! are ignored, with the reason.

use conformance::{Instance, Status, instances};
use libtest_mimic::{Arguments, Failed, Trial};

fn main() {
    let arguments = Arguments::from_args();
    libtest_mimic::run(&arguments, instances().into_iter().map(trial).collect()).exit();
}

fn trial(instance: Instance) -> Trial {
    let Some(reason) = instance.why_not() else {
        return Trial::test(instance.to_string(), move || check(instance));
    };
    Trial::test(format!("{instance} ({reason})"), || Ok(())).with_ignored_flag(true)
}

fn check(instance: Instance) -> Result<(), Failed> {
    let outcome = instance.run();
    match outcome.status {
        Status::Failed => Err(format!("{} {}", outcome.title, outcome.detail).into()),
        Status::Passed | Status::Skipped => Ok(()),
    }
}
