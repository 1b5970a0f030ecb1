//! `REFERENCE.md`, made from the schema that the API server gets.
//!
//! Types, defaults, limits and rules come from [`definitions`]; only what each word of an
//! enumeration means comes from the types' own schema, since Kubernetes has no place for it.

use std::collections::BTreeMap;

use k8s_openapi::apiextensions_apiserver::pkg::apis::apiextensions::v1::{
    CustomResourceDefinition, JSONSchemaProps, JSONSchemaPropsOrArray, JSONSchemaPropsOrBool,
};
use schemars::{JsonSchema, generate::SchemaSettings};
use serde_json::Value;

use crate::{
    ReplicaSinkSpec, ReplicaSinkStatus, ReplicationSourceSpec, ReplicationSourceStatus, definitions,
};

/// Fields whose types belong to Kubernetes and are described there.
const KUBERNETES_TYPES: [(&str, &str); 4] = [
    ("affinity", "Affinity (Kubernetes)"),
    ("resources", "ResourceRequirements (Kubernetes)"),
    ("tolerations", "list of Toleration (Kubernetes)"),
    ("conditions", "list of Condition (Kubernetes)"),
];

/// What each word of an enumeration means, by the path of its field.
type Meanings = BTreeMap<String, Vec<(String, String)>>;

/// The reference of all custom resources.
pub fn markdown() -> String {
    let mut text = String::from(
        "# The custom resources\n\nGenerated from `crds/src` by `cargo run -p sluice-crds --example generate`.\n\
         Group `sluice.dev`, version `v1alpha1`, both namespaced. `kubectl explain` shows the same.\n",
    );
    for definition in definitions() {
        let mut meanings = Meanings::new();
        if definition.spec.names.kind == "ReplicationSource" {
            collect_meanings::<ReplicationSourceSpec>("spec", &mut meanings);
            collect_meanings::<ReplicationSourceStatus>("status", &mut meanings);
        } else {
            collect_meanings::<ReplicaSinkSpec>("spec", &mut meanings);
            collect_meanings::<ReplicaSinkStatus>("status", &mut meanings);
        }
        write_kind(&mut text, &definition, &meanings);
    }
    text
}

fn write_kind(text: &mut String, definition: &CustomResourceDefinition, meanings: &Meanings) {
    let names = &definition.spec.names;
    let schema = definition.spec.versions.first().and_then(|version| {
        let schema = version.schema.as_ref()?;
        schema.open_api_v3_schema.as_ref()
    });
    let Some(schema) = schema else { return };
    let description = schema.description.as_deref().unwrap_or_default();
    let short_names = names.short_names.as_deref().unwrap_or_default().join(", ");
    line(
        text,
        &format!("\n## {}\n\n{}", names.kind, prose(description)),
    );
    line(text, &format!("Short name `{short_names}`."));
    let mut rules = Vec::new();
    for part in ["spec", "status"] {
        let Some(properties) = schema.properties.as_ref() else {
            continue;
        };
        let Some(root) = properties.get(part) else {
            continue;
        };
        line(text, &format!("\n### {}: {part}\n", names.kind));
        line(
            text,
            "| Field | Type | Default | Description |\n|---|---|---|---|",
        );
        let mut table = Table {
            text,
            meanings,
            rules: &mut rules,
        };
        table.fields(part, root);
    }
    line(text, &format!("\n### {}: rules\n", names.kind));
    for rule in rules {
        line(text, &format!("- {rule}"));
    }
}

struct Table<'a> {
    text: &'a mut String,
    meanings: &'a Meanings,
    rules: &'a mut Vec<String>,
}

impl Table<'_> {
    fn fields(&mut self, path: &str, schema: &JSONSchemaProps) {
        self.collect_rules(path, schema);
        let required = schema.required.as_deref().unwrap_or_default();
        for (name, field) in schema.properties.iter().flatten() {
            self.field(&format!("{path}.{name}"), field, required.contains(name));
        }
    }

    fn field(&mut self, path: &str, field: &JSONSchemaProps, required: bool) {
        let name = path.rsplit('.').next().unwrap_or(path);
        let foreign = KUBERNETES_TYPES.iter().find(|(field, _)| *field == name);
        let kind = foreign.map_or_else(|| type_name(field), |(_, kind)| (*kind).to_owned());
        let default = match (&field.default, required) {
            (_, true) => "**required**".to_owned(),
            (Some(default), _) if !default.0.is_object() => format!("`{}`", plain(&default.0)),
            _ => String::new(),
        };
        let mut description = prose(field.description.as_deref().unwrap_or_default());
        for (word, meaning) in self.meanings.get(path).into_iter().flatten() {
            description.extend(["<br>`", word, "`: ", meaning]);
        }
        let row = format!("| `{path}` | {kind} | {default} | {description} |");
        line(self.text, &row);
        if foreign.is_some() {
            return;
        }
        match &field.items {
            Some(JSONSchemaPropsOrArray::Schema(items)) if items.properties.is_some() => {
                self.fields(&format!("{path}[]"), items);
            }
            _ => self.fields(path, field),
        }
    }

    fn collect_rules(&mut self, path: &str, schema: &JSONSchemaProps) {
        for rule in schema.x_kubernetes_validations.iter().flatten() {
            let below = rule.field_path.as_deref().unwrap_or_default();
            let message = rule.message.as_deref().unwrap_or(&rule.rule);
            self.rules.push(format!("`{path}{below}`: {message}"));
        }
    }
}

fn type_name(schema: &JSONSchemaProps) -> String {
    if let Some(words) = &schema.enum_ {
        let words: Vec<String> = words
            .iter()
            .map(|word| format!("`{}`", plain(&word.0)))
            .collect();
        return words.join(", ");
    }
    let kind = schema.type_.as_deref().unwrap_or("any");
    match (kind, &schema.items, &schema.additional_properties) {
        ("array", Some(JSONSchemaPropsOrArray::Schema(items)), _) => {
            format!("list of {}", type_name(items))
        }
        ("object", _, Some(JSONSchemaPropsOrBool::Schema(values))) => {
            format!("map of {}", type_name(values))
        }
        ("integer", ..) => match (schema.minimum, schema.maximum) {
            (Some(least), Some(most)) => format!("integer, {least} to {most}"),
            _ => kind.to_owned(),
        },
        _ => kind.to_owned(),
    }
}

/// Looks through a type's own schema for documented enumerations.
fn collect_meanings<T: JsonSchema>(path: &str, meanings: &mut Meanings) {
    let settings = SchemaSettings::openapi3().with(|settings| settings.inline_subschemas = true);
    let schema = settings.into_generator().into_root_schema_for::<T>();
    visit(path, schema.as_value(), meanings);
}

fn visit(path: &str, schema: &Value, meanings: &mut Meanings) {
    let list = |key: &str| {
        schema
            .get(key)
            .and_then(Value::as_array)
            .into_iter()
            .flatten()
    };
    for alternative in list("anyOf").chain(list("allOf")) {
        visit(path, alternative, meanings);
    }
    let words: Vec<(String, String)> = list("oneOf").filter_map(word).collect();
    if !words.is_empty() {
        meanings.insert(path.to_owned(), words);
    }
    if let Some(values) = schema.get("additionalProperties") {
        visit(path, values, meanings);
    }
    if let Some(items) = schema.get("items") {
        visit(&format!("{path}[]"), items, meanings);
    }
    let properties = schema.get("properties").and_then(Value::as_object);
    for (name, property) in properties.into_iter().flatten() {
        visit(&format!("{path}.{name}"), property, meanings);
    }
}

/// A word of an enumeration and its meaning.
fn word(schema: &Value) -> Option<(String, String)> {
    let word = schema
        .get("const")
        .or_else(|| schema.get("enum")?.get(0))?
        .as_str()?;
    let meaning = schema.get("description")?.as_str()?;
    Some((word.to_owned(), prose(meaning)))
}

/// A description as one line of a table.
fn prose(description: &str) -> String {
    let words: Vec<&str> = description.split_whitespace().collect();
    words.join(" ").replace('|', "\\|")
}

fn plain(value: &Value) -> String {
    value
        .as_str()
        .map_or_else(|| value.to_string(), str::to_owned)
}

fn line(text: &mut String, line: &str) {
    text.push_str(line);
    text.push('\n');
}
