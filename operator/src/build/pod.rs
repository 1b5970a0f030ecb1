//! What the pods of agents and of checks have in common: restricted in every way, with their
//! configuration and their Secrets as files.

use std::collections::BTreeMap;

use k8s_openapi::{
    api::core::v1::{
        Capabilities, ConfigMapVolumeSource, Container, ContainerPort, EmptyDirVolumeSource,
        HTTPGetAction, KeyToPath, LocalObjectReference, PodSecurityContext, PodSpec,
        PodTemplateSpec, Probe, SeccompProfile, SecretVolumeSource, SecurityContext, Volume,
        VolumeMount,
    },
    apimachinery::pkg::{apis::meta::v1::ObjectMeta, util::intstr::IntOrString},
};
use sluice_crds::agent::LogLevel;

use crate::model::{PodTemplate, Secrets};

/// The agent's HTTP port.
pub(super) const HTTP_PORT: i32 = 8080;
/// Its name.
pub(super) const HTTP_PORT_NAME: &str = "http";
/// The configuration's key in its ConfigMap.
pub(super) const CONFIG_FILE: &str = "agent.json";
/// The configuration's path in the pod.
pub(super) const CONFIG_PATH: &str = "/etc/sluice/config/agent.json";
/// Where the Secrets are mounted, one folder each.
pub(super) const SECRETS_PATH: &str = "/etc/sluice/secrets";

/// The user that runs in the pod, without a name or rights.
const USER: i64 = 65532;
/// Readable by the user's group alone.
const SECRET_MODE: i32 = 0o440;

/// What a pod needs besides its template.
pub(super) struct Pod<'a> {
    pub(super) container: Container,
    pub(super) config_map: &'a str,
    pub(super) secrets: &'a Secrets,
    pub(super) template: &'a PodTemplate,
}

impl Pod<'_> {
    /// The pod with these labels and annotations. The user's own can't replace the operator's.
    pub(super) fn build(
        self,
        labels: BTreeMap<String, String>,
        annotations: BTreeMap<String, String>,
    ) -> PodTemplateSpec {
        let own = &self.template.template;
        let mut all_labels = own.pod_labels.clone();
        all_labels.extend(labels);
        let mut all_annotations = own.pod_annotations.clone();
        all_annotations.extend(annotations);
        PodTemplateSpec {
            metadata: Some(ObjectMeta {
                labels: Some(all_labels),
                annotations: Some(all_annotations).filter(|all| !all.is_empty()),
                ..ObjectMeta::default()
            }),
            spec: Some(self.spec()),
        }
    }

    fn spec(self) -> PodSpec {
        let own = self.template.template.clone();
        let mut container = self.container;
        container.image = Some(self.template.image.clone());
        container.image_pull_policy = Some("IfNotPresent".to_owned());
        container.resources = Some(self.template.resources.clone());
        container.security_context = Some(container_security());
        container.volume_mounts = Some(mounts(self.secrets));
        PodSpec {
            automount_service_account_token: Some(false),
            enable_service_links: Some(false),
            security_context: Some(pod_security()),
            containers: vec![container],
            volumes: Some(volumes(self.config_map, self.secrets)),
            image_pull_secrets: Some(references(&self.template.image_pull_secrets))
                .filter(|secrets| !secrets.is_empty()),
            node_selector: Some(own.node_selector).filter(|labels| !labels.is_empty()),
            tolerations: Some(own.tolerations).filter(|list| !list.is_empty()),
            affinity: own.affinity,
            ..PodSpec::default()
        }
    }
}

/// A container that runs `sluice` with these arguments.
pub(super) fn container(name: &str, arguments: &[&str], template: &PodTemplate) -> Container {
    let level = match template.template.log_level {
        LogLevel::Error => "error",
        LogLevel::Warn => "warn",
        LogLevel::Info => "info",
        LogLevel::Debug => "debug",
        LogLevel::Trace => "trace",
    };
    let logging = ["--log-level", level, "--log-format", "json"];
    let arguments = arguments.iter().chain(&logging);
    Container {
        name: name.to_owned(),
        command: Some(vec!["sluice".to_owned()]),
        args: Some(arguments.map(|&argument| argument.to_owned()).collect()),
        // The last words of one that can't start are what its status has to say.
        termination_message_policy: Some("FallbackToLogsOnError".to_owned()),
        ..Container::default()
    }
}

fn references(names: &[String]) -> Vec<LocalObjectReference> {
    let reference = |name: &String| LocalObjectReference { name: name.clone() };
    names.iter().map(reference).collect()
}

/// The port of an agent's HTTP server.
pub(super) fn http_port() -> ContainerPort {
    ContainerPort {
        name: Some(HTTP_PORT_NAME.to_owned()),
        container_port: HTTP_PORT,
        protocol: Some("TCP".to_owned()),
        ..ContainerPort::default()
    }
}

/// Asks the HTTP server for `path` every so many seconds.
pub(super) fn probe(path: &str, period_seconds: i32, failures_max: i32) -> Probe {
    Probe {
        http_get: Some(HTTPGetAction {
            path: Some(path.to_owned()),
            port: IntOrString::String(HTTP_PORT_NAME.to_owned()),
            ..HTTPGetAction::default()
        }),
        period_seconds: Some(period_seconds),
        timeout_seconds: Some(5),
        failure_threshold: Some(failures_max),
        ..Probe::default()
    }
}

fn pod_security() -> PodSecurityContext {
    PodSecurityContext {
        run_as_non_root: Some(true),
        run_as_user: Some(USER),
        run_as_group: Some(USER),
        fs_group: Some(USER),
        seccomp_profile: Some(SeccompProfile {
            type_: "RuntimeDefault".to_owned(),
            ..SeccompProfile::default()
        }),
        ..PodSecurityContext::default()
    }
}

fn container_security() -> SecurityContext {
    SecurityContext {
        allow_privilege_escalation: Some(false),
        read_only_root_filesystem: Some(true),
        capabilities: Some(Capabilities {
            drop: Some(vec!["ALL".to_owned()]),
            ..Capabilities::default()
        }),
        ..SecurityContext::default()
    }
}

fn volumes(config_map: &str, secrets: &Secrets) -> Vec<Volume> {
    let config = Volume {
        name: "config".to_owned(),
        config_map: Some(ConfigMapVolumeSource {
            name: config_map.to_owned(),
            ..ConfigMapVolumeSource::default()
        }),
        ..Volume::default()
    };
    let temporary = Volume {
        name: "tmp".to_owned(),
        empty_dir: Some(EmptyDirVolumeSource::default()),
        ..Volume::default()
    };
    let secrets = secrets.keys.iter().enumerate();
    let secrets = secrets.map(|(index, (name, keys))| Volume {
        name: secret_volume(index),
        secret: Some(SecretVolumeSource {
            secret_name: Some(name.clone()),
            default_mode: Some(SECRET_MODE),
            items: Some(keys.iter().map(|key| item(key)).collect()),
            ..SecretVolumeSource::default()
        }),
        ..Volume::default()
    });
    [config, temporary].into_iter().chain(secrets).collect()
}

fn item(key: &str) -> KeyToPath {
    KeyToPath {
        key: key.to_owned(),
        path: key.to_owned(),
        ..KeyToPath::default()
    }
}

fn mounts(secrets: &Secrets) -> Vec<VolumeMount> {
    let mount = |name: String, path: String| VolumeMount {
        read_only: Some(name != "tmp"),
        name,
        mount_path: path,
        ..VolumeMount::default()
    };
    let fixed = [
        mount("config".to_owned(), "/etc/sluice/config".to_owned()),
        mount("tmp".to_owned(), "/tmp".to_owned()),
    ];
    let secrets = secrets.keys.keys().enumerate();
    let secrets =
        secrets.map(|(index, name)| mount(secret_volume(index), format!("{SECRETS_PATH}/{name}")));
    fixed.into_iter().chain(secrets).collect()
}

/// A Secret's name may be longer than a volume's may.
fn secret_volume(index: usize) -> String {
    format!("secret-{index}")
}
