//! The schema in its final form.
//!
//! What the derive macros make is almost what an API server wants. Two things are put right here:
//! `nullable` goes from fields, so that an explicit `null` is the same as an absent field, for defaults and
//! for `has()` in CEL rules; and number formats that Kubernetes does not know go, since it warns
//! about each of them. The limits that those formats stand for are in the schema as well.

use k8s_openapi::apiextensions_apiserver::pkg::apis::apiextensions::v1::{
    CustomResourceDefinition, JSONSchemaProps, JSONSchemaPropsOrArray, JSONSchemaPropsOrBool,
};
use kube::CustomResourceExt;

use crate::{ReplicaSink, ReplicationSource};

/// Formats that the API server knows.
const KNOWN_FORMATS: [&str; 5] = ["int32", "int64", "float", "double", "date-time"];

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
