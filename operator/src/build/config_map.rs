//! The file that an agent or a check reads.

use std::collections::BTreeMap;

use k8s_openapi::{api::core::v1::ConfigMap, apimachinery::pkg::apis::meta::v1::ObjectMeta};

use crate::{
    build::{agent_metadata, pod::CONFIG_FILE},
    model::ValidatedAgent,
};

/// An agent's configuration.
pub(super) fn agent(agent: &ValidatedAgent, config: &str) -> ConfigMap {
    build(agent_metadata(agent), config)
}

/// A configuration under this name.
pub(super) fn build(metadata: ObjectMeta, config: &str) -> ConfigMap {
    ConfigMap {
        metadata,
        data: Some(BTreeMap::from([(
            CONFIG_FILE.to_owned(),
            config.to_owned(),
        )])),
        ..ConfigMap::default()
    }
}
