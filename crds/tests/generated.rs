//! The committed files are what the types say.

use std::{fs, path::Path};

#[test]
fn committed_files_are_up_to_date() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    for (path, content) in crate::generate::files() {
        let committed = fs::read_to_string(root.join(&path)).unwrap_or_default();
        assert!(
            committed == content,
            "crds/{} is stale: run `cargo run -p sluice-crds --example generate` and commit the result",
            path.display()
        );
    }
}

#[test]
fn every_field_is_described_and_no_null_or_unknown_format_is_left() {
    for definition in sluice_crds::definitions() {
        let schema = definition.spec.versions[0].schema.clone().unwrap();
        let schema = serde_json::to_value(schema.open_api_v3_schema).unwrap();
        let kind = &definition.spec.names.kind;
        inspect(&format!("{kind}.spec"), &schema["properties"]["spec"]);
        inspect(&format!("{kind}.status"), &schema["properties"]["status"]);
        assert_eq!(schema["required"], serde_json::json!(["spec"]));
    }
}

fn inspect(path: &str, schema: &serde_json::Value) {
    let is_nullable = schema.get("nullable").is_some();
    let is_word_in_map = path.ends_with("{}") && schema["enum"].is_array();
    assert_eq!(is_nullable, is_word_in_map, "{path}: nullable");
    let format = schema["format"].as_str().unwrap_or("int64");
    assert!(!format.starts_with("uint"), "{path} has format {format}");
    assert_eq!(
        schema["pattern"].is_string(),
        schema["x-kubernetes-validations"]
            .to_string()
            .contains("self.matches(r'"),
        "{path}: each pattern needs words in crds/src/definition.rs"
    );
    for (name, field) in schema["properties"].as_object().into_iter().flatten() {
        let path = format!("{path}.{name}");
        assert!(
            field["description"].is_string(),
            "{path} has no description"
        );
        inspect(&path, field);
    }
    for (below, mark) in [("items", "[]"), ("additionalProperties", "{}")] {
        if schema[below].is_object() {
            inspect(&format!("{path}{mark}"), &schema[below]);
        }
    }
}

#[test]
fn printer_columns_are_those_that_people_look_for() {
    let columns = |index: usize| -> Vec<(String, i32)> {
        let definition = &sluice_crds::definitions()[index];
        let columns = definition.spec.versions[0]
            .additional_printer_columns
            .iter()
            .flatten();
        columns
            .map(|column| (column.name.to_uppercase(), column.priority.unwrap_or(0)))
            .collect()
    };
    let narrow = |index| -> Vec<String> {
        let columns = columns(index).into_iter();
        columns
            .filter(|(_, priority)| *priority == 0)
            .map(|(name, _)| name)
            .collect()
    };
    assert_eq!(
        narrow(0),
        ["TYPE", "PHASE", "LAG", "RATE", "SNAPSHOT", "READY", "AGE"]
    );
    assert_eq!(
        narrow(1),
        [
            "SOURCE", "TARGET", "PHASE", "LAG", "RATE", "SNAPSHOT", "READY", "AGE"
        ]
    );
    assert!(columns(0).contains(&("POSITION".into(), 1)));
    assert!(columns(1).contains(&("POSITION".into(), 1)));
}
