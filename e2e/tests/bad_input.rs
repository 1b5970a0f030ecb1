//! Bad input: whatever is wrong is named, together with what mends it, by `sluice check` before the
//! start and by the status of `sluice run` at any time; and when it is mended nothing is lost.

mod connections;
mod files;
mod mended;
mod privileges;
mod rows;
mod settings;

use std::{process::Output, time::Duration};

use anyhow::{Context, Result};
use sluice_agent_api::status::{Check, CheckOutcome, CheckReport, LastError};
use sluice_e2e::{PipelineFile, Sluice};

const PATIENCE: Duration = Duration::from_secs(60);

/// What is expected of a pipeline that can't run.
struct Fault {
    /// What is wrong, for messages.
    what: &'static str,
    file: PipelineFile,
    /// The check that fails.
    check: &'static str,
    /// The reason in status.
    reason: &'static str,
    /// What both messages name.
    names: Vec<String>,
    /// What both remedies hold.
    remedy: String,
}

impl Fault {
    /// Expects `check` to fail in the right place, and `run` to wait and say the same.
    async fn expect(&self) -> Result<()> {
        let mut wrong = Vec::new();
        let written = self.file.write()?;
        let mut sluice = Sluice::run(&written, &[])?;
        let (output, report) = check(&self.file).await?;
        let failed = report
            .checks
            .iter()
            .find(|check| check.outcome == CheckOutcome::Failed);
        match failed {
            Some(failed) => self.compare(failed, &mut wrong),
            None => wrong.push(format!("no check failed: {report:#?}")),
        }
        if output.status.code() != Some(1) {
            wrong.push(format!("check ended with {}", output.status));
        }
        let status = sluice
            .wait_until(self.what, PATIENCE, |status| status.last_error.is_some())
            .await?;
        let error = status.last_error.context("was waited for")?;
        self.compare_error(&error, &mut wrong);
        if status.ready {
            wrong.push("it calls itself ready".to_owned());
        }
        sluice.kill_nine().await?;
        assert!(wrong.is_empty(), "{}:\n{}", self.what, wrong.join("\n"));
        Ok(())
    }

    fn compare(&self, failed: &Check, wrong: &mut Vec<String>) {
        let remedy = failed.remedy.as_deref().unwrap_or_default();
        let names = self.names.iter().all(|name| failed.message.contains(name));
        if failed.name != self.check || !names || !remedy.contains(&self.remedy) {
            wrong.push(format!("check: {failed:?}"));
        }
    }

    fn compare_error(&self, error: &LastError, wrong: &mut Vec<String>) {
        let hint = error.hint.as_deref().unwrap_or_default();
        let names = self.names.iter().all(|name| error.message.contains(name));
        if error.reason != self.reason || !names || !hint.contains(&self.remedy) {
            wrong.push(format!("run: {error:?}"));
        }
    }
}

/// Runs `sluice check -o json`.
async fn check(file: &PipelineFile) -> Result<(Output, CheckReport)> {
    let written = file.write()?;
    let path = written.path().to_str().context("a path of text")?;
    let output = Sluice::command(&["check", "-f", path, "-o", "json"]).await?;
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    let report = serde_json::from_str(&text).with_context(|| {
        format!(
            "not a report: {text} {}",
            String::from_utf8_lossy(&output.stderr)
        )
    })?;
    Ok((output, report))
}
