//! The schema in its final form.
//!
//! What the derive macros make is almost what an API server wants. Two things are put right here:
//! `nullable` goes from fields, so that an explicit `null` is the same as an absent field, for defaults and
//! for `has()` in CEL rules; and number formats that Kubernetes does not know go, since it warns
//! about each of them. The limits that those formats stand for are in the schema as well.
//!
//! And one thing is added: an API server answers a text of the wrong form with a bare regular
//! expression. Each pattern gets a rule that says the same in words.

use k8s_openapi::apiextensions_apiserver::pkg::apis::apiextensions::v1::{
    CustomResourceDefinition, JSONSchemaProps, JSONSchemaPropsOrArray, JSONSchemaPropsOrBool,
    ValidationRule,
};
use kube::CustomResourceExt;

use crate::{ReplicaSink, ReplicationSource};

/// Formats that the API server knows.
const KNOWN_FORMATS: [&str; 5] = ["int32", "int64", "float", "double", "date-time"];

/// A host name or address.
const HOST: &str = r"^[^\s/@]+$";

/// What each pattern means. A test finds those without words.
const FORMS: [(&str, &str); 10] = [
    (
        HOST,
        "must be a host name or address alone, without scheme, user, port or path",
    ),
    (
        r"^[^.\s][^.]*\.(.*\S)$",
        "must be schema.table, such as shop.orders or shop.*",
    ),
    (
        r"^[^.\s*?][^.*?]*\.([^*?]*[^\s*?])$",
        "must be schema.table without * and ?, such as sales.orders",
    ),
    (
        r"^[^\s/@,]+:[0-9]+(,[^\s/@,]+:[0-9]+)*$",
        "must be host:port, several separated by commas",
    ),
    (
        r"^([a-zA-Z0-9._-]|\{(source|schema|table)\})+$",
        "can have letters, digits, ., _ and - besides {source}, {schema} and {table}",
    ),
    (
        r"^[A-Za-z0-9._-]+$",
        "must be a topic's name: letters, digits, ., _ and -",
    ),
    (
        r"^https?://[^\s@]+$",
        "must be http:// or https:// and a host, without user or password",
    ),
    (
        r"^[0-9]+(ms|s|m)$",
        "must be a whole number and a unit (ms, s or m), such as 100ms",
    ),
    (
        r"^\S+( \S+){4}$",
        "must be five cron fields, such as 0 3 * * *",
    ),
    (r"^/", "must be an absolute path, such as /data"),
];

/// A host with a port: colons alone are also in IPv6 addresses.
const HOST_AND_PORT: &str = "^[^:]+:[0-9]+$";

/// The definitions of all custom resources, as they are to be installed.
pub fn definitions() -> Vec<CustomResourceDefinition> {
    [ReplicationSource::crd(), ReplicaSink::crd()]
        .into_iter()
        .map(finish)
        .collect()
}

fn finish(mut definition: CustomResourceDefinition) -> CustomResourceDefinition {
    for version in &mut definition.spec.versions {
        let validation = version.schema.as_mut();
        if let Some(schema) = validation.and_then(|schema| schema.open_api_v3_schema.as_mut()) {
            put_right(schema);
        }
    }
    definition
}

fn put_right(schema: &mut JSONSchemaProps) {
    schema.nullable = None;
    if let Some(format) = &schema.format
        && !KNOWN_FORMATS.contains(&format.as_str())
    {
        schema.format = None;
    }
    explain_pattern(schema);
    for property in schema
        .properties
        .iter_mut()
        .flat_map(|map| map.values_mut())
    {
        put_right(property);
    }
    match &mut schema.items {
        Some(JSONSchemaPropsOrArray::Schema(items)) => put_right(items),
        Some(JSONSchemaPropsOrArray::Schemas(items)) => items.iter_mut().for_each(put_right),
        None => {}
    }
    if let Some(JSONSchemaPropsOrBool::Schema(values)) = &mut schema.additional_properties {
        put_right(values);
        // A null among a map's values would be pruned without a word, and with it a mask that was
        // meant. Let in, it meets the list of words, which refuses it.
        values.nullable = values.enum_.is_some().then_some(true);
    }
}

fn explain_pattern(schema: &mut JSONSchemaProps) {
    let pattern = schema.pattern.as_deref();
    let Some((pattern, message)) = FORMS.iter().find(|(form, _)| Some(*form) == pattern) else {
        return;
    };
    let mut rule = format!("self.matches(r'{pattern}')");
    if *pattern == HOST {
        rule = format!("{rule} && !self.matches(r'{HOST_AND_PORT}')");
    }
    let rules = schema.x_kubernetes_validations.get_or_insert_default();
    rules.push(ValidationRule {
        rule,
        message: Some((*message).to_owned()),
        ..ValidationRule::default()
    });
}
