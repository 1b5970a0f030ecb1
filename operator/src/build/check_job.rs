//! `sluice check` as a Job, so that the operator needs no database driver.
//!
//! The Job is named after everything that it is made of: what has changed is checked again, and
//! what was checked is not. Its report is the termination message of its only container.

use std::collections::BTreeMap;

use k8s_openapi::api::batch::v1::{Job, JobSpec};

use crate::{
    build::{
        BuildError, CheckResources, Owner, config_map,
        pod::{CONFIG_PATH, Pod, SECRETS_PATH, container},
    },
    model::{PodTemplate, Secrets},
};

/// A check that has not ended by then says nothing any more.
const DEADLINE_SECONDS: i64 = 120;
/// Where the container runtime looks for the report.
const REPORT_PATH: &str = "/dev/termination-log";

/// What a check is made of.
pub(super) struct Check<'a> {
    pub(super) owner: Owner,
    pub(super) labels: BTreeMap<String, String>,
    pub(super) config: &'a str,
    /// The flag that the configuration's path follows.
    pub(super) config_flag: &'static str,
    pub(super) pod: &'a PodTemplate,
    pub(super) secrets: &'a Secrets,
}

impl Check<'_> {
    /// Everything that decides about the outcome, as bytes.
    pub(super) fn content(&self) -> Result<Vec<u8>, BuildError> {
        let nameless = self.build("");
        let owner = &self.owner.reference.uid;
        serde_json::to_vec(&(nameless, &self.secrets.hash, owner)).map_err(BuildError::Config)
    }

    /// The objects under this name.
    pub(super) fn build(&self, name: &str) -> CheckResources {
        let metadata = || self.owner.metadata(name, self.labels.clone());
        CheckResources {
            config_map: config_map::build(metadata(), self.config),
            job: Job {
                metadata: metadata(),
                spec: Some(self.spec(name)),
                ..Job::default()
            },
        }
    }

    fn spec(&self, name: &str) -> JobSpec {
        let arguments = [
            "check",
            self.config_flag,
            CONFIG_PATH,
            "--secrets",
            SECRETS_PATH,
            "--output",
            "json",
            "--termination-message",
            REPORT_PATH,
        ];
        let pod = Pod {
            container: container("check", &arguments, self.pod),
            config_map: name,
            secrets: self.secrets,
            template: self.pod,
        };
        let mut template = pod.build(self.labels.clone(), BTreeMap::new());
        if let Some(spec) = &mut template.spec {
            spec.restart_policy = Some("Never".to_owned());
            spec.termination_grace_period_seconds = Some(2);
        }
        JobSpec {
            active_deadline_seconds: Some(DEADLINE_SECONDS),
            backoff_limit: Some(0),
            template,
            ..JobSpec::default()
        }
    }
}
