//! The termination message: what Kubernetes shows of a container that has ended.
//!
//! Kubernetes keeps 4096 bytes of it and cuts the rest off, so that a report is made to fit here:
//! what failed comes first, what passed goes first, and long texts are shortened before a check that
//! failed is left out. What is written is always one whole JSON object.

use std::{fs, io, path::Path};

use sluice_agent_api::status::{Check, CheckOutcome, CheckReport};

/// How much Kubernetes keeps.
const SIZE_BYTES_MAX: usize = 4096;
/// How long texts may be, from try to try.
const TEXT_LENGTHS: [usize; 5] = [1_000, 500, 250, 120, 60];

/// Writes a report.
pub(crate) fn write_report(path: &Path, report: &CheckReport) -> io::Result<()> {
    fs::write(path, compact(report))
}

/// Writes a plain message where Kubernetes has put a file for it.
pub(crate) fn write_message(path: &Path, message: &str) -> io::Result<()> {
    if !path.exists() {
        return Ok(());
    }
    fs::write(path, shortened(message, SIZE_BYTES_MAX / 4))
}

/// The report of a configuration that can't be used.
pub(crate) fn invalid_report(message: &str) -> CheckReport {
    CheckReport {
        checks: vec![Check {
            subject: "AgentConfig".to_owned(),
            name: "Configuration".to_owned(),
            outcome: CheckOutcome::Failed,
            message: message.to_owned(),
            remedy: Some("use an operator and an agent image of the same version".to_owned()),
        }],
    }
}

/// The report as JSON that fits.
fn compact(report: &CheckReport) -> String {
    let mut checks = report.checks.clone();
    checks.sort_by_key(|check| rank(check.outcome));
    let mut report = CheckReport { checks };
    loop {
        let text = json(&report);
        let droppable = report.checks.last().map(|check| check.outcome);
        match droppable {
            _ if text.len() <= SIZE_BYTES_MAX => return text,
            Some(CheckOutcome::Passed | CheckOutcome::Skipped) => report.checks.pop(),
            _ => break,
        };
    }
    for length in TEXT_LENGTHS {
        for check in &mut report.checks {
            check.subject = shortened(&check.subject, length);
            check.message = shortened(&check.message, length);
            check.remedy = check.remedy.as_deref().map(|text| shortened(text, length));
        }
        let text = json(&report);
        if text.len() <= SIZE_BYTES_MAX {
            return text;
        }
    }
    while report.checks.len() > 1 && json(&report).len() > SIZE_BYTES_MAX {
        report.checks.pop();
    }
    json(&report)
}

fn json(report: &CheckReport) -> String {
    serde_json::to_string(report).expect("a report of texts is JSON")
}

fn rank(outcome: CheckOutcome) -> u8 {
    match outcome {
        CheckOutcome::Failed => 0,
        CheckOutcome::Warning => 1,
        CheckOutcome::Passed => 2,
        CheckOutcome::Skipped => 3,
    }
}

/// The beginning of a text, of so many characters.
fn shortened(text: &str, length: usize) -> String {
    if text.chars().count() <= length {
        return text.to_owned();
    }
    let mut cut: String = text.chars().take(length - 1).collect();
    cut.push('…');
    cut
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(index: usize, outcome: CheckOutcome, length: usize) -> Check {
        Check {
            subject: "ReplicationSource/shop".into(),
            name: format!("Check{index}"),
            outcome,
            message: "é\n".repeat(length),
            remedy: Some("\u{1}".repeat(length)),
        }
    }

    fn read(report: &CheckReport) -> CheckReport {
        let text = compact(report);
        assert!(text.len() <= SIZE_BYTES_MAX, "{} bytes", text.len());
        serde_json::from_str(&text).expect("it is one whole object")
    }

    #[test]
    fn what_failed_comes_first_and_what_passed_makes_room() {
        let mut checks: Vec<Check> = (0..80)
            .map(|index| check(index, CheckOutcome::Passed, 10))
            .collect();
        checks.push(check(80, CheckOutcome::Warning, 10));
        checks.push(check(81, CheckOutcome::Failed, 10));
        let found = read(&CheckReport { checks });
        assert_eq!(found.checks[0].name, "Check81");
        assert_eq!(found.checks[1].name, "Check80");
        assert!(
            found.checks.len() > 2,
            "there was room for some that passed"
        );
        assert!(!found.passed());
    }

    #[test]
    fn whatever_is_said_the_message_is_whole_and_a_failure_stays_one() {
        for (count, length) in [(1, 5_000), (3, 900), (40, 400), (500, 2)] {
            let checks = (0..count)
                .map(|index| check(index, CheckOutcome::Failed, length))
                .collect();
            let found = read(&CheckReport { checks });
            assert!(!found.passed(), "{count} checks of {length}");
        }
    }

    #[test]
    fn no_file_is_made_where_kubernetes_has_put_none() {
        let path = std::env::temp_dir().join("sluice-no-termination-log");
        write_message(&path, "x").expect("nothing is to be done");
        assert!(!path.exists());
    }
}
