//! The objects of pipeline files, each sound in itself.

use std::collections::{BTreeMap, BTreeSet};

use base64::{Engine as _, engine::general_purpose::STANDARD};
use serde::de::DeserializeOwned;
use serde_json::{Value, json};
use sluice_crds::{ReplicaSink, ReplicationSource};

use crate::file::{
    Mistake,
    document::{self, Node},
    schema,
};

/// An object and where it was written.
pub(super) struct Object<T> {
    pub(super) value: T,
    pub(super) namespace: Option<String>,
    pub(super) origin: Origin,
}

/// Where an object was written.
#[derive(Clone)]
pub(super) struct Origin {
    file: String,
    /// `document 2, ReplicaSink shop-pg`.
    title: String,
    node: Node,
}

impl Origin {
    /// Something wrong with the object.
    pub(super) fn mistake(&self, path: &str, message: impl Into<String>) -> Mistake {
        Mistake {
            file: self.file.clone(),
            line: self.node.line_of(path),
            document: self.title.clone(),
            path: path.to_owned(),
            message: message.into(),
        }
    }
}

/// A Secret's contents, decoded.
pub(super) struct Secret {
    pub(super) namespace: Option<String>,
    pub(super) name: String,
    pub(super) keys: BTreeMap<String, Vec<u8>>,
}

/// Everything that the files hold.
pub(super) struct Objects {
    pub(super) sources: Vec<Object<ReplicationSource>>,
    pub(super) sinks: Vec<Object<ReplicaSink>>,
    pub(super) secrets: Vec<Secret>,
    schemas: BTreeMap<&'static str, Value>,
    /// Kind, namespace and name of every object.
    seen: BTreeSet<(String, Option<String>, String)>,
}

impl Default for Objects {
    fn default() -> Self {
        Self {
            sources: Vec::new(),
            sinks: Vec::new(),
            secrets: Vec::new(),
            schemas: schemas(),
            seen: BTreeSet::new(),
        }
    }
}

impl Objects {
    /// Adds the documents of one file.
    pub(super) fn add(&mut self, file: &str, text: &str, mistakes: &mut Vec<Mistake>) {
        let documents = match document::parse(text) {
            Ok(documents) => documents,
            Err(error) => {
                mistakes.push(Mistake {
                    file: file.to_owned(),
                    line: error.line,
                    document: String::new(),
                    path: String::new(),
                    message: error.message,
                });
                return;
            }
        };
        for (index, node) in documents.into_iter().enumerate() {
            let kind = node.text("kind").unwrap_or_default();
            let name = node
                .get("metadata")
                .and_then(|metadata| metadata.text("name"));
            let mut title = format!("document {}", index + 1);
            if !kind.is_empty() {
                title = format!("{title}, {kind} {}", name.unwrap_or_default());
            }
            let origin = Origin {
                file: file.to_owned(),
                title: title.trim_end().to_owned(),
                node,
            };
            self.add_document(origin, mistakes);
        }
    }

    fn add_document(&mut self, origin: Origin, mistakes: &mut Vec<Mistake>) {
        let kind = origin.node.text("kind").unwrap_or_default().to_owned();
        let Some(schema) = self.schemas.get(kind.as_str()) else {
            let message = if kind.is_empty() {
                "is missing: every document is a ReplicationSource, a ReplicaSink or a Secret"
            } else {
                "unknown kind: a pipeline file holds ReplicationSource, ReplicaSink and Secret"
            };
            mistakes.push(origin.mistake("kind", message));
            return;
        };
        let faults = schema::check(schema, &origin.node);
        let sound = faults.is_empty();
        mistakes.extend(faults.into_iter().map(|fault| Mistake {
            line: fault.line,
            ..origin.mistake(&fault.path, fault.message)
        }));
        if !sound {
            return;
        }
        let metadata = origin.node.get("metadata");
        let field = |name: &str| metadata.and_then(|metadata| metadata.text(name));
        let (namespace, name) = (field("namespace").map(str::to_owned), field("name"));
        let identity = (kind.clone(), namespace, name.unwrap_or_default().to_owned());
        if !self.seen.insert(identity.clone()) {
            mistakes.push(origin.mistake("metadata.name", "is there twice"));
            return;
        }
        match kind.as_str() {
            "ReplicationSource" => self.sources.extend(typed(origin, mistakes)),
            "ReplicaSink" => self.sinks.extend(typed(origin, mistakes)),
            _ => {
                let (_, namespace, name) = identity;
                let keys = secret_keys(&origin, mistakes);
                self.secrets.push(Secret {
                    namespace,
                    name,
                    keys,
                });
            }
        }
    }
}

/// The object as its type; defaults come in here.
fn typed<T: DeserializeOwned>(origin: Origin, mistakes: &mut Vec<Mistake>) -> Option<Object<T>> {
    match serde_json::from_value(origin.node.to_json()) {
        Ok(value) => {
            let metadata = origin.node.get("metadata");
            let namespace = metadata.and_then(|metadata| metadata.text("namespace"));
            Some(Object {
                value,
                namespace: namespace.map(str::to_owned),
                origin,
            })
        }
        Err(error) => {
            mistakes.push(origin.mistake("", error.to_string()));
            None
        }
    }
}

/// A Secret's keys: `data` is base64, `stringData` is plain and wins.
fn secret_keys(origin: &Origin, mistakes: &mut Vec<Mistake>) -> BTreeMap<String, Vec<u8>> {
    let document = origin.node.to_json();
    let entries = |field: &str| -> Vec<(String, String)> {
        let entries = document[field].as_object().into_iter().flatten();
        entries
            .map(|(key, value)| (key.clone(), value.as_str().unwrap_or_default().to_owned()))
            .collect()
    };
    let mut keys = BTreeMap::new();
    for (key, encoded) in entries("data") {
        let compact: String = encoded.split_whitespace().collect();
        match STANDARD.decode(compact) {
            Ok(content) => {
                keys.insert(key, content);
            }
            // The cause would show a letter of the secret.
            Err(_) => mistakes.push(origin.mistake(
                &format!("data.{key}"),
                "is not valid base64; plain text goes under stringData",
            )),
        }
    }
    for (key, content) in entries("stringData") {
        keys.insert(key, content.into_bytes());
    }
    keys
}

/// The schema of each kind that a file may hold.
fn schemas() -> BTreeMap<&'static str, Value> {
    let mut schemas = BTreeMap::from([("Secret", secret_schema())]);
    for definition in sluice_crds::definitions() {
        let kind = match definition.spec.names.kind.as_str() {
            "ReplicationSource" => "ReplicationSource",
            _ => "ReplicaSink",
        };
        let version = definition.spec.versions.into_iter().next();
        let schema = version.and_then(|version| version.schema?.open_api_v3_schema);
        // A schema is plain data, so that it always is JSON, too.
        let mut schema = serde_json::to_value(schema).unwrap_or_default();
        schema["properties"]["metadata"] = metadata_schema();
        schema["properties"]["kind"] = json!({"type": "string"});
        schema["properties"]["apiVersion"] =
            json!({"type": "string", "enum": ["sluice.dev/v1alpha1"]});
        schema["required"] = json!(["apiVersion", "kind", "metadata", "spec"]);
        schemas.insert(kind, schema);
    }
    schemas
}

fn secret_schema() -> Value {
    let texts = json!({"type": "object", "additionalProperties": {"type": "string"}});
    json!({"type": "object", "required": ["apiVersion", "kind", "metadata"], "properties": {
        "apiVersion": {"type": "string", "enum": ["v1"]},
        "kind": {"type": "string"},
        "metadata": metadata_schema(),
        "type": {"type": "string"},
        "immutable": {"type": "boolean"},
        "data": texts,
        "stringData": texts,
    }})
}

/// `metadata`, including what `kubectl get -o yaml` adds.
fn metadata_schema() -> Value {
    let texts = json!({"type": "object", "additionalProperties": {"type": "string"}});
    let name = json!({
        "type": "string", "minLength": 1, "maxLength": 253,
        "pattern": "^[a-z0-9]([-a-z0-9.]*[a-z0-9])?$",
    });
    json!({"type": "object", "required": ["name"], "properties": {
        "name": name, "namespace": name, "labels": texts, "annotations": texts,
        "generateName": {}, "uid": {}, "resourceVersion": {}, "generation": {}, "selfLink": {},
        "creationTimestamp": {}, "deletionTimestamp": {}, "deletionGracePeriodSeconds": {},
        "finalizers": {}, "ownerReferences": {}, "managedFields": {},
    }})
}
